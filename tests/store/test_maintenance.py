"""Looking after a store: export and load, compact, check, stats, another embedder."""

import json
import sqlite3
from datetime import UTC, datetime

import numpy as np
import pytest

from langmem_dspy.errors import CorruptStoreError, EmbedderMismatch, InputError, StoreError
from langmem_dspy.records import Provenance
from langmem_dspy.store import FaissStore

ANN, BOB = ("memories", "ann"), ("memories", "bob")


class Lengths:
    """An embedder that counts what it is asked."""

    floor, weight = 0.2, 8.0

    def __init__(self, name="lengths", width=3):
        self.name, self.width, self.texts, self.calls = name, width, [], 0

    def __call__(self, texts):
        self.calls += 1
        self.texts += texts
        return np.array([[len(t) + i + 1.0 for i in range(self.width)] for t in texts])


def everything(store):
    return [(i.namespace, i.key, i.value, i.created_at, i.updated_at, i.valid_from, i.provenance)
            for i in store.search((), limit=1000)]  # fmt: skip


def test_an_exported_store_is_loaded_as_it_was(tmp_path):
    first, second = FaissStore(), FaissStore(tmp_path / "second")
    for i in range(1203):
        first.put(ANN if i % 2 else BOB, f"k{i}", {"content": f"Grüße {i}", "n": [i]}, index=None if i % 3 else False)
    first.put(
        ANN, "k1", {"content": "new"}, provenance=Provenance("t", (1,)), valid_from=datetime(2024, 1, 1, tzinfo=UTC)
    )
    assert first.export(tmp_path / "out.jsonl") == 1203 == second.load(tmp_path / "out.jsonl")
    assert everything(first) == everything(second)
    assert [i.key for i in first.search(ANN, query="Grüße 7")] == [i.key for i in second.search(ANN, query="Grüße 7")]


def test_a_line_that_is_no_item_is_named(tmp_path):
    file = tmp_path / "bad.jsonl"
    file.write_text(json.dumps({"namespace": ["a"], "key": "k", "value": {}}) + "\n{oops\n")
    with pytest.raises(InputError, match="line 2 of"):
        FaissStore().load(file)


@pytest.mark.parametrize("keep", [True, False])
def test_compacting_changes_nothing_that_is_found(tmp_path, keep):
    store = FaissStore(tmp_path / "s")
    for i in range(200):
        store.put(ANN, f"k{i % 20}", {"content": f"pie number {i}"})
    store.delete(ANN, "k3")
    before = everything(store), [(i.key, i.score) for i in store.search(ANN, query="pie 190")]
    size = store.stats()["bytes"]
    store.compact(keep_history=keep)
    assert (everything(store), [(i.key, i.score) for i in store.search(ANN, query="pie 190")]) == before
    assert store.stats()["bytes"] < size and store.check() == []
    assert len(store.history(ANN, "k5")) == (10 if keep else 1)
    store.put(ANN, "k3", {"content": "back"})
    assert store.search(ANN, query="back")[0].key == "k3"


def test_a_reader_in_another_connection_follows_a_compaction(tmp_path):
    one, two = FaissStore(tmp_path / "s"), FaissStore(tmp_path / "s")
    for i in range(5):
        one.put(ANN, f"k{i}", {"content": f"pie {i}"})
    assert len(two.search(ANN, query="pie")) == 5
    one.put(ANN, "k1", {"content": "cake"})
    one.put(ANN, "k1", {"content": "tea"})
    one.compact(keep_history=False)
    assert {i.value["content"] for i in two.search(ANN, query="pie")} == {"pie 0", "tea", "pie 2", "pie 3", "pie 4"}


def test_check_says_what_is_wrong(tmp_path):
    store = FaissStore(tmp_path / "s")
    store.put(ANN, "k", {"content": "pie"})
    assert store.check() == []
    with sqlite3.connect(tmp_path / "s" / "memories.sqlite") as sql:
        sql.execute("UPDATE heads SET seq = 77")
    assert any("points at no revision" in line for line in store.check())


def test_a_file_that_is_no_store_is_an_error_that_says_so(tmp_path):
    (tmp_path / "memories.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(CorruptStoreError, match="cannot be read as a store"):
        FaissStore(tmp_path)


def test_a_store_of_a_newer_format_is_refused(tmp_path):
    FaissStore(tmp_path).close()
    with sqlite3.connect(tmp_path / "memories.sqlite") as sql:
        sql.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="upgrade"):
        FaissStore(tmp_path)


def test_a_closed_store_says_so():
    store = FaissStore()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.get(ANN, "k")


def test_no_text_is_embedded_twice(tmp_path):
    embedder = Lengths()
    with FaissStore(tmp_path / "s", embedder=embedder) as store:
        store.put(ANN, "a", {"content": "pie"})
        store.put(BOB, "b", {"content": "pie", "n": 2})
        store.search(ANN, query="cake")
        store.search(ANN, query="cake")
        assert embedder.texts == ["pie", "cake"]
    again = Lengths()
    with FaissStore(tmp_path / "s", embedder=again) as store:
        store.put(ANN, "c", {"content": "pie"})
        assert again.texts == []


def test_a_batch_is_embedded_in_one_call():
    store = FaissStore(embedder=(embedder := Lengths()))
    from langmem_dspy.records import PutOp

    store.batch([PutOp(ANN, str(i), {"content": f"text {i % 7}"}) for i in range(50)])
    assert embedder.calls == 1 and len(embedder.texts) == 7


def test_another_embedder_is_an_error_that_says_so(tmp_path):
    with FaissStore(tmp_path / "s", embedder=Lengths()) as store:
        store.put(ANN, "a", {"content": "pie"})
    with pytest.raises(EmbedderMismatch, match=r"'lengths', 3 wide.*reembed"):
        FaissStore(tmp_path / "s", embedder=Lengths("other"))
    with FaissStore(tmp_path / "s") as store:  # its maker is not known here: all but vectors works
        assert store.get(ANN, "a") is not None and store.search(ANN, query="pie", mode="lexical")[0].score > 0
        with pytest.raises(EmbedderMismatch, match="function 'lengths'"):
            store.search(ANN, query="a text never embedded")


def test_a_function_is_known_by_what_it_does_rather_than_by_its_name(tmp_path):
    def one(texts):
        return [[1.0, len(text)] for text in texts]

    def the_same(texts):
        return [[1.0, len(text)] for text in texts]

    def another(texts):
        return [[len(text), 1.0] for text in texts]

    with FaissStore(tmp_path, embedder=one) as store:
        store.put(ANN, "k", {"content": "some text"})
    with FaissStore(tmp_path, embedder=the_same) as store:
        assert store.search(ANN, query="some text", mode="dense")[0].score == pytest.approx(1)
    with pytest.raises(EmbedderMismatch):
        FaissStore(tmp_path, embedder=another)


def test_a_width_that_changes_is_an_error(tmp_path):
    embedder = Lengths()
    store = FaissStore(embedder=embedder)
    store.put(ANN, "a", {"content": "pie"})
    embedder.width = 4
    with pytest.raises(EmbedderMismatch, match="3 wide and was given one 4 wide"):
        store.put(ANN, "b", {"content": "cake"})
    with pytest.raises(EmbedderMismatch):
        store.put(ANN, "b", {"content": "cake"}, vector=[1.0, 0.0])
    assert store.get(ANN, "b") is None


@pytest.mark.parametrize("bad", [lambda t: [[1.0]], lambda t: [[float("nan")]] * len(t), lambda t: [1.0] * len(t)])
def test_an_embedder_that_answers_nonsense_is_an_error_and_nothing_is_stored(bad):
    store = FaissStore(embedder=bad)
    from langmem_dspy.records import PutOp

    with pytest.raises(StoreError):
        store.batch([PutOp(ANN, "a", {"content": "pie"}), PutOp(ANN, "b", {"content": "cake"})])
    assert store.search(ANN) == []


def test_a_store_changes_over_to_another_embedder(tmp_path):
    store = FaissStore(tmp_path / "s", embedder=Lengths())
    for i in range(50):
        store.put(ANN, f"k{i:02}", {"content": "x" * (i + 1)})
    store.put(ANN, "given", {"n": 1}, vector=[1.0, 0.0, 0.0])
    seen, new = [], Lengths("wider", 5)
    job = store.reembed(new, progress=lambda done, total: seen.append((done, total)), batch_size=20)
    assert job.wait(30) and store.embedder is new and seen[-1] == (51, 51) and seen[0] == (20, 51)
    assert len(new.texts) == 50 and store.stats()["width"] == 5 and store.check() == []
    assert len(store.search(ANN, query="xxx", limit=60, mode="dense")) == 51
    store.put(ANN, "later", {"content": "later"})
    store.close()
    with FaissStore(tmp_path / "s", embedder=Lengths("wider", 5)) as store:
        assert store.search(ANN, query="later", mode="lexical")[0].key == "later"
    with pytest.raises(EmbedderMismatch):
        FaissStore(tmp_path / "s", embedder=Lengths())


def test_a_change_of_embedder_that_failed_goes_on_where_it_was(tmp_path):
    store = FaissStore(tmp_path / "s", embedder=Lengths())
    for i in range(30):
        store.put(ANN, f"k{i:02}", {"content": "x" * (i + 1)})

    class Failing(Lengths):
        def __call__(self, texts):
            if self.calls == 2:
                raise ConnectionError("the host is gone")
            return super().__call__(texts)

    with pytest.raises(ConnectionError):
        store.reembed(Failing("new"), batch_size=10).wait(30)
    assert store.embedder.name == "lengths" and len(store.search(ANN, query="xx", limit=40)) == 30
    new = Lengths("new")
    assert store.reembed(new, batch_size=10).wait(30) and len(new.texts) == 10


def test_another_process_that_is_left_behind_is_told(tmp_path):
    one, two = FaissStore(tmp_path / "s", embedder=Lengths()), FaissStore(tmp_path / "s", embedder=Lengths())
    one.put(ANN, "k", {"content": "pie"})
    assert one.reembed(Lengths("new", 4)).wait(30)
    with pytest.raises(EmbedderMismatch, match="re-embedded"):
        two.search(ANN, query="pie")
    with pytest.raises(EmbedderMismatch, match="re-embedded"):
        two.put(ANN, "k2", {"content": "a text never seen"})


def test_a_store_is_looked_for_without_making_one(tmp_path):
    assert not FaissStore.exists(tmp_path / "s") and not (tmp_path / "s").exists()
    (tmp_path / "empty").mkdir()
    assert not FaissStore.exists(tmp_path / "empty")
    FaissStore(tmp_path / "s").close()
    assert FaissStore.exists(tmp_path / "s") and FaissStore.exists(str(tmp_path / "s"))


def test_items_are_counted_by_namespace():
    store = FaissStore()
    for user, number in (("ann", 3), ("bob", 1), ("cid", 1)):
        for i in range(number):
            store.put(("m", user), f"k{i}", {"content": "pie"})
    store.delete(("m", "cid"), "k0")
    assert store.counts() == {("m", "ann"): 3, ("m", "bob"): 1}
    assert store.counts(("m", "bob")) == {("m", "bob"): 1} and store.counts(("n",)) == {}
    scratch = store.scratch()
    scratch.delete(("m", "bob"), "k0")
    scratch.put(("m", "ann"), "k9", {"content": "tea"})
    assert scratch.counts() == {("m", "ann"): 4} and store.counts()["m", "bob"] == 1
