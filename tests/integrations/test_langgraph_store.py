"""LangGraph's stores in the place of ours."""

import asyncio
import copy
import threading
import warnings
from datetime import UTC, datetime

import dspy
import pytest
from fakes import chat, fake_lm
from programs import reviewer, wants

from langmem_dspy.errors import ConflictError, InputError, NamespaceError, StoreError
from langmem_dspy.integrations.langgraph import from_langgraph
from langmem_dspy.memories.enrichment import MemoryStoreManager
from langmem_dspy.memories.search import MemorySearcher
from langmem_dspy.memories.with_memory import WithMemory
from langmem_dspy.memory_factories import (
    create_manage_memory_tool,
    create_memory_searcher,
    create_memory_store_enricher,
    create_search_memory_tool,
)
from langmem_dspy.namespaces import memory_context
from langmem_dspy.optimizers.metaprompt import MetaPrompt
from langmem_dspy.optimizers.teleprompter import PromptOptimizer
from langmem_dspy.records import ListNamespacesOp, Provenance, PutOp, SearchOp
from langmem_dspy.simulation import offline_lm
from langmem_dspy.store.embedders import OfflineEmbedder

memory = pytest.importorskip("langgraph.store.memory")
NS = ("memories",)
PIE = "I really like shoo-fly pie."


@pytest.fixture
def theirs():
    embed = OfflineEmbedder()
    return memory.InMemoryStore(index={"dims": embed(["x"]).shape[1], "embed": embed})


@pytest.fixture
def store(theirs):
    return from_langgraph(theirs)


def test_what_is_put_is_got_listed_and_deleted(store, theirs):
    store.put(NS, "a", {"content": "x"})
    item = store.get(NS, "a")
    assert item.value == {"content": "x"} and item.namespace == NS and item.version > 0
    assert theirs.get(NS, "a").value == {"content": "x"}
    assert store.list_namespaces(prefix=("memories",)) == [NS] and store.list_namespaces(suffix=("y",)) == []
    store.delete(NS, "a")
    assert store.get(NS, "a") is None


def test_reads_of_a_batch_see_what_was_there_before_it(store):
    found, _, spaces = store.batch([SearchOp(NS), PutOp(NS, "a", {"content": "x"}), ListNamespacesOp()])
    assert found == [] and spaces == [] and store.get(NS, "a") is not None


def test_search_ranks_filters_and_cuts_by_score(store):
    store.put(NS, "pie", {"content": "User likes shoo-fly pie", "kind": "food"})
    store.put(NS, "bus", {"content": "Rides the bus to work", "kind": "travel"})
    first, second = store.search(NS, query="shoo-fly pie")
    assert first.key == "pie" and first.score > second.score
    between = (first.score + second.score) / 2
    assert [item.key for item in store.search(NS, query="shoo-fly pie", min_score=between)] == ["pie"]
    assert [i.key for i in store.search(NS, query="pie", filter={"kind": "travel"})] == ["bus"]
    assert [i.score for i in store.search(NS, limit=1)] == [None]


def test_everything_can_be_awaited(store):
    async def main():
        await store.aput(NS, "a", {"content": "x"})
        return await store.aget(NS, "a"), await store.asearch(NS, query="x")

    item, found = asyncio.run(main())
    assert item.value == found[0].value == {"content": "x"}


def test_a_write_on_top_of_a_newer_version_is_a_conflict_and_nothing_of_its_batch_is_done(store):
    store.put(NS, "a", {"content": "x"})
    version = store.get(NS, "a").version
    store.put(NS, "a", {"content": "y"})
    with pytest.raises(ConflictError, match="read it again"):
        store.batch([PutOp(NS, "b", {"content": "z"}), PutOp(NS, "a", {"content": "mine"}, if_version=version)])
    assert store.get(NS, "a").value == {"content": "y"} and store.get(NS, "b") is None
    with pytest.raises(ConflictError):
        store.batch([PutOp(NS, "a", {"content": "new"}, if_version=0)])


def test_of_writers_at_once_through_adapters_of_one_store_one_succeeds(theirs):
    from_langgraph(theirs).put(NS, "a", {"content": "x"})
    version = from_langgraph(theirs).get(NS, "a").version
    won, start = [], threading.Barrier(8)

    def write(i):
        start.wait()
        try:
            from_langgraph(theirs).batch([PutOp(NS, "a", {"content": str(i)}, if_version=version)])
            won.append(i)
        except ConflictError:
            pass

    threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store_value(theirs)] == [str(i) for i in won]


def store_value(theirs):
    return theirs.get(NS, "a").value["content"]


class PrefixAsText(memory.InMemoryStore):
    """Finds by the text of a prefix, as LangGraph's databases do."""

    def batch(self, ops):
        theirs = [op._replace(namespace_prefix=()) if hasattr(op, "namespace_prefix") else op for op in ops]
        return super().batch(theirs)


def test_a_namespace_never_shows_what_lies_beside_it():
    store = from_langgraph(PrefixAsText())
    store.put(("m", "anna"), "a", {"content": "of anna"})
    store.put(("m", "ann", "work"), "b", {"content": "of ann"})
    assert [item.key for item in store.search(("m", "ann"))] == ["b"]


@pytest.mark.parametrize(
    ("error", "ask"),
    [
        (StoreError, lambda store: store.search(NS, query="x", as_of=datetime.now(UTC))),
        (StoreError, lambda store: store.search(NS, query="x", explain=True)),
        (StoreError, lambda store: store.search(NS, query="x", mode="lexical")),
        (StoreError, lambda store: store.put(NS, "a", {"content": "x"}, ttl=5)),
        (StoreError, lambda store: store.put(NS, "a", {"content": "x"}, valid_from=datetime.now(UTC))),
        (NamespaceError, lambda store: store.put(("a.b",), "a", {"content": "x"})),
        (NamespaceError, lambda store: store.put((), "a", {"content": "x"})),
        (InputError, lambda store: store.batch(["get"])),
    ],
)
def test_what_their_stores_cannot_do_is_said_before_anything_is_done(store, error, ask):
    with pytest.raises(error):
        ask(store)
    assert store.search(()) == []


def test_lost_provenance_is_said(store):
    with pytest.warns(UserWarning, match="no provenance"):
        store.batch([PutOp(NS, "a", {"content": "x"}, provenance=Provenance("t1"))])


def test_a_store_that_does_not_look_at_the_query_is_pointed_out_once_it_leaves_something_out():
    store = from_langgraph(memory.InMemoryStore())
    store.put(NS, "a", {"content": "x"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(store.search(NS, query="x")) == 1
    with pytest.warns(UserWarning, match="index="):
        store.search(NS, query="x", limit=1)


@pytest.mark.parametrize("wrong", [None, "store", {}])
def test_anything_but_a_store_of_langgraph_is_refused(wrong):
    with pytest.raises(InputError, match="BaseStore"):
        from_langgraph(wrong)


def test_a_copied_program_goes_on_with_the_same_store(store):
    assert copy.deepcopy(store) is store


# --- to try things out on ---


def test_a_scratch_view_shows_both_and_keeps_its_changes_to_itself(store, theirs):
    for key in ("a", "b", "c"):
        store.put(NS, key, {"content": f"pie {key}"})
    view = store.scratch()
    view.put(NS, "a", {"content": "pie of mine"})
    view.delete(NS, "b")
    view.put(("else",), "d", {"content": "pie d"})
    assert {item.value["content"] for item in view.search(NS, query="pie")} == {"pie of mine", "pie c"}
    assert view.search(NS, query="pie of mine")[0].key == "a"
    assert len(view.search((), query="pie", limit=2, offset=1)) == 2
    assert view.get(NS, "b") is None and view.get(NS, "c").value == {"content": "pie c"}
    assert view.list_namespaces() == [("else",), NS]
    with pytest.raises(ConflictError):
        view.batch([PutOp(NS, "a", {"content": "x"}, if_version=store.get(NS, "a").version)])
    view.batch([PutOp(NS, "c", {"content": "pie c2"}, if_version=store.get(NS, "c").version)])
    again = view.scratch()
    again.put(NS, "e", {"content": "pie e"})
    assert again.get(NS, "a").value == {"content": "pie of mine"} and view.get(NS, "e") is None
    assert {item.value["content"] for item in theirs.search(())} == {"pie a", "pie b", "pie c"}


def test_compiling_a_program_leaves_no_trace_in_langgraphs_store_and_shares_it_afterwards(theirs):
    agent = Agent(theirs)
    lm = fake_lm(lambda text: chat(answer="x") if wants(text) == {"answer"} else reviewer(text))
    with dspy.context(lm=lm):
        examples = [dspy.Example(text=f"word {i}", answer="Y").with_inputs("text") for i in range(2)]
        optimizer = PromptOptimizer(MetaPrompt(), metric=lambda gold, pred, trace=None: 0.0, max_steps=1)
        compiled = optimizer.compile(agent, trainset=examples, valset=examples)
        assert theirs.search(()) == []
        compiled(text="remembered")
    assert [item.value["content"] for item in theirs.search(NS)] == ["remembered"]


class Agent(dspy.Module):
    def __init__(self, store):
        super().__init__()
        self.say = dspy.Predict("text -> answer")
        self.remember = create_manage_memory_tool(store)

    def forward(self, text):
        self.remember(content=text)
        return self.say(text=text)


# --- in our factories ---


def test_tools_enricher_and_searcher_take_it_as_it_is(theirs):
    lm = offline_lm("strong")
    (item,) = create_memory_store_enricher(lm, store=theirs)([{"role": "user", "content": PIE}])
    assert "shoo-fly pie" in item.value["content"] and theirs.get(NS, item.key).value == item.value
    assert "shoo-fly pie" in create_search_memory_tool(theirs)("pie")
    manage = create_manage_memory_tool(theirs)
    assert manage(action="update", id=item.key, content="User hates pie") == f"Updated memory {item.key}."
    found = create_memory_searcher(lm, store=theirs)([{"role": "user", "content": "Which pie do I like?"}])
    assert [one.value["content"] for one in found] == ["User hates pie"]
    assert manage(action="delete", id=item.key).startswith("Deleted")


def test_it_may_come_from_memory_context(theirs):
    with memory_context(store=theirs, user_id="ann"):
        create_manage_memory_tool(namespace=("memories", "{user_id}"))(content="x")
    assert len(theirs.search(("memories", "ann"))) == 1


def test_modules_take_it_as_it_is_and_share_it_with_their_copies(theirs):
    program = WithMemory(dspy.ChainOfThought("message -> answer"), theirs)
    assert from_langgraph(theirs) is program.store is program.searcher.store is program.managers[0].store
    with dspy.context(lm=offline_lm("strong")):
        assert len(MemoryStoreManager(store=theirs)(messages=PIE)["items"]) == 1
        assert "shoo-fly pie" in copy.deepcopy(program)(message="Which pie do I like?").answer
        assert len(MemorySearcher(theirs)(messages="pie")["items"]) == 1
