"""A large shard's vectors in one bit per dimension, to find candidates that exact scores then order.

RaBitQ (Gao and Long, 2024, arXiv:2405.12497), flat, and in inverted lists from `LISTS_FROM` on. Of FAISS's two flat
kinds this is the one that takes a selector: filters and dead slots count before the cut, not after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from langmem_dspy.store.growing import Blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXACT_UP_TO = 20_000
LISTS_FROM = 200_000
CANDIDATES = 600  # recall@10 of 0.9995 and more on clustered data, where one bit per dimension has it hardest
NARROWED = 64
_QUERY_BITS = 4
_LISTS, _PROBES = 2048, 64
_STEP = 20_000  # rows at a time, so that a build can be stopped


class Stopped(Exception):
    """A build was told to stop."""


class Fine:
    """One byte per dimension, to narrow candidates down before their vectors are read from a file."""

    def __init__(self, codes: NDArray[np.int8], scales: NDArray[np.float32]):
        self.codes, self.scales = codes, scales

    def best(self, slots: NDArray[np.int64], query: NDArray[np.float32]) -> NDArray[np.int64]:
        """The `NARROWED` slots nearest to `query`."""
        if len(slots) <= NARROWED:
            return slots
        products = (self.codes[slots].astype(np.float32) @ query) * self.scales[slots]
        return slots[np.argpartition(-products, NARROWED)[:NARROWED]]


class Quantized:
    """Codes of the slots below `size`. `fine` is there where vectors lie in a file."""

    def __init__(self, index: Any, size: int, fine: Fine | None = None):
        self.index, self.size, self.fine = index, size, fine

    def candidates(self, query: NDArray[np.float32], mask: NDArray[np.bool_], k: int = CANDIDATES) -> NDArray[np.int64]:
        """Slots of `mask` that are likely to be nearest to `query`, up to `k`, in no order."""
        import faiss

        bits = np.packbits(mask[: self.size], bitorder="little")
        selector = faiss.IDSelectorBitmap(self.size, faiss.swig_ptr(bits))
        lists = isinstance(self.index, faiss.IndexIVF)
        parameters: Any = faiss.IVFRaBitQSearchParameters() if lists else faiss.RaBitQSearchParameters()
        parameters.sel, parameters.qb = selector, _QUERY_BITS
        if lists:
            parameters.nprobe = _PROBES
        # One query gains nothing from threads and pays for waking them.
        faiss.omp_set_num_threads(1)
        found = self.index.search(query[None], min(k, self.size), params=parameters)[1][0]
        slots: NDArray[np.int64] = found[found >= 0]
        return slots if self.fine is None else self.fine.best(slots, query)


def fine_codes(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """`(n, d)` vectors as whole numbers up to 127 and a scale for each."""
    scales = np.abs(vectors).max(axis=1) / np.float32(127)
    return np.rint(vectors / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8), scales


def build(vectors: Blocks, size: int, should_stop: Any) -> Quantized:
    """Quantize the first `size` vectors; raises `Stopped` when `should_stop()` says so."""
    import faiss

    width = vectors.width
    sample = vectors.take(np.linspace(0, size - 1, min(size, 64 * _LISTS)).astype(np.int64))
    if size >= LISTS_FROM:
        index: Any = faiss.IndexIVFRaBitQ(faiss.IndexFlatIP(width), width, _LISTS, faiss.METRIC_INNER_PRODUCT)
        index.cp.niter, index.cp.spherical = 6, True
    else:
        index = faiss.IndexRaBitQ(width, faiss.METRIC_INNER_PRODUCT)
    index.train(sample)
    del sample
    for start in range(0, size, _STEP):
        if should_stop():
            raise Stopped
        index.add(vectors.take(np.arange(start, min(size, start + _STEP))))
    return Quantized(index, size)
