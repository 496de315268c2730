"""How fast a search is, beside bare FAISS on the same vectors: CPU milliseconds of one thread for each query.

    python benchmarks/store_search.py [--items 100000] [--queries 200] [--folder DIR]

384 dimensions, k=10, the query's vector given, records fetched. Vectors are drawn around centres, as embeddings lie.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np

from langmem_dspy.records import PutOp
from langmem_dspy.store import FaissStore

WIDTH, K = 384, 10
TENANTS = 100
WORDS = [f"word{i}" for i in range(20_000)]


def vectors(n: int, rng: np.random.Generator) -> np.ndarray:
    centres = rng.standard_normal((1000, WIDTH), dtype=np.float32)
    found = np.empty((n, WIDTH), np.float32)
    for at in range(0, n, 50_000):
        part = found[at : at + 50_000]
        part[:] = 0.8 * centres[rng.integers(0, 1000, len(part))]
        part += rng.standard_normal(part.shape, dtype=np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return found


def queries_near(data: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    found = data[rng.integers(0, len(data), n)] + rng.standard_normal((n, WIDTH), dtype=np.float32) * np.float32(0.025)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def cpu_ms(run: Callable[[int], object], times: int) -> float:
    run(0)
    start = time.thread_time()
    for i in range(times):
        run(i)
    return (time.thread_time() - start) / times * 1e3


def given_elsewhere(texts: list[str]) -> np.ndarray:
    return np.ones((len(texts), WIDTH), np.float32)


def rss_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def texts(n: int, rng: np.random.Generator) -> list[str]:
    ranks = np.minimum(rng.zipf(1.3, (n, 12)), len(WORDS)) - 1
    return [" ".join(WORDS[r] for r in row) for row in ranks]


def fill(store: FaissStore, data: np.ndarray, namespace_of: Callable[[int], tuple[str, ...]], said: list[str]) -> None:
    for at in range(0, len(data), 5000):
        store.batch(
            [
                PutOp(
                    namespace_of(i),
                    f"k{i:07}",
                    {"content": said[i % len(said)], "i": i, "half": i // TENANTS % 2},
                    vector=data[i],
                )
                for i in range(at, min(len(data), at + 5000))
            ]
        )


def recall(found: list[list[int]], truth: np.ndarray) -> float:
    return float(np.mean([len(set(f) & set(t.tolist())) / K for f, t in zip(found, truth, strict=True)]))


def line(name: str, ms: float, bare: float, note: str = "") -> None:
    print(f"{name:44} {ms:8.3f} ms   {ms / bare:6.2f} x bare   {note}", flush=True)


def one_namespace(folder: Path, data: np.ndarray, questions: np.ndarray, said: list[str]) -> None:
    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlatIP(WIDTH)
    flat.add(data)
    truth = flat.search(questions, K)[1]
    bare = cpu_ms(lambda i: flat.search(questions[i : i + 1], K), min(50, len(questions)))
    print(f"\n{len(data):,} items in one namespace\n{'bare IndexFlatIP':44} {bare:8.3f} ms")
    store = FaissStore(folder, embedder=given_elsewhere)
    start = time.time()
    fill(store, data, lambda i: ("m",), said)
    print(f"{'filled in':44} {time.time() - start:8.1f} s")

    def dense(i: int) -> list[int]:
        return [item.value["i"] for item in store.search(("m",), query_vector=questions[i], mode="dense", limit=K)]

    dense(0)  # reads the shard and begins to quantize it in the background
    exact = [dense(i) for i in range(min(20, len(questions)))]
    quantized = store.stats()["in_memory"]["quantized"]
    if not quantized:
        line(
            "exact, while it is quantized", cpu_ms(dense, 10), bare, f"recall {recall(exact, truth[: len(exact)]):.4f}"
        )
    start = time.time()
    store.wait()
    print(f"{'quantized after (background, wall)':44} {time.time() - start:8.1f} s")
    ms = cpu_ms(dense, len(questions))
    line(
        "dense, quantized and re-ranked",
        ms,
        bare,
        f"recall {recall([dense(i) for i in range(len(questions))], truth):.4f}",
    )
    half = [store.search(("m",), query_vector=q, mode="dense", limit=K, filter={"half": 0}) for q in questions[:20]]
    assert all(len(found) == K and all(item.value["half"] == 0 for item in found) for found in half)
    line("dense with a filter that half pass", cpu_ms(lambda i: store.search(
        ("m",), query_vector=questions[i], mode="dense", limit=K, filter={"half": 0}), 50), bare)  # fmt: skip
    hybrid = lambda i: store.search(("m",), query=said[i * 7 % len(said)], query_vector=questions[i], limit=K)  # noqa: E731
    start = time.time()
    hybrid(0)
    print(f"{'first hybrid query reads the words in':44} {time.time() - start:8.2f} s")
    line("hybrid, queries of 12 words", cpu_ms(hybrid, min(100, len(questions))), bare)
    updates(store, data)
    store.close()


def updates(store: FaissStore, data: np.ndarray) -> None:
    def update(i: int) -> None:
        store.put(("m",), f"k{i:07}", {"content": "an updated text of a few words", "i": i}, vector=data[i])

    print(f"{'durable update, history included':44} {cpu_ms(update, 300):8.3f} ms")
    print(f"{'durable delete, history included':44} {cpu_ms(lambda i: store.delete(('m',), f'k{i:07}'), 300):8.3f} ms")


def reopened(folder: str) -> None:
    """In a process of its own: what a store costs that was opened again."""
    questions = np.load(Path(folder) / "questions.npy")
    before = rss_mb()
    start, cpu = time.perf_counter(), time.thread_time()
    store = FaissStore(Path(folder) / "one", embedder=given_elsewhere)
    found = store.search(("m",), query_vector=questions[0], mode="dense", limit=K)
    wall, cpu = time.perf_counter() - start, time.thread_time() - cpu
    print(f"{'first answer after reopening':44} {wall * 1e3:8.1f} ms   {cpu * 1e3:.1f} ms of CPU, {len(found)} items")
    for q in questions:
        store.search(("m",), query_vector=q, mode="dense", limit=K)
    print(f"{'memory grown by, after as many searches':44} {rss_mb() - before:8.1f} MB")
    store.close()


def many_tenants(folder: Path, data: np.ndarray, questions: np.ndarray, said: list[str]) -> None:
    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlatIP(WIDTH)
    flat.add(data)
    n = len(data)
    print(f"\n{n:,} items of {TENANTS} tenants, a filter that half pass")
    store = FaissStore(folder, embedder=given_elsewhere)
    fill(store, data, lambda i: ("m", f"t{i % TENANTS}"), said)
    # Half of each tenant's items, every other one of them.
    allowed = [np.array([i for i in range(t, n, TENANTS) if (i // TENANTS) % 2 == 0]) for t in range(TENANTS)]
    selectors = [faiss.IDSelectorBatch(ids) for ids in allowed]
    bare = cpu_ms(lambda i: flat.search(
        questions[i : i + 1], K, params=faiss.SearchParameters(sel=selectors[i % TENANTS])), 100)  # fmt: skip
    print(f"{'bare IndexFlatIP with a selector':44} {bare:8.3f} ms")

    def tenant(i: int, **options: object) -> list[int]:
        found = store.search(("m", f"t{i % TENANTS}"), query_vector=questions[i], mode="dense", limit=K, **options)
        return [item.value["i"] for item in found]

    for t in range(TENANTS):
        tenant(t, filter={"half": 0})  # reads its shard and the column
        store.search(("m", f"t{t}"), query="word1")
    truth = np.stack(
        [allowed[i % TENANTS][np.argsort(-(data[allowed[i % TENANTS]] @ q))[:K]] for i, q in enumerate(questions)]
    )
    found = [tenant(i, filter={"half": 0}) for i in range(len(questions))]
    ms = cpu_ms(lambda i: tenant(i, filter={"half": 0}), len(questions))
    line("tenant and filter", ms, bare, f"recall {recall(found, truth):.4f}")
    line("tenant alone", cpu_ms(tenant, len(questions)), bare)
    hybrid = cpu_ms(lambda i: store.search(
        ("m", f"t{i % TENANTS}"), query=said[i], query_vector=questions[i], limit=K), len(questions))  # fmt: skip
    line("tenant, hybrid, queries of 12 words", hybrid, bare)
    from_above(store, flat, questions, said)
    store.close()


def from_above(store: FaissStore, flat: faiss.IndexFlatIP, questions: np.ndarray, said: list[str]) -> None:
    bare = cpu_ms(lambda i: flat.search(questions[i : i + 1], K), min(50, len(questions)))
    truth = flat.search(questions, K)[1]

    def dense(i: int) -> list[int]:
        return [item.value["i"] for item in store.search(("m",), query_vector=questions[i], mode="dense", limit=K)]

    dense(0)
    exact = cpu_ms(dense, 10)
    store.wait()
    print(f"{'all tenants at once: bare IndexFlatIP':44} {bare:8.3f} ms")
    line("all tenants at once, while codes are made", exact, bare)
    found = [dense(i) for i in range(len(questions))]
    line("all tenants at once", cpu_ms(dense, len(questions)), bare, f"recall {recall(found, truth):.4f}")
    hybrid = lambda i: store.search(("m",), query=said[i * 7 % len(said)], query_vector=questions[i], limit=K)  # noqa: E731
    hybrid(0)
    line("all tenants at once, hybrid", cpu_ms(hybrid, min(100, len(questions))), bare)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    rng = np.random.default_rng(0)
    data = vectors(options.items, rng)
    questions = queries_near(data, options.queries, rng)
    said = texts(min(options.items, 100_000), rng)
    one_namespace(folder / "one", data, questions, said)
    if options.items <= 200_000:
        many_tenants(folder / "many", data, questions, said)
    np.save(folder / "questions.npy", questions)
    code = f"import sys; sys.path[:0] = ['benchmarks']; import store_search; store_search.reopened({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    if options.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
