"""A scratch view: the store as it was, and nothing that is done to it reaches the store."""

import pickle
from datetime import UTC, datetime

import pytest

from langmem_dspy.errors import StoreError
from langmem_dspy.records import PutOp, SupportsScratch
from langmem_dspy.store import FaissStore
from langmem_dspy.store.search import Ranking

ANN = ("memories", "ann")


class OwnStore(FaissStore):
    pass


@pytest.fixture(params=["memory", "folder"])
def store(request, tmp_path):
    with FaissStore(None if request.param == "memory" else tmp_path / "s") as store:
        for i in range(10):
            store.put(ANN, f"k{i}", {"content": f"pie number {i}", "n": i})
        yield store


def contents(store, **options):
    return {i.key: i.value["content"] for i in store.search((), limit=100, **options)}


@pytest.mark.parametrize("warm", [True, False])
def test_a_scratch_view_starts_as_the_store_and_leaves_it_alone(store, warm):
    if warm:  # with and without shards, postings and columns in memory
        store.search(ANN, query="pie", filter={"n": {"$gte": 0}})
    before = contents(store, query="pie"), [i.score for i in store.search(ANN, query="pie number 3")]
    scratch = store.scratch()
    assert contents(scratch, query="pie") == before[0]
    assert [i.score for i in scratch.search(ANN, query="pie number 3")] == before[1]
    scratch.put(ANN, "k3", {"content": "cake", "n": 3})
    scratch.delete(ANN, "k4")
    scratch.put(("new",), "k", {"content": "tea", "n": 1})
    assert scratch.get(ANN, "k3").version == 2 and scratch.get(ANN, "k4") is None
    assert scratch.search(ANN, query="cake")[0].key == "k3"
    assert [i.key for i in scratch.search(ANN, filter={"n": {"$lte": 4}})] == ["k0", "k1", "k2", "k3"]
    assert scratch.list_namespaces() == [ANN, ("new",)]
    assert [r.version for r in scratch.history(ANN, "k4")] == [1, 2]
    assert (contents(store, query="pie"), [i.score for i in store.search(ANN, query="pie number 3")]) == before
    assert store.list_namespaces() == [ANN] and len(store.history(ANN, "k4")) == 1


def test_what_the_store_does_later_is_not_seen(store):
    scratch = store.scratch()
    store.put(ANN, "k1", {"content": "changed"})
    store.delete(ANN, "k2")
    store.put(("later",), "k", {"content": "later"})
    assert scratch.get(ANN, "k1").value["content"] == "pie number 1" and scratch.get(ANN, "k2") is not None
    assert len(contents(scratch)) == 10 and "later" not in contents(scratch, query="later").values()
    scratch.put(ANN, "k1", {"content": "mine"})
    assert scratch.get(ANN, "k1").version == 2 and store.get(ANN, "k1").value["content"] == "changed"


def test_a_ttl_that_the_store_gives_later_is_not_seen(store):
    store.put(ANN, "k1", {"content": "for an hour"}, ttl=60)
    scratch = store.scratch()
    assert scratch.get(ANN, "k1").expires_at == store.get(ANN, "k1").expires_at
    store.put(ANN, "k1", {"content": "for ten"}, ttl=600)
    later = store.get(ANN, "k1").expires_at
    assert later not in {scratch.get(ANN, "k1").expires_at, scratch.search(ANN, query="an hour")[0].expires_at}


def test_two_views_do_not_see_each_other(store):
    one, two = store.scratch(), store.scratch()
    one.put(ANN, "k", {"content": "one"})
    two.put(ANN, "k", {"content": "two"})
    assert one.get(ANN, "k").value["content"] == "one" and two.get(ANN, "k").value["content"] == "two"


def test_a_view_of_a_view_is_one_too(store):
    outer = store.scratch()
    outer.put(ANN, "k1", {"content": "outer"})
    inner = outer.scratch()
    inner.put(ANN, "k2", {"content": "inner"})
    inner.delete(ANN, "k1")
    outer.put(ANN, "k3", {"content": "outer later"})
    assert inner.get(ANN, "k1") is None and inner.get(ANN, "k3").value["content"] == "pie number 3"
    assert outer.get(ANN, "k1").value["content"] == "outer" and outer.get(ANN, "k2").value["content"] == "pie number 2"
    assert len(contents(inner, query="inner")) == 9


def test_texts_that_the_store_knows_are_not_embedded_again():
    seen = []

    def embedder(texts):
        seen.extend(texts)
        return [[1.0, len(text)] for text in texts]

    store = FaissStore(embedder=embedder)
    store.put(ANN, "k", {"content": "pie"})
    store.scratch().put(ANN, "other", {"content": "pie"})
    assert seen == ["pie"]


def test_a_compacted_store_is_not_read_as_something_else(store):
    scratch = store.scratch()
    store.put(ANN, "k1", {"content": "changed"})
    store.compact()
    with pytest.raises(StoreError, match="make a new scratch"):
        scratch.search(ANN)


def test_it_is_what_the_protocol_promises(store):
    assert isinstance(store, SupportsScratch)


def test_a_pickled_store_is_the_folder_it_was_and_one_in_memory_says_that_it_cannot(tmp_path):
    with FaissStore(tmp_path / "s") as store:
        store.put(("memories", "ann"), "pie", {"content": "Ann likes shoo-fly pie"})
        with pickle.loads(pickle.dumps(store)) as again:
            assert again.get(("memories", "ann"), "pie").value == {"content": "Ann likes shoo-fly pie"}
        with pytest.raises(TypeError, match="in memory"):
            pickle.dumps(store.scratch())


def test_a_pickled_store_keeps_its_class_and_its_ranking(tmp_path):
    with OwnStore(tmp_path / "s", ranking=Ranking(recency=0.5)) as store, pickle.loads(pickle.dumps(store)) as again:
        assert (type(again), again.ranking) == (OwnStore, Ranking(recency=0.5))


def test_a_scratch_view_counts_what_it_shows(store):
    store.delete(ANN, "k9")
    scratch = store.scratch()
    store.put(ANN, "later", {"content": "not seen"})
    scratch.put(ANN, "k3", {"content": "cake"})
    scratch.delete(ANN, "k4")
    scratch.put(("new",), "k", {"content": "tea"})
    told = scratch.stats()
    assert (told["items"], told["namespaces"], told["revisions"]) == (9, 2, 11 + 3)
    assert told["items"] == len(contents(scratch)) == sum(scratch.counts().values())


class TestAsOfThen:
    """What a scratch view held at a time, on both sides of the moment when it was made."""

    @pytest.fixture
    def times(self):
        return {}

    @pytest.fixture(params=["one view", "a view of a view"])
    def scratch(self, request, tmp_path, times):
        """Each key by when it changed: twice below, below and above, above alone; after the fork the store went on."""
        now = [10**9]

        def tick(name):
            now[0] += 10
            times[name] = datetime.fromtimestamp(now[0], UTC)
            now[0] += 10

        with FaissStore(tmp_path / "s", clock=lambda: now[0]) as store:
            for key in ("below", "both", "kept", "gone", "back"):
                store.put(ANN, key, {"content": f"{key} 1"})
            tick("first")
            store.put(ANN, "below", {"content": "below 2"})
            store.delete(ANN, "back")
            tick("second")
            scratch = store.scratch()
            for key in ("below", "both", "kept"):
                store.put(ANN, key, {"content": f"{key} of the store"})
            scratch.put(ANN, "both", {"content": "both 2"})
            scratch.delete(ANN, "gone")
            scratch.put(ANN, "back", {"content": "back 2"})
            scratch.put(ANN, "mine", {"content": "mine 1"})
            tick("third")
            view = scratch
            if request.param == "a view of a view":
                view = scratch.scratch()
                for key in ("below", "both", "back", "later"):
                    scratch.put(ANN, key, {"content": f"{key} of the outer view"})
            view.put(ANN, "both", {"content": "both 3"})
            view.put(ANN, "mine", {"content": "mine 2"})
            yield view

    @pytest.mark.parametrize("query", [None, "1 2 3"])
    def test_it_is_as_it_was(self, scratch, times, query):
        found = {name: contents(scratch, query=query, as_of=time) for name, time in times.items()}
        now = contents(scratch, query=query)
        assert now == {
            "below": "below 2", "both": "both 3", "kept": "kept 1", "back": "back 2", "mine": "mine 2"
        }  # fmt: skip
        assert found["third"] == {**now, "both": "both 2", "mine": "mine 1"}
        assert found["second"] == {**now, "both": "both 1", "gone": "gone 1", "mine": "mine 2"}
        assert found["first"] == {**found["second"], "below": "below 1", "back": "back 1"}

    def test_it_is_as_a_store_with_the_same_changes_was(self, scratch, times):
        now = [10**9]
        with FaissStore(clock=lambda: now[0]) as store:
            changes = {
                0: [
                    ("below", "below 1"),
                    ("both", "both 1"),
                    ("kept", "kept 1"),
                    ("gone", "gone 1"),
                    ("back", "back 1"),
                ],
                20: [("below", "below 2"), ("back", None)],
                40: [("both", "both 2"), ("gone", None), ("back", "back 2"), ("mine", "mine 1")],
                60: [("both", "both 3"), ("mine", "mine 2")],
            }
            for after, some in changes.items():
                now[0] = 10**9 + after
                store.batch([PutOp(ANN, key, text and {"content": text}) for key, text in some])
            for time in times.values():
                assert contents(scratch, as_of=time) == contents(store, as_of=time)
