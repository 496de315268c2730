"""How much of what a query asks for is in an item: the evidence of words, of meaning and of the neighbours' words.

BM25's weights are log-odds and add up; so does what lies between a cosine and the cosine of unrelated texts. Evidence
is absolute: it does not depend on what else was found. A score in [0, 1) is evidence / (evidence + HALF).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from langmem_dspy.records import SearchMode
from langmem_dspy.store.contenders import best_of, nth
from langmem_dspy.store.lexical import Postings, Statistics
from langmem_dspy.store.shard import Shard

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF = 8.0  # a perfect paraphrase without a shared word scores 0.5
_WORDY = 100  # of a quantized shard, the best by words that are compared by meaning too


@dataclass(frozen=True)
class Query:
    """What is looked for. `vector` of unit length; `floor` and `weight` are the embedder's."""

    mode: SearchMode
    terms: Sequence[int]
    vector: NDArray[np.float32] | None
    floor: float
    weight: float


class Scored(NamedTuple):
    """Slots that match, with the parts of their scores: dense, lexical and context (NaN or missing: not compared)."""

    slots: NDArray[np.int64]
    scores: NDArray[np.float32]
    parts: tuple[NDArray[np.float32], ...]


def score(shard: Shard, mask: NDArray[np.bool_], query: Query, wanted: int) -> Scored:
    """Slots of `mask` that match: all of a small shard, of a large one at least those among the `wanted` best.

    The words of the shard must be there unless the query is a dense one; their statistics are of all that lives in it.
    """
    if query.mode == "dense":
        return _dense(shard, mask, query, wanted)
    assert shard.postings is not None and shard.context is not None  # read for these modes
    total = shard.postings.statistics(query.terms, shard.alive.array if shard.dead else None)
    if shard.quantized is not None and shard.context.empty:
        few = _few(shard, shard.postings, mask, query, total, wanted)
        if few is not None:
            return few
    lexical = shard.postings.scores(query.terms, total)
    meaning, dense = _meaning(shard, mask, query, lexical, wanted)
    alive = shard.alive.array
    own = np.where(alive, lexical + meaning, np.float32(0))
    context = shard.context.lend(own, alive)
    evidence = own + context
    slots = np.flatnonzero(mask & (evidence > 0))
    parts = (dense[slots], lexical[slots], context[slots])
    return Scored(slots, _scores(evidence[slots]), parts)


def _few(
    shard: Shard, postings: Postings, mask: NDArray[np.bool_], query: Query, total: Statistics, wanted: int
) -> Scored | None:
    """What may be among the best of a large shard, scored as all would be; None if that may be nearly all."""
    slots, lexical = postings.contenders(max(wanted, _WORDY), query.terms, total, mask)
    if query.mode == "lexical" or query.vector is None:
        lexical = postings.scores_of(slots, query.terms, total)
        nothing = np.full(len(slots), np.nan, np.float32)
        return Scored(slots, _scores(lexical), (nothing, lexical, np.zeros_like(lexical)))
    near = _nearest(shard, mask, query.vector, wanted, best_of(slots, lexical, _WORDY))
    if near is None:
        return None
    slots = np.union1d(slots, near)
    lexical = postings.scores_of(slots, query.terms, total)
    cosines = np.full(len(slots), -2, np.float32)
    if len(slots) > wanted:
        # What meaning cannot bring among the best is not read from its file.
        least = nth(lexical, wanted) - np.float32(1.001 * query.weight)
        near = near[lexical[np.searchsorted(slots, near)] >= least]
    cosines[np.searchsorted(slots, near)] = shard.cosines_of(near, query.vector)
    meaning, dense = _evidence(cosines, query)
    evidence = lexical + meaning
    some = evidence > 0
    parts = (dense[some], lexical[some], np.zeros(np.count_nonzero(some), np.float32))
    return Scored(slots[some], _scores(evidence[some]), parts)


def _dense(shard: Shard, mask: NDArray[np.bool_], query: Query, wanted: int) -> Scored:
    assert query.vector is not None  # the mode is refused without
    if shard.without_vector:
        mask = mask & shard.has_vector.array
    slots = _nearest(shard, mask, query.vector, wanted)
    if slots is None:
        slots = np.flatnonzero(mask)
        cosines = shard.cosines(query.vector)[slots]
    else:
        cosines = shard.cosines_of(slots, query.vector)
    return Scored(slots, cosines, (cosines,))


def _nearest(
    shard: Shard, mask: NDArray[np.bool_], vector: NDArray[np.float32], wanted: int, *beside: NDArray[np.int64]
) -> NDArray[np.int64] | None:
    """The slots worth an exact comparison, in order, those `beside` among them; None where that is all of them."""
    if shard.quantized is None:
        return None
    done = shard.quantized.size
    found = shard.quantized.candidates(vector, mask, wanted)
    if found is None:
        return None
    parts = [found, done + np.flatnonzero(mask[done:]), *beside]
    if shard.more is not None:  # further vectors of an item are compared exactly anyway
        parts.append(shard.owners.array)
    slots = np.unique(np.concatenate(parts))
    chosen: NDArray[np.int64] = slots[mask[slots]]
    return chosen


def _meaning(
    shard: Shard, mask: NDArray[np.bool_], query: Query, lexical: NDArray[np.float32], wanted: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The evidence of the vectors, and their cosines."""
    if query.mode == "lexical" or query.vector is None:
        return np.zeros_like(lexical), np.full(shard.size, np.nan, np.float32)
    slots = None
    if shard.quantized is not None:
        worded = np.flatnonzero(mask & (lexical > 0))
        slots = _nearest(shard, mask, query.vector, wanted, best_of(worded, lexical[worded], _WORDY))
    if slots is None:
        return _evidence(shard.cosines(query.vector), query)
    cosines = np.full(shard.size, -2, np.float32)
    cosines[slots] = shard.cosines_of(slots, query.vector)
    return _evidence(cosines, query)


def _evidence(cosines: NDArray[np.float32], query: Query) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What lies above the cosine of unrelated texts, as evidence; and the cosines, NaN where there was none."""
    above = np.maximum(cosines - np.float32(query.floor), 0) * np.float32(query.weight / (1 - query.floor))
    return above, np.where(cosines < -1.5, np.float32(np.nan), cosines)


def _scores(evidence: NDArray[np.float32]) -> NDArray[np.float32]:
    scores: NDArray[np.float32] = evidence / (evidence + np.float32(HALF))
    return scores
