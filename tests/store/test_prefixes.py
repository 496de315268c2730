"""Searches of a namespace with others below it: one look at all that lies there, as it is now."""

import numpy as np
import pytest

from langmem_dspy.records import Provenance, PutOp
from langmem_dspy.store import FaissStore, quantized

WIDTH, TENANTS = 32, 12


def embedder(texts):
    return np.ones((len(texts), WIDTH))


@pytest.fixture(scope="module")
def vectors():
    found = np.random.default_rng(0).standard_normal((600, WIDTH)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture(params=["memory", "folder"])
def store(request, tmp_path):
    with FaissStore(None if request.param == "memory" else tmp_path / "s", embedder=embedder) as store:
        yield store


def fill(store, vectors):
    store.batch(
        [
            PutOp(("m", f"t{i % TENANTS}"), f"k{i:04}", {"n": i, "even": i % 2 == 0}, vector=v)
            for i, v in enumerate(vectors)
        ]
    )


def nearest(store, prefix, query, **options):
    return [i.value["n"] for i in store.search(prefix, query_vector=query, mode="dense", **options)]


def expected(vectors, query, among):
    among = np.asarray(sorted(among))
    return among[np.argsort(-(vectors[among] @ query), kind="stable")][:10].tolist()


def test_what_lies_in_many_namespaces_is_found_from_above_as_from_within(store, vectors):
    fill(store, vectors)
    for query in vectors[:20]:
        assert nearest(store, ("m",), query) == expected(vectors, query, range(600))
        assert nearest(store, ("m",), query, filter={"even": True}) == expected(vectors, query, range(0, 600, 2))
        assert nearest(store, ("m", "t3"), query) == expected(vectors, query, range(3, 600, TENANTS))
    assert nearest(store, ("m", "t"), vectors[0]) == []  # a label is whole or it is not the same


def test_from_above_a_look_at_many_namespaces_is_one(store, vectors):
    fill(store, vectors)
    nearest(store, ("m",), vectors[0])
    assert store.stats()["in_memory"]["shards"] == 1


def test_what_lies_alone_below_is_not_held_twice(store, vectors):
    store.put(("m", "only"), "k", {"n": 1}, vector=vectors[0])
    for prefix in ((), ("m",), ("m", "only")):
        assert nearest(store, prefix, vectors[0]) == [1]
    assert store.stats()["in_memory"]["shards"] == 1
    store.put(("m", "other"), "k", {"n": 2}, vector=vectors[1])  # no longer alone
    assert nearest(store, (), vectors[1]) == [2, 1] and nearest(store, ("m", "only"), vectors[1]) == [1]
    store.delete(("m", "other"), "k")
    assert nearest(store, ("m",), vectors[1]) == [1]


def test_what_is_changed_below_is_seen_from_every_namespace_above(store, vectors):
    fill(store, vectors)
    query = vectors[40]
    above = [(), ("m",), ("m", "t4")]
    assert [nearest(store, prefix, query)[0] for prefix in above] == [40] * 3
    store.delete(("m", "t4"), "k0040")
    assert all(40 not in nearest(store, prefix, query) for prefix in above)
    store.put(("m", "t4"), "k0040", {"n": 4040, "even": True}, vector=query)
    store.put(("m", "t4", "deep"), "k", {"n": 4141, "even": True}, vector=query)
    assert all(nearest(store, prefix, query)[:2] == [4040, 4141] for prefix in above)
    assert nearest(store, ("m", "t4", "deep"), query) == [4141] and nearest(store, ("m", "t5"), query)[0] != 4040


def test_a_scratch_view_changes_what_it_sees_from_above_and_nothing_else(store, vectors):
    fill(store, vectors)
    query = vectors[40]
    nearest(store, ("m",), query)
    scratch = store.scratch()
    scratch.delete(("m", "t4"), "k0040")
    scratch.put(("m", "new"), "k", {"n": 4141}, vector=query)
    assert nearest(scratch, ("m",), query)[0] == 4141 and 40 not in nearest(scratch, ("m",), query)
    assert nearest(store, ("m",), query)[0] == 40


def test_many_small_namespaces_are_quantized_together(tmp_path, vectors, monkeypatch):
    monkeypatch.setattr(quantized, "EXACT_UP_TO", 200)
    with FaissStore(tmp_path / "s", embedder=embedder) as store:
        fill(store, vectors)
        before = [nearest(store, ("m",), query) for query in vectors[:20]]
        store.wait()
        assert store.stats()["in_memory"]["quantized"] == 600
        assert [nearest(store, ("m",), query) for query in vectors[:20]] == before
    with FaissStore(tmp_path / "s", embedder=embedder) as store:
        store.put(("m", "t0"), "later", {"n": 6000}, vector=vectors[0])
        assert nearest(store, ("m",), vectors[0])[:2] == [0, 6000]
        assert store.stats()["in_memory"]["quantized"] == 600  # as saved: nothing was built again


def test_threads_of_one_name_in_two_namespaces_lend_each_other_nothing():
    def explained(store):
        found = store.search(("m",), query="pie", explain=True)
        return {item.key: item.explanation["context"] for item in found if item.explanation.get("context") is not None}

    with FaissStore() as store:
        store.put(("m", "ann"), "a", {"content": "she bakes pie"}, provenance=Provenance("t", (0,)))
        store.put(("m", "ann"), "beside", {"content": "on Sundays"}, provenance=Provenance("t", (1,)))
        store.put(("m", "bob"), "b", {"content": "he swims"}, provenance=Provenance("t", (1,)))
        lent = explained(store)
        assert lent["beside"] > 0 and not lent.get("b")
        store.put(("m", "bob"), "late", {"content": "he runs"}, provenance=Provenance("t", (0,)))
        assert not explained(store).get("late")


def test_words_weigh_from_above_by_all_that_lies_below():
    with FaissStore() as store:
        for i in range(40):
            store.put(("m", f"t{i % 4}"), f"k{i:02}", {"content": f"pie and tea number {i}"})
        store.put(("flat",), "x", {"content": "elsewhere"})
        for i in range(40):
            store.put(("flat",), f"k{i:02}", {"content": f"pie and tea number {i}"})
        store.delete(("flat",), "x")
        above = store.search(("m",), query="tea number 7", mode="lexical", limit=5)
        flat = store.search(("flat",), query="tea number 7", mode="lexical", limit=5)
        assert above[0].key == flat[0].key == "k07"
        assert [i.score for i in above] == pytest.approx([i.score for i in flat])


def test_a_page_of_few_that_pass_is_filled_in_order_of_namespace_and_key(store, vectors):
    fill(store, vectors)
    for few in (3, 250):  # sought one by one, and by going through all keys
        found = store.search(("m",), filter={"n": {"$lt": few}}, limit=few + 5)
        places = [(item.namespace, item.key) for item in found]
        assert len(places) == few and places == sorted(places)
