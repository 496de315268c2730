import asyncio
import threading
from datetime import datetime

import dspy
import pytest
from memory_fakes import asked, delete, insert, memory_lm, update
from pydantic import BaseModel

from langmem_dspy.errors import InputError, NamespaceError
from langmem_dspy.memories.enrichment import MemoryStoreManager
from langmem_dspy.memories.extraction import MemoryManager
from langmem_dspy.memories.schemas import Insert, Update
from langmem_dspy.namespaces import memory_context
from langmem_dspy.records import SearchOp
from langmem_dspy.store.faiss_store import FaissStore

TALK = [{"role": "user", "content": "I really like shoo-fly pie."}]
NS = ("memories",)


class Profile(BaseModel):
    name: str = ""
    city: str = ""
    likes: list[str] = []


class CountingStore(FaissStore):
    def __init__(self) -> None:
        super().__init__()
        self.batches = []

    def batch(self, ops):
        ops = list(ops)
        self.batches.append(ops)
        return super().batch(ops)


@pytest.fixture
def store():
    with CountingStore() as store:
        yield store


def put(store, key, text, namespace=NS):
    store.put(namespace, key, {"kind": "Memory", "content": text})


def run(lm, manager, messages=TALK, **variables):
    with dspy.context(lm=lm):
        return manager(messages=messages, **variables)


def test_what_is_extracted_is_written_and_reported(store):
    result = run(memory_lm([insert("User likes shoo-fly pie")]), MemoryStoreManager(store=store))
    (item,) = result.items
    assert item.namespace == NS and item.value == {"kind": "Memory", "content": "User likes shoo-fly pie"}
    assert isinstance(item.created_at, datetime) and store.get(NS, item.key) == item
    assert result.operations == [Insert(item.key, result.operations[0].content)] and result.dropped == []
    assert dict(result.items())["dropped"] == [] and result["items"] == [item]


def test_related_memories_are_found_in_one_batch_and_updated_in_place(store):
    for i in range(20):
        put(store, f"k{i}", f"Fact {i} about the weather in November")
    put(store, "pie", "User dislikes shoo-fly pie")
    lm = memory_lm(lambda text: [update(_handle(text, "pie"), "User likes shoo-fly pie")])
    store.batches.clear()
    result = run(lm, MemoryStoreManager(store=store))
    assert [(item.key, item.value["content"]) for item in result.items] == [("pie", "User likes shoo-fly pie")]
    assert isinstance(result.operations[0], Update)
    searches, writes, reads = store.batches
    assert all(isinstance(op, SearchOp) for op in searches) and len(writes) == len(reads) == 1
    contents = [item.value["content"] for item in store.search(NS, query="shoo-fly pie", limit=50)]
    assert "User dislikes shoo-fly pie" not in contents, "what is contradicted is not left beside the new one"
    assert store.history(NS, "pie")[0].value["content"] == "User dislikes shoo-fly pie"


def test_the_whole_conversation_is_searched_not_only_its_end(store):
    put(store, "dog", "The dog of the user is called Rex")
    talk = [{"role": "user", "content": "My dog Rex ran away"}]
    talk += [{"role": "assistant", "content": f"filler {i} " + "chatter " * 100} for i in range(20)]
    lm = memory_lm([])
    run(lm, MemoryStoreManager(store=store, query_limit=1), talk)
    assert "Rex" in asked(lm, "known_memories")
    assert len(store.batches[1]) > 10


def test_queries_may_be_written_by_a_model_of_its_own(store):
    from fakes import chat, fake_lm

    put(store, "dog", "The dog of the user is called Rex")
    writer = fake_lm(lambda _: chat(queries='["dog Rex", "dog Rex"]'))
    lm = memory_lm([])
    run(lm, MemoryStoreManager(store=store, query_model=writer))
    assert [op.query for op in store.batches[1]] == ["dog Rex"]
    assert writer.engine.calls == lm.engine.calls == 1


def test_a_conversation_without_content_costs_nothing(store):
    lm = memory_lm([])
    assert run(lm, MemoryStoreManager(store=store), []).items == []
    assert lm.engine.calls == 0 and store.batches == []


def test_a_profile_lives_under_one_key_and_keeps_what_is_not_mentioned(store):
    manager = MemoryStoreManager(MemoryManager([Profile], kind="single"), store)
    lm = memory_lm([insert({"name": "Ann", "city": "Paris"})], [update("m1", {"city": "Rome"})])
    first, second = run(lm, manager), run(lm, manager)
    assert first.items[0].key == second.items[0].key == "Profile" == second.operations[0].id
    assert store.get(NS, "Profile").value["content"] == {"name": "Ann", "city": "Rome", "likes": []}
    assert len(store.search(NS, limit=10)) == 1


def test_a_default_document_is_where_a_profile_starts(store):
    manager = MemoryStoreManager(
        MemoryManager([Profile], kind="single"), store, default=lambda variables: Profile(name=variables["user_id"])
    )
    lm = memory_lm([update("m1", {"city": "Rome"})])
    result = run(lm, manager, user_id="ann")
    assert '"name":"ann"' in asked(lm, "known_memories")
    assert result.items[0].value["content"] == {"name": "ann", "city": "Rome", "likes": []}
    with FaissStore() as other:
        result = run(memory_lm([]), MemoryStoreManager(store=other, default="User is new here"))
        assert [(i.key, i.value["content"]) for i in result.items] == [("default", "User is new here")]


def test_namespaces_are_filled_at_run_time_and_users_never_meet(store):
    manager = MemoryStoreManager(store=store, namespace=("memories", "user-{user_id}"))
    run(memory_lm([insert("User likes pie")]), manager, user_id="ann")
    lm = memory_lm([])
    run(lm, manager, user_id="bob")
    assert asked(lm, "known_memories") == "none"
    with memory_context(user_id="ann"):
        run(lm, manager)
    assert "User likes pie" in asked(lm, "known_memories")
    with pytest.raises(NamespaceError, match="user_id"):
        run(lm, manager)


def test_the_store_comes_from_the_context_when_none_is_given(store):
    with memory_context(store=store):
        run(memory_lm([insert("User likes pie")]), MemoryStoreManager())
    assert len(store.search(NS)) == 1
    with pytest.raises(NamespaceError, match="no store"):
        run(memory_lm([]), MemoryStoreManager())


def test_deleted_memories_leave_the_store_only_when_deleting_is_allowed(store):
    put(store, "pie", "User likes shoo-fly pie")
    result = run(memory_lm([delete("m1")]), MemoryStoreManager(store=store))
    assert store.get(NS, "pie") is not None and result.dropped[0].id == "pie"
    result = run(memory_lm([delete("m1")]), MemoryStoreManager(MemoryManager(enable_deletes=True), store))
    assert store.get(NS, "pie") is None and result.items == [] and len(result.operations) == 1


def test_phases_look_at_the_memories_again(store):
    put(store, "pie", "User likes shoo-fly pie")
    phases = [{"instructions": "Join what belongs together.", "include_messages": True}, {"enable_inserts": False}]
    lm = memory_lm(
        [insert("User likes pie with cream")], [delete("m1"), update("m2", "User likes pies")], [insert("x")]
    )
    result = run(lm, MemoryStoreManager(store=store, phases=phases))
    assert asked(lm, "worth_remembering", 1) == "Join what belongs together."
    assert asked(lm, "conversation", 1).startswith("user: I really") and asked(lm, "conversation", 2) == "none"
    assert [item.value["content"] for item in result.items] == ["User likes pies"]
    assert [d.reason for d in result.dropped] == ["inserts are not enabled"]
    with pytest.raises(InputError, match=r"phases\[0\]"):
        MemoryStoreManager(store=store, phases=[{"instruction": "x"}])


def test_an_update_keeps_what_another_writer_changed_meanwhile(store):
    store.put(NS, "Profile", {"kind": "Profile", "content": {"name": "Ann", "city": "Paris", "likes": []}})

    def meanwhile(text):
        store.put(NS, "Profile", {"kind": "Profile", "content": {"name": "Ann", "city": "Paris", "likes": ["pie"]}})
        return [update("m1", {"city": "Rome"})]

    manager = MemoryStoreManager(MemoryManager([Profile], kind="single"), store)
    result = run(memory_lm(meanwhile), manager)
    assert result.items[0].value["content"] == {"name": "Ann", "city": "Rome", "likes": ["pie"]}


def test_a_memory_deleted_meanwhile_is_not_brought_back_silently(store):
    put(store, "pie", "User dislikes shoo-fly pie")

    def meanwhile(text):
        store.delete(NS, "pie")
        return [update("m1", "User likes shoo-fly pie"), insert("User lives in Rome")]

    result = run(memory_lm(meanwhile), MemoryStoreManager(store=store))
    assert [item.value["content"] for item in result.items] == ["User lives in Rome"]
    assert result.dropped[0].reason == "it was deleted meanwhile" and store.get(NS, "pie") is None


def test_two_threads_that_learn_the_same_write_it_once(store):
    barrier = threading.Barrier(4)

    def together(text):
        barrier.wait(5)
        return [insert("User likes shoo-fly pie")]

    lm = memory_lm(together)
    manager = MemoryStoreManager(store=store)
    results = []

    def work():
        results.append(run(lm, manager))

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(store.search(NS)) == 1
    assert sorted(len(r.items) for r in results) == [0, 0, 0, 1]
    assert all("already known" in r.dropped[0].reason for r in results if not r.items)


def test_a_fact_that_was_changed_can_be_learned_again(store):
    manager = MemoryStoreManager(store=store)
    run(memory_lm([insert("User lives in Paris")]), manager, "I live in Paris")
    run(memory_lm([update("m1", "User lives in Rome")]), manager, "I moved from Paris to Rome")
    run(memory_lm([insert("User lives in Paris")]), manager, "My user profile: lives in Paris")
    contents = sorted(item.value["content"] for item in store.search(NS))
    assert contents == ["User lives in Paris", "User lives in Rome"]


def test_memories_say_which_thread_and_message_they_come_from(store):
    talk = [{"role": "user", "content": "Hello there"}, *TALK]
    result = run(memory_lm([insert("User likes shoo-fly pie")]), MemoryStoreManager(store=store), talk, thread_id="t7")
    provenance = result.items[0].provenance
    assert (provenance.thread, provenance.messages) == ("t7", (1,))


def test_langmems_records_are_read_and_updated(store):
    store.put(NS, "old", {"kind": "Memory", "content": {"content": "User likes shoo-fly cake"}})
    result = run(memory_lm([update("m1", "User likes shoo-fly pie")]), MemoryStoreManager(store=store))
    assert result.items[0].key == "old" and result.items[0].value["content"] == "User likes shoo-fly pie"


def test_a_failing_model_leaves_the_store_as_it_was(store):
    put(store, "pie", "User likes shoo-fly pie")
    with pytest.raises(dspy.LMError, match="down"):
        run(memory_lm(RuntimeError("down")), MemoryStoreManager(store=store))
    assert [item.key for item in store.search(NS)] == ["pie"]


def test_it_can_be_awaited(store):
    async def main():
        with dspy.context(lm=memory_lm([insert("User likes pie")])):
            return await MemoryStoreManager(store=store).acall(messages=TALK)

    assert len(asyncio.run(main()).items) == 1


def test_a_copy_for_a_rollout_takes_the_scratch_store_it_is_given(store):
    import copy

    manager = MemoryStoreManager(store=store)
    scratch = store.scratch()
    copied = copy.deepcopy(manager, {id(store): scratch})
    assert copied.store is scratch and copied.searcher.store is scratch
    run(memory_lm([insert("User likes pie")]), copied)
    assert len(scratch.search(NS)) == 1 and store.search(NS) == []


def _handle(text, word):
    from fakes import input_field

    return next(line.partition(":")[0] for line in input_field(text, "known_memories").splitlines() if word in line)


def test_a_contradicted_fact_is_superseded_and_found_as_of_then_and_in_the_history():
    moment = [1_700_000_000.0]
    with FaissStore(clock=lambda: moment[0]) as store:
        lm = memory_lm([insert("Ann lives in Bern")], [update("m1", "Ann lives in Rome")])
        with dspy.context(lm=lm):
            (first,) = MemoryStoreManager(store=store)(messages="I live in Bern")["items"]
            then = first.updated_at
            moment[0] += 3600
            (second,) = MemoryStoreManager(store=store)(messages="I have moved from Bern to Rome")["items"]
        moment[0] += 3600
        assert second.key == first.key
        (now,), (held,) = (store.search(NS, query="where does Ann live?", as_of=time) for time in (None, then))
        assert now.value["content"] == "Ann lives in Rome" and held.value["content"] == "Ann lives in Bern"
        said = [revision.value["content"] for revision in store.history(NS, first.key)]
        assert said == ["Ann lives in Bern", "Ann lives in Rome"]
