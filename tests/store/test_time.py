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


# --- as of a time before a change ---


def moment(clock):
    """This moment; the next change comes a minute later."""
    now = datetime.fromtimestamp(clock.now, UTC)
    clock.pass_minutes(1)
    return now


@pytest.mark.parametrize("mode", ["hybrid", "lexical", "dense"])
@pytest.mark.parametrize("query", ["Ann lives in town", None])
def test_a_search_as_of_then_finds_what_was_replaced_or_deleted_since(store, clock, mode, query):
    before = moment(clock)
    store.put(ANN, "home", {"content": "Ann lives in Bern"})
    store.put(ANN, "job", {"content": "Ann works in town"})
    store.put((*ANN, "pets"), "cat", {"content": "Ann lives with a cat in town"})
    then = moment(clock)
    store.put(ANN, "home", {"content": "Ann lives in Rome"})
    store.delete((*ANN, "pets"), "cat")
    store.put(ANN, "new", {"content": "Ann lives by the sea"})

    def found(**options):
        return {item.value["content"] for item in store.search(ANN, query=query, mode=mode, **options)}

    now = {"Ann lives in Rome", "Ann works in town", "Ann lives by the sea"}
    assert found() == found(as_of=moment(clock)) == now
    # What was learned later, with no word on since when it holds, holds then too.
    held = {"Ann lives in Bern", "Ann works in town", "Ann lives with a cat in town", "Ann lives by the sea"}
    assert found(as_of=then) == held
    assert found(as_of=then, filter={"content": "Ann lives in Bern"}) == {"Ann lives in Bern"}
    assert len(store.search(ANN, query=query, mode=mode, as_of=then, limit=2, offset=1)) == 2
    assert found(as_of=before) == now and found() == now
    assert store.check() == []


def test_each_of_many_states_is_found_as_it_stood(store, clock):
    times = []
    for i in range(5):
        store.put(ANN, "k", {"content": f"state {i}"})
        times.append(moment(clock))
    store.delete(ANN, "k")
    gone = moment(clock)
    store.put(ANN, "k", {"content": "state again"})
    clock.pass_minutes(1)
    for i, time in enumerate(times):
        assert [item.value["content"] for item in store.search(ANN, query="state", as_of=time)] == [f"state {i}"]
    store.put(ANN, "other", {"content": "x"})
    clock.pass_minutes(1)
    for change in (None, {"content": "y"}):  # whatever else was changed since
        if change:
            store.put(ANN, "other", change)
            clock.pass_minutes(1)
        found = store.search(ANN, query="state", as_of=gone, min_score=0.1)
        assert [item.value["content"] for item in found] == ["state again"]


def test_what_says_itself_when_it_holds_counts_alone(store, clock):
    store.put(ANN, "home", {"content": "Ann lives in Bern"})
    then = moment(clock)
    store.put(ANN, "home", {"content": "Ann lives in Rome"}, valid_from=then - timedelta(days=9))
    clock.pass_minutes(1)
    assert [item.value["content"] for item in store.search(ANN, query="Ann", as_of=then)] == ["Ann lives in Rome"]
    assert store.search(ANN, query="Ann", as_of=then - timedelta(days=10)) == []
