"""What happens between two steps of the index: writes, a shard that is read anew, an interrupt."""

import numpy as np
import pytest

import langmem_dspy.store.index as index_module
from langmem_dspy.records import PutOp
from langmem_dspy.store import FaissStore, quantized, snapshots
from langmem_dspy.store.background import Background
from langmem_dspy.store.shard import Shard

ANN = ("memories", "ann")


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr(quantized, "EXACT_UP_TO", 500)


def embedder(texts):
    """A direction of its own for each number in a text."""
    return np.stack([np.random.default_rng(int(text.split()[-1])).standard_normal(64) for text in texts])


def put(i, **options):
    return PutOp(ANN, f"k{i}", {"content": f"number {i}", "other": f"besides {10_000 + i}"}, **options)


def found(store, number):
    return store.search(ANN, query=f"number {number}", mode="dense", limit=1)[0].key


def test_further_vectors_that_are_written_while_a_shard_is_quantized_are_those_of_their_items_after_reopening(
    tmp_path, small_limits, monkeypatch
):
    index, real = ["content", "other"], index_module.build
    with FaissStore(tmp_path / "s", embedder=embedder) as store:
        store.batch([put(i, index=index) for i in range(700)])

        def build(*args):
            store.batch([put(i, index=index) for i in range(700, 730)])
            found(store, 3)
            return real(*args)

        monkeypatch.setattr(index_module, "build", build)
        found(store, 3)
        store.wait()
        store.batch([PutOp(ANN, f"k{i}", None) for i in range(700, 720)])
    with FaissStore(tmp_path / "s", embedder=embedder) as store:
        for i in (3, 650, 720, 729):
            assert (found(store, i), found(store, 10_000 + i)) == (f"k{i}", f"k{i}")


def test_a_shard_that_was_read_anew_before_its_quantizing_began_is_not_saved(tmp_path, small_limits, monkeypatch):
    late = []
    monkeypatch.setattr(Background, "start", lambda self, name, work: late.append(work))
    with FaissStore(tmp_path / "s", embedder=embedder) as store:
        store.batch([put(i) for i in range(900)])
        found(store, 3)
        store.batch([put(i) for i in range(600)])  # more than a third of the slots die
        found(store, 3)
        store.batch([put(i) for i in range(900, 910)])
        found(store, 3)
        late[0](lambda: False)
    with FaissStore(tmp_path / "s", embedder=embedder) as store:
        assert [found(store, i) for i in (3, 905)] == ["k3", "k905"]


@pytest.mark.parametrize("newer", [False, True])
def test_a_shard_that_another_saves_at_the_same_time_is_right_in_both_and_after_reopening(
    tmp_path, small_limits, monkeypatch, caplog, newer
):
    real = snapshots._write_codes
    with FaissStore(tmp_path / "s", embedder=embedder) as one, FaissStore(tmp_path / "s", embedder=embedder) as other:
        monkeypatch.setattr(Background, "start", lambda *_: None)
        one.batch([put(i) for i in range(900)])
        found(one, 3)
        one.batch([put(i) for i in range(200)])  # which die in one of the two, and are not there in the other
        monkeypatch.undo()
        monkeypatch.setattr(quantized, "EXACT_UP_TO", 500)

        def write_codes(*args):
            monkeypatch.setattr(snapshots, "_write_codes", real)
            if newer:
                other.batch([put(900)])
            found(other, 3)
            other.wait()
            real(*args)

        monkeypatch.setattr(snapshots, "_write_codes", write_codes)
        found(one, 3)
        one.wait()
        with FaissStore(tmp_path / "s", embedder=embedder) as again:
            for store in (one, other, again):
                assert [found(store, i) for i in (3, 250, 899)] == ["k3", "k250", "k899"]
                assert store.stats()["in_memory"]["quantized"] and not store.check()
    assert "failed" not in caplog.text


@pytest.mark.parametrize("folder", [True, False])
def test_a_search_that_is_interrupted_while_it_reads_what_is_new_leaves_nothing_twice(tmp_path, monkeypatch, folder):
    real, seen = Shard.append, []

    def append(self, row):
        seen.append(row)
        if len(seen) == 50:
            raise KeyboardInterrupt
        real(self, row)

    with FaissStore(tmp_path / "s" if folder else None, embedder=embedder) as store:
        store.batch([put(i) for i in range(100)])
        found(store, 3)
        store.batch([put(i) for i in range(100, 200)])
        monkeypatch.setattr(Shard, "append", append)
        with pytest.raises(KeyboardInterrupt):
            found(store, 3)
        assert found(store, 150) == "k150"
        everything = store.search(ANN, query="number 3", mode="dense", limit=1000)
        assert sorted(item.key for item in everything) == sorted(f"k{i}" for i in range(200))
