"""From a search operation to items: choose the best, order ties by key, fill up, fetch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from langmem_dspy.errors import InputError
from langmem_dspy.records import SearchItem, SearchOp
from langmem_dspy.store.filters import Group
from langmem_dspy.store.index import Index
from langmem_dspy.store.reader import Reader
from langmem_dspy.store.rows import to_item
from langmem_dspy.store.scoring import Query, score
from langmem_dspy.store.shard import Shard

if TYPE_CHECKING:
    from numpy.typing import NDArray

_POOL = 5  # times as many items as are asked for are looked at where something orders them anew
_FEW = 200  # items that are ordered by their own keys and not by going through all keys
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


class _Hit(NamedTuple):
    """A revision that was chosen; `parts` are dense, lexical and context, as far as there are any."""

    seq: int
    score: float | None
    parts: Sequence[float] = ()


def search(
    op: SearchOp, scope: Scope, query: Query | None, index: Index, reader: Reader, pool: int = 1
) -> list[SearchItem]:
    """The items that `op` asks for; without a query they are listed. Hold `index.lock`.

    With a `pool` above 1: the best of that many times as many, from the first on, for `reordered`.
    """
    shard = index.shard(scope.prefix, reader)
    if shard is None:
        return []
    shard.need_fields(scope.filter, reader)
    mask = shard.mask(scope.filter, scope.as_of)
    wanted = (op.offset + op.limit) * pool
    hits = [] if query is None else _best(op, shard, mask, query, reader, wanted)
    if len(hits) < wanted and (op.min_score is None or op.min_score <= 0):
        filled = _fill(shard, mask, query, reader, {hit.seq for hit in hits})
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


def _best(op: SearchOp, shard: Shard, mask: NDArray[np.bool_], query: Query, reader: Reader, wanted: int) -> list[_Hit]:
    """The `wanted` best matches, best first, equal ones by namespace and key."""
    if not wanted:
        return []
    if query.mode != "dense":
        shard.need_words(reader)
    found = score(shard, mask, query, wanted)
    least = -math.inf if op.min_score is None else float(op.min_score)
    if (spare := len(found.scores) - wanted) > 0:
        # With all that tie with the last: their keys decide.
        least = max(least, float(np.partition(found.scores, spare)[spare]))
    chosen = np.flatnonzero(found.scores >= least)
    scores, parts = found.scores[chosen].tolist(), zip(*(part[chosen].tolist() for part in found.parts), strict=True)
    hits = list(map(_Hit, shard.ids.array[found.slots[chosen]].tolist(), scores, parts))
    if len(set(scores)) < len(hits):
        labels = reader.labels([hit.seq for hit in hits])
        hits.sort(key=lambda hit: labels[hit.seq])
    hits.sort(key=_by_score, reverse=True)
    return hits[:wanted]


def _by_score(hit: _Hit) -> float:
    return hit.score or 0.0


def _fill(
    shard: Shard, mask: NDArray[np.bool_], query: Query | None, reader: Reader, taken: set[int]
) -> Iterator[_Hit]:
    """Items without a match, by namespace and key: first those that could have had one, scored 0, then the rest."""
    if query is None or query.mode == "dense" or shard.postings is None:
        yield from (_Hit(seq, None) for seq in _in_order(shard, mask, reader) if seq not in taken)
        return
    worded = shard.postings.lengths.array > 0
    yield from (_Hit(seq, 0.0) for seq in _in_order(shard, mask & worded, reader) if seq not in taken)
    yield from (_Hit(seq, None) for seq in _in_order(shard, mask & ~worded, reader) if seq not in taken)


def _in_order(shard: Shard, mask: NDArray[np.bool_], reader: Reader) -> Iterator[int]:
    """The revisions of some slots by namespace and key."""
    some = shard.ids.array[mask]
    if len(some) <= _FEW:  # sought one by one, where all would be looked through for them
        seqs = some.tolist()
        labels = reader.labels(seqs)
        yield from sorted(seqs, key=labels.__getitem__)
        return
    for path in reader.paths(shard.path):
        for _, seq in reader.keys(path):
            slot = shard.slot(seq)
            if slot is not None and mask[slot]:
                yield seq


def _fetch(hits: Sequence[_Hit], reader: Reader, explain: bool) -> list[SearchItem]:
    rows = reader.rows([hit.seq for hit in hits])
    expiries = reader.expiries(rows.values())
    return [
        to_item(
            row, expiries.get(seq), SearchItem, score=score, explanation=_explain(score, parts) if explain else None
        )
        for seq, score, parts in hits
        if (row := rows.get(seq)) is not None
    ]


def _explain(score: float | None, parts: Sequence[float]) -> dict[str, Any]:
    named = zip(("dense", "lexical", "context"), parts, strict=False)
    return {"score": score, **{name: part for name, part in named if not math.isnan(part)}}


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
