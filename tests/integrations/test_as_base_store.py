"""A store of ours as LangGraph's `BaseStore`."""

import asyncio
import copy
import threading

import pytest

from langmem_dspy.errors import InputError
from langmem_dspy.integrations.langgraph import as_base_store, from_langgraph
from langmem_dspy.records import GetOp as OurGet
from langmem_dspy.records import PutOp as OurPut
from langmem_dspy.store import FaissStore, OfflineEmbedder

pytest.importorskip("langgraph")

from langgraph.store.base import (
    BaseStore,
    GetOp,
    InvalidNamespaceError,
    Item,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchItem,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore

NS = ("memories", "ann")
WIDTH = 384


def embed(texts):
    return OfflineEmbedder()(texts)


async def aembed(texts):
    await asyncio.sleep(0)
    return embed(texts).tolist()


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def test_a_batch_of_all_operations_gives_langgraphs_own_kinds():
    store = as_base_store()
    assert isinstance(store, BaseStore)
    store.batch([PutOp(NS, "a", {"content": "likes pie", "kind": "food"}), PutOp(("x",), "b", {"content": "y"})])
    got, none, found, spaces, put = store.batch([
        GetOp(NS, "a"),
        GetOp(NS, "b"),
        SearchOp(("memories",), {"kind": {"$ne": "travel"}}, query="pie"),
        ListNamespacesOp((MatchCondition("prefix", ("*", "ann")),), 1),
        PutOp(NS, "a", None),
    ])  # fmt: skip
    assert type(got) is Item and got.value == {"content": "likes pie", "kind": "food"} and got.created_at.tzinfo
    assert none is None and put is None and spaces == [("memories",)]
    assert type(found[0]) is SearchItem and found[0].key == "a" and found[0].score > 0
    assert store.get(NS, "a") is None


def test_scores_are_those_of_langgraphs_store_where_the_index_embeds():
    index = {"dims": WIDTH, "embed": embed, "fields": ["content", "tags[*]"]}
    ours, theirs = as_base_store(index=index), InMemoryStore(index=index)
    for store in (ours, theirs):
        store.put(NS, "pie", {"content": "likes shoo-fly pie", "tags": ["dessert", "sweet things"]})
        store.put(NS, "bus", {"content": "rides the bus", "tags": ["travel"]})
        store.put(NS, "none", {"content": "not indexed"}, index=False)
    for query in ("shoo-fly pie", "sweet", "the bus"):
        mine, his = ours.search(NS, query=query), theirs.search(NS, query=query)
        assert [item.key for item in mine] == [item.key for item in his]
        assert [item.score for item in mine][:2] == pytest.approx([item.score for item in his][:2], abs=1e-5)
        assert mine[2].score is None


def test_embeddings_that_are_async_run_in_the_callers_loop():
    async def main():
        store = as_base_store(index={"dims": WIDTH, "embed": aembed})
        await asyncio.gather(*(store.aput(NS, str(i), {"content": f"word{i}"}) for i in range(10)))
        return await store.asearch(NS, query="word7")

    assert asyncio.run(main())[0].key == "7"


@pytest.mark.parametrize("labels", [("a.b",), ("",), ("a", 1), ("a\x00",)])
def test_namespaces_that_langgraph_refuses_are_refused_as_it_does(labels):
    store = as_base_store()
    for op in (GetOp(labels, "k"), PutOp(labels, "k", {}), SearchOp(labels), PutOp((*labels, "x"), "k", {})):
        with pytest.raises(InvalidNamespaceError):
            store.batch([op])


def test_items_live_as_long_as_their_ttl_and_reading_prolongs_it():
    clock = Clock()
    with FaissStore(clock=clock) as kept:
        store = as_base_store(kept, ttl={"default_ttl": 1.0, "refresh_on_read": True})
        for key, ttl in (("default", {}), ("long", {"ttl": 10}), ("ever", {"ttl": None}), ("unread", {})):
            store.put(NS, key, {"content": key}, **ttl)
        clock.now += 45
        assert store.get(NS, "default") and store.search(NS, query="default", limit=1)
        clock.now += 45
        assert store.sweep_ttl() == 1 and store.get(NS, "unread") is None
        assert {item.key for item in store.search(NS, refresh_ttl=False)} == {"default", "long", "ever"}
        clock.now += 1000
        assert [item.key for item in store.search(NS)] == ["ever"]


def test_the_sweeper_deletes_in_the_background_until_it_is_stopped():
    swept, clock = threading.Event(), Clock()

    class Watched(FaissStore):
        def sweep(self):
            swept.set()
            return super().sweep()

    with Watched(clock=clock) as kept, as_base_store(kept) as store:
        store.start_ttl_sweeper(0.0005)
        assert swept.wait(5) and store.stop_ttl_sweeper(5)
        with pytest.raises(InputError, match="interval"):
            store.start_ttl_sweeper(-1)


def test_what_comes_back_from_langgraph_is_the_store_itself_with_the_defaults_configured():
    with FaissStore() as kept:
        assert from_langgraph(as_base_store(kept)) is kept
        store = as_base_store(kept, index={"fields": ["title"]}, ttl={"default_ttl": 5, "refresh_on_read": False})
        ours = from_langgraph(store)
        assert from_langgraph(store) is ours and copy.deepcopy(ours) is ours
        ours.batch([OurPut(NS, "a", {"title": "pie", "content": "bus"})])
        assert ours.search(NS, query="pie", min_score=0.1) and not ours.search(NS, query="bus", min_score=0.1)
        item = ours.batch([OurGet(NS, "a")])[0]
        assert item.expires_at == kept.get(NS, "a", refresh_ttl=False).expires_at is not None
        view = ours.scratch()
        view.put(NS, "b", {"title": "x"})
        assert kept.get(NS, "b") is None and view.get(NS, "b").expires_at is not None


def test_a_store_that_embeds_by_itself_takes_no_other_embeddings():
    with FaissStore() as kept, pytest.raises(InputError, match="embeds by itself"):
        as_base_store(kept, index={"dims": WIDTH, "embed": embed})


def test_embeddings_of_another_width_than_configured_are_refused():
    with pytest.raises(InputError, match="dims=3"):
        as_base_store(index={"dims": 3, "embed": embed}).put(NS, "a", {"content": "x"})


def test_a_folder_keeps_what_was_put(tmp_path):
    index = {"dims": WIDTH, "embed": embed}
    store = as_base_store(tmp_path / "m", index=index)
    store.put(NS, "a", {"content": "likes pie"})
    store.store.close()
    again = as_base_store(tmp_path / "m", index=index)
    assert again.search(NS, query="pie")[0].score > 0
    again.store.close()
