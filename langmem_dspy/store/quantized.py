"""A large shard's vectors in one bit per dimension, to find candidates that exact scores then order.

RaBitQ (Gao and Long, 2024, arXiv:2405.12497) by FastScan, in one list, and in many from `LISTS_FROM` on. Of FAISS's
FastScan kinds this is the one that takes a selector: filters and dead slots count before the cut, not after it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from langmem_dspy.store.growing import Blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

EXACT_UP_TO = 20_000
LISTS_FROM = 200_000
CANDIDATES = 600  # recall@10 of 0.9995 and more on clustered data, where one bit per dimension has it hardest
NARROWED = 64
_FOR_EACH, _NARROWED_FOR_EACH = 20, 3  # candidates for each item that is wanted, where many are
_LISTS, _PROBES = 1024, 64  # a sixteenth of a million: 1.2 ms, recall@10 of 1.0; 2048 take twice the time to build
_STEP = 20_000  # rows at a time, so that a build can be stopped


class Stopped(Exception):
    """A build was told to stop."""


class Quantized:
    """Codes of the slots below `size`.

    `fine`, one byte per dimension, narrows candidates down where reading their vectors means reading a file.
    """

    def __init__(self, index: Any, size: int, fine: Any = None):
        self.index, self.size = index, size
        self._fine = fine

    def refine(self, fine: Any) -> None:
        self._fine = fine

    def candidates(self, query: NDArray[np.float32], mask: NDArray[np.bool_], wanted: int) -> NDArray[np.int64] | None:
        """Slots of `mask` likely to hold the `wanted` nearest to `query`, in no order; None: so many, compare all."""
        narrowed, k = max(NARROWED, _NARROWED_FOR_EACH * wanted), max(CANDIDATES, _FOR_EACH * wanted)
        passing = int(np.count_nonzero(mask[: self.size]))
        if passing <= CANDIDATES:
            return np.flatnonzero(mask[: self.size])
        return None if 4 * k > self.size else self._search(query, mask, passing, k, narrowed)

    def _search(
        self, query: NDArray[np.float32], mask: NDArray[np.bool_], passing: int, k: int, narrowed: int
    ) -> NDArray[np.int64]:
        import faiss

        bits = np.packbits(mask[: self.size], bitorder="little")  # the selector reads it while it searches
        selector = None if passing == self.size else faiss.IDSelectorBitmap(self.size, faiss.swig_ptr(bits))
        # What few pass is spread thin over the lists, so more of them are looked into.
        probes = min(self.index.nlist, math.ceil(_PROBES * self.size / passing))
        parameters: Any = faiss.SearchParametersIVF()
        parameters.sel, parameters.nprobe = selector, probes
        # One query gains nothing from threads and pays for waking them.
        faiss.omp_set_num_threads(1)
        if self._fine is None:
            found = self.index.search(query[None], k, params=parameters)[1][0]
        else:
            refined: Any = faiss.IndexRefineSearchParameters()
            refined.k_factor, refined.base_index_params = k / narrowed, parameters
            found = faiss.IndexRefine(self.index, self._fine).search(query[None], narrowed, params=refined)[1][0]
        slots: NDArray[np.int64] = found[found >= 0]
        return slots


def build(vectors: Blocks, size: int, should_stop: Callable[[], bool]) -> Quantized:
    """Quantize the first `size` vectors; raises `Stopped` when `should_stop()` says so."""
    import faiss

    lists = _LISTS if size >= LISTS_FROM else 1
    index = faiss.IndexIVFRaBitQFastScan(
        faiss.IndexFlatIP(vectors.width), vectors.width, lists, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.niter, index.cp.spherical = 6, lists > 1
    _fill(index, vectors, size, should_stop)
    return Quantized(index, size)


def fine_index(vectors: Blocks, size: int) -> Any:
    """The first `size` vectors in one byte per dimension."""
    import faiss

    index = faiss.IndexScalarQuantizer(vectors.width, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    _fill(index, vectors, size, lambda: False)
    return index


def _fill(index: Any, vectors: Blocks, size: int, should_stop: Callable[[], bool]) -> None:
    index.train(vectors.take(np.linspace(0, size - 1, min(size, 64 * _LISTS)).astype(np.int64)))
    for start in range(0, size, _STEP):
        if should_stop():
            raise Stopped
        index.add(vectors.take(np.arange(start, min(size, start + _STEP))))
