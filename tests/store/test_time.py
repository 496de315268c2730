"""What a store keeps of time: history, ttl, when something holds in the world."""

from datetime import UTC, datetime, timedelta

import pytest

from langmem_dspy.errors import InputError
from langmem_dspy.records import GetOp, Provenance, SearchOp
from langmem_dspy.store import FaissStore

ANN = ("memories", "ann")
MAY, JUNE, JULY = (datetime(2024, month, 1, tzinfo=UTC) for month in (5, 6, 7))


class Clock:
    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now

    def pass_minutes(self, minutes):
        self.now += 60 * minutes


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["memory", "folder"])
def store(request, tmp_path, clock):
    with FaissStore(None if request.param == "memory" else tmp_path / "s", clock=clock) as store:
        yield store


def keys(items):
    return [item.key for item in items]


def test_history_holds_every_change_and_can_be_restored(store):
    provenance = Provenance("thread", (3, 4), "manager")
    store.put(ANN, "k", {"content": "one"}, provenance=provenance, valid_from=MAY)
    store.put(ANN, "k", {"content": "two"}, index=["content"])
    store.delete(ANN, "k")
    history = store.history(ANN, "k")
    assert [(r.version, r.action, r.value) for r in history] == [
        (1, "put", {"content": "one"}), (2, "put", {"content": "two"}), (3, "delete", None),
    ]  # fmt: skip
    assert history[0].provenance == provenance and history[0].valid_from == MAY
    store.restore(ANN, "k", 1)
    item = store.get(ANN, "k")
    assert (item.value, item.version, item.provenance, item.valid_from) == ({"content": "one"}, 4, provenance, MAY)
    with pytest.raises(InputError, match="version 3"):
        store.restore(ANN, "k", 3)
    assert store.history(ANN, "never") == []


def test_an_item_ends_with_its_ttl(store, clock):
    store.put(ANN, "k", {"content": "pie"}, ttl=10)
    store.put(ANN, "stays", {"content": "pie"})
    clock.pass_minutes(9)
    assert store.get(ANN, "k", refresh_ttl=False).expires_at is not None
    assert keys(store.search(ANN, query="pie", refresh_ttl=False)) == ["k", "stays"]
    clock.pass_minutes(2)
    assert store.get(ANN, "k") is None and keys(store.search(ANN, query="pie")) == ["stays"]
    assert [r.action for r in store.history(ANN, "k")] == ["put", "expire"]
    assert store.check() == []


@pytest.mark.parametrize("read", [GetOp(ANN, "k"), SearchOp(ANN, query="pie"), SearchOp(ANN)])
def test_reading_begins_a_ttl_anew_unless_told_not_to(store, clock, read):
    for refresh in (True, False):
        store.put(ANN, "k", {"content": "pie"}, ttl=10)
        clock.pass_minutes(6)
        store.batch([read._replace(refresh_ttl=refresh)])
        clock.pass_minutes(6)
        assert (store.get(ANN, "k") is not None) is refresh


@pytest.mark.parametrize("ttl", [0, -1, "5", float("nan"), True])
def test_a_ttl_that_is_no_time_is_refused(store, ttl):
    with pytest.raises(InputError, match="ttl"):
        store.put(ANN, "k", {"content": "x"}, ttl=ttl)


def test_a_search_sees_what_held_at_the_time_asked_for(store, clock):
    clock.now = JULY.timestamp()
    store.put(ANN, "old", {"content": "lives in Rome"}, valid_from=MAY, valid_to=JUNE)
    store.put(ANN, "new", {"content": "lives in Oslo"}, valid_from=JUNE)
    store.put(ANN, "always", {"content": "lives"})
    store.put(ANN, "planned", {"content": "lives in Lima"}, valid_from=JULY + timedelta(days=9))
    for query in ("lives", None):
        for mode in ("hybrid", "lexical", "dense"):
            assert set(keys(store.search(ANN, query=query, mode=mode))) == {"new", "always"}
            assert set(keys(store.search(ANN, query=query, mode=mode, as_of=MAY))) == {"old", "always"}
            assert set(keys(store.search(ANN, query=query, mode=mode, as_of=JUNE))) == {"new", "always"}
    assert store.get(ANN, "old").valid_to == JUNE


def test_a_naive_or_backward_time_is_refused(store):
    with pytest.raises(InputError, match="time zone"):
        store.put(ANN, "k", {"content": "x"}, valid_from=datetime(2024, 1, 1))
    with pytest.raises(InputError, match="before"):
        store.put(ANN, "k", {"content": "x"}, valid_from=JUNE, valid_to=MAY)


def test_neighbours_in_a_conversation_are_context(store):
    turns = ["Did you adopt the puppy?", "Yes, her name is Luna!", "Lovely weather today", "Indeed it is"]
    for i, turn in enumerate(turns):
        store.put(ANN, f"t{i}", {"content": turn}, provenance=Provenance("talk", (i,)))
        store.put(ANN, f"u{i}", {"content": turn.replace("puppy", "sofa")}, provenance=Provenance("other talk", (i,)))
    found = store.search(ANN, query="puppy", limit=3, explain=True, mode="lexical")
    assert keys(found) == ["t0", "t1", "t2"]
    assert found[1].explanation["lexical"] == 0 < found[1].explanation["context"]
    store.delete(ANN, "t0")
    assert store.search(ANN, query="puppy", min_score=0.01) == []
