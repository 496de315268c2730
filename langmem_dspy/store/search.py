"""From a search operation to items: choose the best, order ties by key, fill up, fetch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from langmem_dspy.errors import InputError
from langmem_dspy.records import SearchItem, SearchOp
from langmem_dspy.store.filters import Group
from langmem_dspy.store.index import Index
from langmem_dspy.store.reader import Reader
from langmem_dspy.store.rows import item_fields
from langmem_dspy.store.scoring import Query, Scored, score, statistics
from langmem_dspy.store.shard import Shard

if TYPE_CHECKING:
    from numpy.typing import NDArray

_POOL = 5  # times as many items as are asked for are looked at where something orders them anew
_DAY = 86_400.0

Reranker = Callable[[str, Sequence[SearchItem]], Sequence[float]]


@dataclass(frozen=True)
class Ranking:
    """What else counts besides evidence. Weights of 0 count nothing.

    `recency` is added in full to an item of now and by half to one `half_life_days` old; `importance` times the number
    in [0, 1] that stands in `importance_field` of the value. `reranker(query, items)` gives the final scores.
    """

    recency: float = 0.0
    half_life_days: float = 30.0
    importance: float = 0.0
    importance_field: str = "importance"
    reranker: Reranker | None = None

    @property
    def reorders(self) -> bool:
        return bool(self.recency or self.importance or self.reranker)

    @property
    def pool(self) -> int:
        """How many times as many items as are asked for are looked at."""
        return _POOL if self.reorders else 1


@dataclass(frozen=True)
class Scope:
    """Where is searched, and which items count: those valid at `as_of` that pass the filter. Times in microseconds."""

    prefix: str
    filter: Group | None
    as_of: int
    now: int


@dataclass(frozen=True, slots=True)
class _Hit:
    """A revision that was chosen; `parts` are dense, lexical and context."""

    seq: int
    score: float | None
    parts: Sequence[float] = ()


def search(
    op: SearchOp, scope: Scope, query: Query | None, index: Index, reader: Reader, pool: int = 1
) -> list[SearchItem]:
    """The items that `op` asks for; without a query they are listed. Hold `index.lock`.

    With a `pool` above 1: the best of that many times as many, from the first on, for `reordered`.
    """
    shards = [index.shard(path, reader) for path in reader.paths(scope.prefix)]
    masks = _masks(shards, scope, reader)
    wanted = (op.offset + op.limit) * pool
    hits = [] if query is None else _best(op, shards, masks, query, reader, wanted)
    if len(hits) < wanted and (op.min_score is None or op.min_score <= 0):
        filled = _fill(shards, masks, query, reader, {hit.seq for hit in hits})
        if op.min_score is not None:
            filled = (hit for hit in filled if hit.score is not None)
        hits += islice(filled, wanted - len(hits))
    return _fetch(hits if pool > 1 else hits[op.offset : wanted], reader, op.explain)


def reordered(items: list[SearchItem], op: SearchOp, ranking: Ranking, now: int) -> list[SearchItem]:
    """The page that `op` asks for, of `items` as `ranking` orders them."""
    weighed = [_weighed(item, ranking, now) for item in items]
    if ranking.reranker is not None:
        scores = [float(score) for score in ranking.reranker(op.query or "", weighed)]
        if len(scores) != len(weighed):
            raise InputError(f"the reranker gave {len(scores)} scores for {len(weighed)} items; it gives one for each")
        weighed = [_rescored(item, score, "reranked") for item, score in zip(weighed, scores, strict=True)]
    weighed.sort(key=lambda item: -math.inf if item.score is None else item.score, reverse=True)
    return weighed[op.offset : op.offset + op.limit]


def _masks(shards: Sequence[Shard], scope: Scope, reader: Reader) -> list[NDArray[np.bool_]]:
    for shard in shards:
        shard.need_fields(scope.filter, reader)
    return [shard.mask(scope.filter, scope.as_of) for shard in shards]


def _best(
    op: SearchOp, shards: list[Shard], masks: list[NDArray[np.bool_]], query: Query, reader: Reader, wanted: int
) -> list[_Hit]:
    """The `wanted` best matches, best first, equal ones by namespace and key."""
    total = None
    if query.mode != "dense":
        for shard in shards:
            shard.need_words(reader)
        total = statistics(shards, query)
    found = [score(shard, mask, query, total, wanted) for shard, mask in zip(shards, masks, strict=True)]
    if not found or not wanted:
        return []
    scores = found[0].scores if len(found) == 1 else np.concatenate([f.scores for f in found])
    chosen = np.flatnonzero(scores >= (-np.inf if op.min_score is None else op.min_score))
    if len(chosen) > wanted:
        least = np.partition(scores[chosen], len(chosen) - wanted)[len(chosen) - wanted]
        chosen = chosen[scores[chosen] >= least]  # with all that tie with the last: their keys decide
    return _ordered(found, chosen, reader)[:wanted]


def _ordered(found: Sequence[Scored], chosen: NDArray[np.intp], reader: Reader) -> list[_Hit]:
    hits, start = [], 0
    for one in found:
        here = chosen[(chosen >= start) & (chosen < start + len(one.seqs))] - start
        columns = (one.seqs, one.scores, one.dense, one.lexical, one.context)
        hits += [
            _Hit(seq, score, parts) for seq, score, *parts in zip(*(c[here].tolist() for c in columns), strict=True)
        ]
        start += len(one.seqs)
    if len({hit.score for hit in hits}) < len(hits):
        labels = reader.labels([hit.seq for hit in hits])
        return sorted(hits, key=lambda hit: (-(hit.score or 0.0), labels[hit.seq]))
    return sorted(hits, key=lambda hit: -(hit.score or 0.0))


def _fill(
    shards: Sequence[Shard], masks: Sequence[NDArray[np.bool_]], query: Query | None, reader: Reader, taken: set[int]
) -> Iterator[_Hit]:
    """Items without a match, by namespace and key: first those that could have had one, scored 0, then the rest."""
    ranks = (0.0, None) if query is not None and query.mode != "dense" else (None,)
    for rank in ranks:
        for shard, mask in zip(shards, masks, strict=True):
            if len(ranks) > 1 and shard.postings is not None:
                worded = shard.postings.lengths.array > 0
                mask = mask & (worded if rank is not None else ~worded)
            for _, seq in reader.keys(shard.path) if mask.any() else ():
                slot = shard.slot(seq)
                if slot is not None and mask[slot] and seq not in taken:
                    yield _Hit(seq, rank)


def _fetch(hits: Sequence[_Hit], reader: Reader, explain: bool) -> list[SearchItem]:
    rows = reader.rows([hit.seq for hit in hits])
    expiries = reader.expiries(rows.values())
    return [
        SearchItem(
            **item_fields(rows[hit.seq], expiries.get(hit.seq)),
            score=hit.score,
            explanation=_explain(hit) if explain else None,
        )
        for hit in hits
        if hit.seq in rows
    ]


def _explain(hit: _Hit) -> dict[str, Any]:
    named = zip(("dense", "lexical", "context"), hit.parts, strict=False)
    return {"score": hit.score, **{name: part for name, part in named if not math.isnan(part)}}


def _weighed(item: SearchItem, ranking: Ranking, now: int) -> SearchItem:
    if item.score is None:
        return item
    age = max(0.0, now / 1e6 - item.updated_at.timestamp()) / _DAY
    recency = ranking.recency * 0.5 ** (age / ranking.half_life_days)
    stored = item.value.get(ranking.importance_field)
    number = float(stored) if isinstance(stored, int | float) else 0.0
    importance = ranking.importance * min(1.0, max(0.0, number))
    item = _rescored(item, item.score + recency, "recency", recency)
    return _rescored(item, item.score + importance, "importance", importance)  # type: ignore[operator]


def _rescored(item: SearchItem, score: float, name: str, part: float | None = None) -> SearchItem:
    explanation = item.explanation
    if explanation is not None:
        explanation = {**explanation, "score": score, name: score if part is None else part}
    return replace(item, score=score, explanation=explanation)
