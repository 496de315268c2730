"""Large shards: quantized in the background, exact until then, reopened from files that may be damaged."""

import threading

import numpy as np
import pytest

import langmem_dspy.store.index as index_module
from langmem_dspy.records import Provenance, PutOp
from langmem_dspy.store import FaissStore, quantized
from langmem_dspy.store.reader import Reader

ANN = ("memories", "ann")
WIDTH, N = 64, 3000


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr(quantized, "EXACT_UP_TO", 500)


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((20, WIDTH))
    found = centres[rng.integers(0, 20, N)] + rng.standard_normal((N, WIDTH))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def embedder(texts):
    return np.ones((len(texts), WIDTH))


def fill(store, vectors, start=0):
    ops = [PutOp(ANN, f"k{i:05}", {"n": i, "third": i % 3}, vector=v) for i, v in enumerate(vectors, start)]
    for at in range(0, len(ops), 1000):
        store.batch(ops[at : at + 1000])


def nearest(store, query, **options):
    return [i.value["n"] for i in store.search(ANN, query_vector=query, limit=10, mode="dense", **options)]


def expected(vectors, query, among):
    among = np.asarray(sorted(among))
    return among[np.argsort(-(vectors[among] @ query), kind="stable")][:10].tolist()


@pytest.fixture(params=["memory", "folder"])
def store(request, tmp_path, small_limits):
    with FaissStore(None if request.param == "memory" else tmp_path / "s", embedder=embedder) as store:
        yield store


def test_a_quantized_shard_finds_what_an_exact_one_does(store, vectors):
    fill(store, vectors)
    rng = np.random.default_rng(1)
    queries = vectors[rng.integers(0, N, 30)] + 0.05 * rng.standard_normal((30, WIDTH)).astype(np.float32)
    before = [nearest(store, q) for q in queries]  # the first search begins the build; its answers are exact
    assert before == [expected(vectors, q, range(N)) for q in queries]
    store.wait()
    assert store.stats()["in_memory"]["quantized"] == N
    assert [nearest(store, q) for q in queries] == before
    some = [nearest(store, q, filter={"third": 1}) for q in queries]
    assert some == [expected(vectors, q, range(1, N, 3)) for q in queries]


def test_what_changes_after_quantizing_is_found_and_what_went_is_not(store, vectors):
    fill(store, vectors)
    nearest(store, vectors[0])
    store.wait()
    query = vectors[5]
    best = nearest(store, query)
    assert best[0] == 5
    store.delete(ANN, "k00005")
    store.put(ANN, f"k{best[1]:05}", {"n": best[1], "third": 0}, vector=-query)
    store.put(ANN, "new", {"n": 9999, "third": 0}, vector=query)
    found = nearest(store, query)
    assert found[0] == 9999 and 5 not in found and best[1] not in found and found[1:9] == best[2:10]


def test_few_matches_in_a_large_shard_are_all_found(store, vectors):
    fill(store, vectors)
    nearest(store, vectors[0])
    store.wait()
    assert sorted(nearest(store, vectors[0], filter={"n": {"$in": [7, 1500, 2999]}})) == [7, 1500, 2999]
    assert nearest(store, vectors[0], filter={"n": -1}) == []


def test_as_many_as_are_asked_for_are_compared_in_a_large_shard(store, vectors):
    fill(store, vectors)
    nearest(store, vectors[0])
    store.wait()
    for limit in (30, 100, N):
        found = store.search(ANN, query_vector=vectors[3], limit=limit, mode="dense")
        best = np.sort(vectors @ vectors[3])[::-1][:limit]
        assert np.allclose([item.score for item in found], best, atol=1e-5)


def test_what_few_items_pass_is_found_in_whatever_list_it_lies(store, vectors, monkeypatch):
    for name, value in (("LISTS_FROM", 1000), ("_LISTS", 40), ("_PROBES", 2), ("CANDIDATES", 20)):
        monkeypatch.setattr(quantized, name, value)
    fill(store, vectors)
    nearest(store, vectors[0])
    store.wait()
    passing = range(0, N, 75)  # more than are compared without a look at the lists
    assert len(passing) == 40
    found = nearest(store, vectors[0], filter={"n": {"$in": list(passing)}})
    assert found == expected(vectors, vectors[0], passing)


@pytest.mark.parametrize("options", [{}, {"mode": "lexical"}, {"filter": {"even": True}}, {"limit": 150}])
def test_words_are_weighed_in_a_large_shard_as_in_a_small_one(small_limits, vectors, options):
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(2000)])
    said = [" ".join(words[np.minimum(row, 2000) - 1]) for row in rng.zipf(1.3, (N, 8))]
    store = FaissStore(embedder=embedder)
    ops = [PutOp(ANN, f"k{i:05}", {"content": said[i], "even": i % 2 == 0}, vector=vectors[i]) for i in range(N)]
    store.batch(ops)
    for i in range(0, 100, 9):
        store.delete(ANN, f"k{i:05}")
    nearest_now = {"limit": 10, **options}
    before = [search_words(store, said[i], vectors[i], nearest_now) for i in range(0, N, 60)]
    store.wait()
    after = [search_words(store, said[i], vectors[i], nearest_now) for i in range(0, N, 60)]
    words_alone = options.get("mode") == "lexical"
    assert store.stats()["in_memory"]["quantized"] > 2900
    assert after == before if words_alone else agreement(before, after) > 0.97


def search_words(store, text, vector, options):
    return [(item.key, item.score) for item in store.search(ANN, query=text, query_vector=vector, **options)]


def agreement(before, after):
    return np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(before, after, strict=True)])


@pytest.mark.parametrize(
    "damage",
    ["none", "delete", "truncate codes", "truncate vectors", "truncate fine", "flip", "flip index", "foreign", "empty"],
)
def test_the_index_files_may_be_lost_or_damaged_and_nothing_changes(tmp_path, small_limits, vectors, damage):
    with FaissStore(tmp_path / "s", embedder=embedder) as store:
        fill(store, vectors)
        before = [nearest(store, q) for q in vectors[:20]]
        store.wait()
    codes, rows = (next((tmp_path / "s" / "index").glob(f"*.{kind}")) for kind in ("codes", "vectors"))
    data = codes.read_bytes()
    if damage == "delete":
        codes.unlink(), rows.unlink()
    elif damage == "truncate codes":
        codes.write_bytes(data[: len(data) // 2])
    elif damage == "truncate vectors":
        rows.write_bytes(rows.read_bytes()[:-4])
    elif damage == "truncate fine":
        fine = codes.with_suffix(".fine")
        fine.write_bytes(fine.read_bytes()[:-4])
    elif damage == "flip":
        codes.write_bytes(data[:-2000] + bytes([data[-2000] ^ 1]) + data[-1999:])
    elif damage == "flip index":
        index = codes.with_suffix(".index")
        data = index.read_bytes()
        index.write_bytes(data[:-2000] + bytes([data[-2000] ^ 1]) + data[-1999:])
    elif damage == "foreign":
        codes.write_bytes(b"something else")
    elif damage == "empty":
        codes.write_bytes(b"")
    with FaissStore(tmp_path / "s", embedder=embedder) as store:
        assert bool(store.check()) is (damage not in ("none", "delete"))
        assert [nearest(store, q) for q in vectors[:20]] == before
        store.wait()
        assert store.check() == []  # a good one was written in its place
        assert [nearest(store, q) for q in vectors[:20]] == before


@pytest.mark.parametrize("damage", ["none", "delete", "truncate", "flip", "foreign"])
def test_a_reopened_shard_has_its_words_from_their_file(tmp_path, small_limits, vectors, monkeypatch, damage):
    def search(store):
        return [(i.key, i.score) for q in vectors[:9] for i in store.search(ANN, query="number seven", query_vector=q)]

    def texts(store, numbers):
        def op(i):
            talk = Provenance(thread=f"t{i // 50}", messages=(i % 50,))
            value = {"n": i, "content": f"number {'seven' if i % 7 == 0 else i}"}
            return PutOp(ANN, f"k{i:05}", value, vector=vectors[i], provenance=talk)

        store.batch([op(i) for i in numbers])

    with FaissStore(tmp_path / "s", embedder=embedder) as store:
        texts(store, range(N - 20))
        search(store)
        store.wait()
        texts(store, range(N - 20, N))
        store.delete(ANN, "k00007")
        store.put(ANN, "k00014", {"n": 14, "content": "number one"}, vector=vectors[14])
        before = search(store)
    file = next((tmp_path / "s" / "index").glob("*.words"))
    data = file.read_bytes()
    if damage == "delete":
        file.unlink()
    elif damage != "none":
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        file.write_bytes({"truncate": data[:-9], "flip": flipped, "foreign": b"something else"}[damage])
    asked, read = [], Reader.words
    monkeypatch.setattr(Reader, "words", lambda reader, path: asked.append(path) or read(reader, path))
    with FaissStore(tmp_path / "s", embedder=embedder) as store:
        assert bool(store.check()) is (damage not in ("none", "delete"))
        assert search(store) == before
        assert bool(asked) is (damage != "none")


def test_words_that_no_one_asked_for_stay_in_their_file_when_a_shard_is_quantized_again(
    tmp_path, small_limits, vectors, monkeypatch
):
    def texts(numbers):
        return [PutOp(ANN, f"k{i:05}", {"n": i, "content": f"pie {i}"}, vector=vectors[i]) for i in numbers]

    with FaissStore(tmp_path / "s", embedder=embedder) as store:
        store.batch(texts(range(1000)))
        store.search(ANN, query="pie 7", query_vector=vectors[7])
        store.wait()
    with FaissStore(tmp_path / "s", embedder=embedder) as store:
        nearest(store, vectors[0])
        store.batch(texts(range(1000, N)))
        nearest(store, vectors[0])
        store.wait()
    asked, read = [], Reader.words
    monkeypatch.setattr(Reader, "words", lambda reader, path: asked.append(path) or read(reader, path))
    with FaissStore(tmp_path / "s", embedder=embedder) as store:
        assert store.stats()["items"] == N
        assert store.search(ANN, query="pie 2007", query_vector=vectors[7], mode="lexical")[0].value["n"] == 2007
        assert not asked


def test_a_reopened_shard_knows_what_was_written_since(tmp_path, small_limits, vectors):
    with FaissStore(tmp_path / "s", embedder=embedder) as store:
        fill(store, vectors)
        nearest(store, vectors[0])
        store.wait()
        store.delete(ANN, "k00005")
        store.put(ANN, "new", {"n": 9999}, vector=vectors[5])
    with FaissStore(tmp_path / "s", embedder=embedder) as store:
        assert nearest(store, vectors[5])[0] == 9999 and 5 not in nearest(store, vectors[5])
        assert store.stats()["in_memory"]["quantized"] == N


def test_items_of_several_vectors_and_of_none_are_found_in_large_shards(small_limits):
    store = FaissStore()
    for i in range(700):
        store.put(ANN, f"k{i:03}", {"a": f"alpha{i} common", "b": f"beta{i}"}, index=["a", "b"] if i % 2 else ["a"])
    store.put(ANN, "none", {"a": "x"}, index=False)
    for _ in range(2):
        assert store.search(ANN, query="beta333", mode="dense")[0].key == "k333"
        assert store.search(ANN, query="alpha42 common", mode="dense")[0].key == "k042"
        assert store.search(ANN, query="beta333")[0].key == "k333"
        assert len(store.search(ANN, query="common", limit=1000)) == 701
        store.wait()


def test_a_build_that_fails_leaves_the_answers_exact(store, vectors, monkeypatch, caplog):
    def broken(*_):
        raise MemoryError("no room")

    monkeypatch.setattr(index_module, "build", broken)
    fill(store, vectors[:800])
    assert nearest(store, vectors[7])[0] == 7
    store.wait()
    assert nearest(store, vectors[7])[0] == 7 and "its searches stay exact" in caplog.text


def test_searches_and_writes_go_on_while_a_shard_is_quantized(store, vectors):
    fill(store, vectors[:2000])
    errors = []

    def write():
        try:
            fill(store, vectors[2000:], 2000)
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    for i in range(60):
        assert nearest(store, vectors[i])[0] == i
    writer.join()
    store.wait()
    assert not errors and [nearest(store, vectors[i])[0] for i in range(0, N, 97)] == list(range(0, N, 97))


def test_an_often_updated_item_does_not_fill_memory():
    store = FaissStore()
    for i in range(1000):
        store.put(ANN, "k", {"content": f"version {i}"})
        store.search(ANN, query="version")
    assert store.stats()["in_memory"]["slots"] < 200
