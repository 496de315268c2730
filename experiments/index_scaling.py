"""How do search time, recall, size and rebuild time grow with the number of memories, beside bare FAISS?

Hypothesis: up to a few thousand items the store's search costs about what an exact scan by bare FAISS costs, since it
does the same and fetches the records too; from 100,000 items on it is many times faster at a recall@10 above 0.98,
since it scans quantized vectors and ranks the best of them again. It is never smaller: it keeps texts and history.
Baseline: `flat`, an exact IndexFlatIP. `ivf`: an IndexIVFFlat of 4 * sqrt(n) lists, 16 probed, as FAISS's guide says.

    langmem-dspy sweep experiments/index_scaling.py --vary items=1000,10000,100000
    langmem-dspy run experiments/index_scaling.py --items 1000000 --seeds 1

Cost: no LM calls. About 4 minutes for the sweep, and 15 minutes, 8 GB of memory and 6 GB of disk for a million items.
Milliseconds are CPU time of one thread for each query: 384 dimensions, k = 10, the query's vector given, records
fetched. Vectors are drawn around 1,000 centres, as embeddings lie. `bytes` is what lies on disk for each item.
`first_ms`: wall time of opening the store again up to its first answer. `rebuild_s`: the same once its index files are
gone, until the new ones are in use; for bare FAISS, making the index from vectors in memory.
"""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from langmem_dspy import FaissStore
from langmem_dspy.experimenting import Cell, Row, experiment

sys.path.append(str(Path(__file__).resolve().parents[1]))
from benchmarks import store_search as parts


@dataclass(frozen=True, kw_only=True)
class Config:
    """How many of what.

    Parameters
    ----------
    items
        Memories in one namespace.
    queries
        Searches, each near some memory.
    """

    items: int = 10_000
    queries: int = 200


@experiment(
    Config,
    variants=("flat", "ivf", "store", "store_hybrid"),
    baseline="flat",
    score="ms",
    higher_is_better=False,
    measured=("ms", "rebuild_s", "first_ms", "fill_s"),
    x="items",
)
def index_scaling(cell: Cell[Config]) -> Row:
    """Fill, search, reopen, rebuild."""
    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(cell.seed)
    data = parts.vectors(cell.config.items, rng)
    questions = parts.queries_near(data, cell.config.queries, rng)
    if cell.variant in ("flat", "ivf"):
        return _bare(cell.variant, data, questions)
    said = parts.texts(min(cell.config.items, 100_000), rng)
    folder = Path(tempfile.mkdtemp(prefix="index-scaling-"))
    try:
        return _store(folder, data, questions, said, hybrid=cell.variant == "store_hybrid")
    finally:
        shutil.rmtree(folder)


def _bare(kind: str, data: np.ndarray, questions: np.ndarray) -> dict[str, float]:
    truth = _truth(data, questions)
    started = time.perf_counter()
    index: Any = faiss.IndexFlatIP(parts.WIDTH)
    if kind == "ivf":
        lists = int(4 * math.sqrt(len(data)))
        index = faiss.IndexIVFFlat(index, parts.WIDTH, lists, faiss.METRIC_INNER_PRODUCT)
        index.train(data[: lists * 64])
        index.nprobe = 16
    index.add(data)
    rebuild = time.perf_counter() - started
    found = [index.search(q[None], parts.K)[1][0].tolist() for q in questions]
    return {
        "recall_at_10": parts.recall(found, truth),
        "ms": parts.cpu_ms(lambda i: index.search(questions[i : i + 1], parts.K), min(50, len(questions))),
        "bytes": len(faiss.serialize_index(index)) / len(data),
        "rebuild_s": rebuild,
    }


def _store(
    folder: Path, data: np.ndarray, questions: np.ndarray, said: list[str], *, hybrid: bool
) -> dict[str, float | None]:
    store = _opened(folder)
    started = time.perf_counter()
    parts.fill(store, data, lambda i: ("m",), said)
    fill = time.perf_counter() - started

    def search(store: FaissStore, i: int) -> list[int]:
        query = said[i * 7 % len(said)] if hybrid else None
        mode = "hybrid" if hybrid else "dense"
        found = store.search(("m",), query=query, query_vector=questions[i], mode=mode, limit=parts.K)
        return [item.value["i"] for item in found]

    search(store, 0)
    store.wait()
    ms = parts.cpu_ms(lambda i: search(store, i), len(questions))
    # Words pull a hybrid search away from the nearest vectors, as they should: there is no truth to compare with.
    recall = (
        None if hybrid else parts.recall([search(store, i) for i in range(len(questions))], _truth(data, questions))
    )
    store.close()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    first = _seconds_to_answer(folder, search, wait=False)
    shutil.rmtree(folder / "index", ignore_errors=True)  # small namespaces have no file there
    rebuild = _seconds_to_answer(folder, search, wait=True)
    return {
        "recall_at_10": recall,
        "ms": ms,
        "bytes": size / len(data),
        "rebuild_s": rebuild,
        "first_ms": first * 1e3,
        "fill_s": fill,
    }


def _seconds_to_answer(folder: Path, search: Any, *, wait: bool) -> float:
    started = time.perf_counter()
    store = _opened(folder)
    if len(search(store, 0)) != parts.K:
        raise RuntimeError(f"the store in {folder} does not answer after it was opened again")
    if wait:
        store.wait()
    seconds = time.perf_counter() - started
    store.close()
    return seconds


def _opened(folder: Path) -> FaissStore:
    return FaissStore(folder, embedder=parts.given_elsewhere)


def _truth(data: np.ndarray, questions: np.ndarray) -> np.ndarray:
    flat = faiss.IndexFlatIP(parts.WIDTH)
    flat.add(data)
    return flat.search(questions, parts.K)[1]


if __name__ == "__main__":
    index_scaling.main()
