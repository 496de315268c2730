import contextlib
import threading
from collections import Counter

import dspy
import pytest
from dspy.utils.exceptions import LMAuthError, LMBillingError, LMNotConfiguredError
from memory_fakes import asked, insert, memory_lm

from langmem_dspy import simulation
from langmem_dspy.errors import InputError, NamespaceError
from langmem_dspy.memories.bulk_extraction import BulkExtraction, Conversation, run_name
from langmem_dspy.memories.enrichment import MemoryStoreManager
from langmem_dspy.memories.extraction import MemoryManager
from langmem_dspy.messages import Message
from langmem_dspy.namespaces import memory_context
from langmem_dspy.store.faiss_store import FaissStore
from langmem_dspy.usage import Budget

BY_USER = ("memories", "{user_id}")


def talk(text, name="talk", **variables):
    return Conversation(name, [Message("user", text)], variables)


def offline():
    return simulation.offline_lm("strong")


@pytest.fixture
def store():
    with FaissStore() as store:
        yield store


def contents(store, *namespace):
    return [item.value["content"] for item in store.search(namespace, limit=1000)]


def states(results):
    return Counter(result.state for result in results)


def test_each_conversation_is_extracted_into_its_own_namespace(store):
    bulk = BulkExtraction(MemoryStoreManager(store=store, namespace=BY_USER), lm=offline())
    results = list(bulk.run([talk("I like pie.", "a", user_id="ann"), talk("I like tea.", "b", user_id="bob")]))
    assert states(results) == {"extracted": 2} and bulk.stopped is None
    assert contents(store, "memories", "ann") == ["The user likes pie"]
    item = store.search(("memories", "bob"))[0]
    assert item.provenance.thread == "b"
    assert bulk.meter.report().lm_calls == 2


def test_of_one_user_what_was_said_last_holds_however_many_threads(store):
    cities = [f"City{i}" for i in range(12)]
    talks = [talk(f"I live in {city}.", f"{city} {u}", user_id=f"u{u}") for city in cities for u in range(4)]
    bulk = BulkExtraction(MemoryStoreManager(store=store, namespace=BY_USER), lm=offline(), num_threads=16)
    assert states(bulk.run(talks)) == {"extracted": 48}
    for u in range(4):
        assert contents(store, "memories", f"u{u}") == ["The user lives in City11"]


def test_conversations_of_no_one_in_particular_do_not_wait_for_each_other_unless_asked_to(store):
    at_once, most, lock = [0], [0], threading.Lock()
    meet = threading.Barrier(4, timeout=0.5)

    def reply(text):
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        with contextlib.suppress(threading.BrokenBarrierError):
            meet.wait()
        with lock:
            at_once[0] -= 1
        return "[[ ## operations ## ]]\n[]\n\n[[ ## finished ## ]]\nTrue\n\n[[ ## completed ## ]]"

    for in_order, expected in ((None, 4), (True, 1)):
        most[0] = 0
        meet.reset()
        bulk = BulkExtraction(MemoryStoreManager(store=store), lm=memory_lm(reply), num_threads=4, in_order=in_order)
        list(bulk.run([talk(f"I like dish {i}.") for i in range(4)]))
        assert most[0] == expected


def test_while_memories_are_searched_for_and_written_the_model_answers_others_but_never_more_at_once(store):
    under_way, most, lock = [0], [0], threading.Lock()
    asked_at_once = threading.Barrier(4)
    meet = threading.Barrier(6)  # four that are asked about, and half as many more

    def reply(text):
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        asked_at_once.wait(10)
        with lock:
            under_way[0] -= 1
        return []

    all_here = threading.Event()

    class Slow(FaissStore):
        def batch(self, ops):
            with contextlib.suppress(threading.BrokenBarrierError):
                if meet.wait(10) == 0:
                    all_here.set()
                    meet.abort()
            return super().batch(ops)

    with Slow() as slow:
        bulk = BulkExtraction(MemoryStoreManager(store=slow), lm=memory_lm(reply), num_threads=4)
        assert states(bulk.run([talk(f"I like dish {i}.") for i in range(20)])) == {"extracted": 20}
    assert most[0] == 4 and all_here.is_set()


def test_a_failing_conversation_is_the_failure_of_itself_alone(store):
    def reply(text):
        return dspy.LMError("no") if "poison" in text else [insert("User likes pie")]

    bulk = BulkExtraction(MemoryStoreManager(store=store), lm=memory_lm(reply))
    results = list(bulk.run([talk("I like pie."), talk("I like poison.", "bad"), talk("I like tea.")]))
    assert [r.conversation.name for r in results if r.state == "failed"] == ["bad"]
    assert states(results) == {"extracted": 2, "failed": 1}


def test_a_reply_no_one_can_read_is_a_failure_and_is_tried_again_by_the_next_run(store, tmp_path):
    manager = MemoryStoreManager(store=store)
    results = list(BulkExtraction(manager, lm=memory_lm("garbage"), done=tmp_path / "done").run([talk("I like pie.")]))
    assert states(results) == {"failed": 1}
    results = list(BulkExtraction(manager, lm=offline(), done=tmp_path / "done").run([talk("I like pie.")]))
    assert states(results) == {"extracted": 1}


def test_when_everything_fails_it_gives_up_and_says_why(store):
    lm = memory_lm(dspy.LMError("wrong key"))
    bulk = BulkExtraction(MemoryStoreManager(store=store), lm=lm, num_threads=2, give_up_after=5)
    results = list(bulk.run([talk(f"I like dish {i}.") for i in range(200)]))
    assert len(results) == 200 and "wrong key" in bulk.stopped
    assert states(results)["left"] > 180 and lm.engine.calls < 20


@pytest.mark.parametrize("error", [LMNotConfiguredError("no key"), LMAuthError("no key"), LMBillingError("no key")])
def test_where_the_model_cannot_be_asked_at_all_the_rest_is_left_at_once(store, error):
    bulk = BulkExtraction(MemoryStoreManager(store=store), lm=memory_lm(error), num_threads=1)
    results = list(bulk.run([talk(f"I like dish {i}.") for i in range(100)]))
    assert states(results)["failed"] <= 3 and states(results)["left"] >= 97 and "no key" in bulk.stopped


def test_a_budget_is_never_exceeded_and_the_rest_is_left(store):
    bulk = BulkExtraction(MemoryStoreManager(store=store), lm=offline(), budget=Budget(lm_calls=7))
    assert states(bulk.run([talk(f"I like dish {i}.") for i in range(30)])) == {"extracted": 7, "left": 23}
    assert bulk.meter.report().lm_calls == 7 and "lm_calls" in bulk.stopped


def test_a_missing_variable_is_the_error_of_its_conversation(store):
    bulk = BulkExtraction(MemoryStoreManager(store=store, namespace=BY_USER), lm=offline())
    results = {r.conversation.name: r for r in bulk.run([talk("I like pie.", "a", user_id="ann"), talk("I", "b")])}
    assert results["a"].state == "extracted" and isinstance(results["b"].error, NamespaceError)


def test_the_same_words_in_another_namespace_are_another_conversation(store, tmp_path):
    manager = MemoryStoreManager(store=store, namespace=BY_USER)
    for user, expected in (("ann", "extracted"), ("bob", "extracted"), ("ann", "known")):
        bulk = BulkExtraction(manager, lm=offline(), done=tmp_path / "done")
        assert states(bulk.run([talk("I like pie.", user_id=user)])) == {expected: 1}


def test_one_lane_goes_on_after_what_was_done_before(store, tmp_path):
    manager = MemoryStoreManager(store=store, namespace=BY_USER)
    talks = [talk(f"I live in City{i}.", str(i), user_id="ann") for i in range(40)]
    list(BulkExtraction(manager, lm=offline(), done=tmp_path / "done").run(talks[:15]))
    results = list(BulkExtraction(manager, lm=offline(), done=tmp_path / "done", num_threads=4).run(talks))
    assert states(results) == {"known": 15, "extracted": 25}
    assert contents(store, "memories", "ann") == ["The user lives in City39"]


def test_what_the_model_is_told_comes_from_the_store_of_the_manager(store):
    store.put(("memories",), "known", {"kind": "Memory", "content": "The user likes pie"})
    lm = memory_lm([])
    list(BulkExtraction(MemoryStoreManager(store=store), lm=lm).run([talk("I like pie.")]))
    assert "The user likes pie" in asked(lm, "known_memories")


def test_runs_of_other_settings_have_other_names(store):
    def named(lm=None, **settings):
        return run_name(MemoryStoreManager(MemoryManager(**settings), store, namespace=BY_USER), lm or offline())

    names = [named(), named(instructions="Drinks only."), named(kind="single"), named(enable_deletes=True)]
    names.append(named(simulation.offline_lm("weak")))
    with memory_context(user_id="ann"):
        names.append(named())
    assert len(set(names)) == len(names) and named() == names[0]


@pytest.mark.parametrize("option", ["give_up_after", "num_threads"])
def test_numbers_are_checked(store, option):
    with pytest.raises(InputError, match=option):
        BulkExtraction(MemoryStoreManager(store=store), lm=offline(), **{option: 0})
