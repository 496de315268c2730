import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

import langmem_dspy.memories.group_commit as group_commit
from langmem_dspy.errors import ConflictError
from langmem_dspy.memories.group_commit import GroupCommit
from langmem_dspy.records import GetOp, PutOp
from langmem_dspy.store.faiss_store import FaissStore

NS = ("memories",)


class SlowStore:
    """Counts the batches that reach a store, and holds each until it is let go."""

    def __init__(self, store):
        self.store, self.batches, self.go_on = store, 0, threading.Event()
        self.began = threading.Event()

    def batch(self, ops):
        self.batches += 1
        self.began.set()
        self.go_on.wait(10)
        return self.store.batch(ops)


def put(i, **options):
    return PutOp(NS, f"key {i}", {"content": f"memory {i}"}, **options)


def held_up(store, pool, behind=()):
    """A store in the middle of writing key 0, and what waits behind that: (store, group commit, first, rest)."""
    slow = SlowStore(store)
    together = GroupCommit(slow)
    first = pool.submit(together.batch, [put(0)])
    slow.began.wait(10)
    rest = [pool.submit(together.batch, [op]) for op in behind]
    while len(together._waiting) < len(rest):
        pass
    return slow, together, first, rest


@pytest.fixture
def store():
    with FaissStore() as store:
        yield store


@pytest.fixture
def pool():
    with ThreadPoolExecutor(32) as pool:
        yield pool


def test_what_comes_while_one_write_is_synced_goes_into_the_next(store, pool):
    slow, _, first, rest = held_up(store, pool, [put(i) for i in range(1, 21)])
    slow.go_on.set()
    assert [future.result(10) for future in [first, *rest]] == [[None]] * 21
    assert slow.batches == 2 and store.stats()["items"] == 21


def test_a_write_that_meets_a_newer_version_fails_alone(store, pool):
    store.put(NS, "key 3", {"content": "was there before"})
    slow, _, first, rest = held_up(store, pool, [put(i, if_version=0) for i in range(1, 6)])
    slow.go_on.set()
    failed = [i for i, future in enumerate([first, *rest]) if future.exception(10)]
    assert failed == [3] and isinstance(rest[2].exception(), ConflictError)
    assert store.stats()["items"] == 6


def test_a_write_gets_the_results_of_its_own_operations(store, pool):
    store.put(NS, "known", {"content": "known"})
    together = GroupCommit(store)

    def write(i):
        return together.batch([GetOp(NS, "known"), put(i), GetOp(NS, "nothing")])

    for found, nothing, missing in pool.map(write, range(100)):
        assert found.value == {"content": "known"} and nothing is None and missing is None
    assert store.stats()["items"] == 101


def test_other_verbs_are_those_of_the_store(store):
    GroupCommit(store).put(NS, "a", {"content": "b"})
    assert GroupCommit(store).get(NS, "a").value == {"content": "b"}


def test_whoever_is_interrupted_while_committing_for_others_does_not_let_them_think_it_was_done(store, pool):
    slow, together, first, rest = held_up(store, pool, [put(i) for i in range(1, 4)])

    def interrupted(ops):
        slow.batch = slow.store.batch
        raise KeyboardInterrupt

    slow.batch = interrupted
    slow.go_on.set()
    assert first.result(10) == [None]
    errors = [future.exception(10) for future in rest]
    assert sorted(type(error).__name__ for error in errors) == ["KeyboardInterrupt", "StoreError", "StoreError"]
    assert store.stats()["items"] == 1
    assert together.batch([put(9)]) == [None]


class Interrupted(threading.Event):
    """Whoever waits for it is interrupted, once it is their turn or before."""

    def __init__(self, before):
        super().__init__()
        self.before, self.waiting, self.go_on = before, threading.Event(), threading.Event()

    def wait(self, timeout=None):
        self.waiting.set()
        (self.go_on.wait if self.before else super().wait)(10)
        raise KeyboardInterrupt


@pytest.mark.parametrize("before", [True, False])
def test_whoever_is_interrupted_while_waiting_keeps_no_other_from_writing(store, pool, monkeypatch, before):
    interrupted = Interrupted(before)
    slow, together, first, _ = held_up(store, pool)
    with monkeypatch.context() as patch:
        patch.setattr(group_commit, "threading", SimpleNamespace(Event=lambda: interrupted))
        second = pool.submit(together.batch, [put(1)])
        interrupted.waiting.wait(10)
    third = pool.submit(together.batch, [put(2)])
    while len(together._waiting) < 2:
        pass
    if before:
        interrupted.go_on.set()
        assert isinstance(second.exception(10), KeyboardInterrupt)
    slow.go_on.set()
    assert isinstance(second.exception(10), KeyboardInterrupt)
    assert first.result(10) == third.result(10) == together.batch([put(3)]) == [None]
    assert store.get(NS, "key 1") is None and store.stats()["items"] == 3


def test_many_writers_with_many_writes_all_end(store, pool):
    together = GroupCommit(store)
    list(pool.map(lambda i: together.batch([put(i)]), range(1000)))
    assert store.stats()["items"] == 1000
