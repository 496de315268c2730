"""How much of what a query asks for is in an item: the evidence of words, of meaning and of the neighbours' words.

BM25's weights are log-odds and add up; so does what lies between a cosine and the cosine of unrelated texts. Evidence
is absolute: it does not depend on what else was found. A score in [0, 1) is evidence / (evidence + HALF).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from langmem_dspy.records import SearchMode
from langmem_dspy.store.lexical import Statistics
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


@dataclass(frozen=True)
class Scored:
    """Slots of one shard that match, with the parts of their scores (NaN: not compared)."""

    seqs: NDArray[np.int64]
    scores: NDArray[np.float32]
    dense: NDArray[np.float32]
    lexical: NDArray[np.float32]
    context: NDArray[np.float32]


def statistics(shards: Sequence[Shard], query: Query) -> Statistics:
    """The lexical statistics of the searched namespaces, filters aside."""
    parts = [
        s.postings.statistics(query.terms, s.alive.array if s.dead else None) for s in shards if s.postings is not None
    ]
    return Statistics.total(parts) if parts else Statistics(0, 0, (0,) * len(query.terms))


def score(shard: Shard, mask: NDArray[np.bool_], query: Query, total: Statistics | None) -> Scored:
    """The slots of `mask` that have anything in common with the query; in `dense`, all that have a vector."""
    if query.mode == "dense":
        return _dense(shard, mask, query)
    assert shard.postings is not None and shard.context is not None and total is not None  # read for these modes
    lexical = shard.postings.scores(query.terms, total)
    meaning, dense = _meaning(shard, mask, query, lexical)
    alive = shard.alive.array
    own = np.where(alive, lexical + meaning, np.float32(0))
    context = shard.context.lend(own, alive)
    evidence = own + context
    slots = np.flatnonzero(mask & (evidence > 0))
    scores = evidence[slots] / (evidence[slots] + np.float32(HALF))
    return Scored(shard.ids.array[slots], scores, dense[slots], lexical[slots], context[slots])


def _dense(shard: Shard, mask: NDArray[np.bool_], query: Query) -> Scored:
    assert query.vector is not None  # the mode is refused without
    if shard.without_vector:
        mask = mask & shard.has_vector.array
    slots = _nearest(shard, mask, query.vector)
    if slots is None:
        slots = np.flatnonzero(mask)
        cosines = shard.cosines(query.vector)[slots]
    else:
        cosines = shard.cosines_of(slots, query.vector)
    nothing = np.full(len(slots), np.nan, np.float32)
    return Scored(shard.ids.array[slots], cosines, cosines, nothing, nothing)


def _nearest(
    shard: Shard, mask: NDArray[np.bool_], vector: NDArray[np.float32], beside: NDArray[np.float32] | None = None
) -> NDArray[np.int64] | None:
    """The slots worth an exact comparison, or None where that is all of them. `beside` names others by their rank."""
    if shard.quantized is None:
        return None
    done = shard.quantized.size
    parts = [shard.quantized.candidates(vector, mask), done + np.flatnonzero(mask[done:])]
    if shard.more is not None:  # further vectors of an item are compared exactly anyway
        parts.append(np.unique(shard.owners.array))
    if beside is not None:
        best = np.argpartition(beside, max(0, len(beside) - _WORDY))[-_WORDY:]
        parts.append(best[beside[best] > 0])
    slots = np.sort(np.concatenate(parts))
    chosen: NDArray[np.int64] = slots[mask[slots] & np.append(True, slots[1:] != slots[:-1])[: len(slots)]]
    return chosen


def _meaning(
    shard: Shard, mask: NDArray[np.bool_], query: Query, lexical: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The evidence of the vectors, and their cosines."""
    if query.mode == "lexical" or query.vector is None:
        return np.zeros_like(lexical), np.full(shard.size, np.nan, np.float32)
    slots = _nearest(shard, mask, query.vector, np.where(mask, lexical, np.float32(0)))
    if slots is None:
        cosines = shard.cosines(query.vector)
    else:
        cosines = np.full(shard.size, -2, np.float32)
        cosines[slots] = shard.cosines_of(slots, query.vector)
    above = np.maximum(cosines - np.float32(query.floor), 0) * np.float32(query.weight / (1 - query.floor))
    return above, np.where(cosines < -1.5, np.float32(np.nan), cosines)
