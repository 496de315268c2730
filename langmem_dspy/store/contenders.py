"""Which texts may be among the best for some terms, found without looking at most of the postings.

As in MaxScore (Turtle and Flood, 1995): what holds only frequent terms cannot catch up with what holds rare ones, and
the frequent ones are where nearly all of the postings are. Queries of 12 words among 100,000 texts of as many, Zipf's
law: 0.6 ms instead of 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUNDING = 1e-4  # of sums in another order
_SORTED = 10_000  # from there on sorting is the slower
_SOME, _FEW = 20, 5  # times k: postings read before the best are named, and how many


class Held(NamedTuple):
    """The slots that hold a term, in order, and how often; what it adds to a text of the shortest length at most.

    `wide` are the counts by slot, 0 where it is not held, of a term that many hold.
    """

    slots: NDArray[np.int32]
    counts: NDArray[np.uint8]
    wide: NDArray[np.uint8] | None
    weight: float
    most: float

    def times(self, slots: NDArray[np.int64]) -> NDArray[np.uint8]:
        """How often each of some slots holds the term."""
        if self.wide is not None:
            return self.wide[slots]
        at = places(self.slots, slots)
        times = np.zeros(len(slots), np.uint8)
        here = at >= 0
        times[here] = self.counts[at[here]]
        return times


Part = Callable[[Held, Any, Any], "NDArray[np.float32]"]


def contenders(
    k: int, terms: Sequence[Held], mask: NDArray[np.bool_], part: Part
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Slots of `mask`, in order, that hold any of `terms`, with all that are among the `k` best; and their scores.

    `part(term, slots, counts)` is what a term adds to the scores of texts.
    """
    terms = sorted(terms, key=lambda term: len(term.slots))
    sums, opened = np.zeros(len(mask), np.float32), 0
    some: NDArray[np.int64] | None = None  # the best so far; the k-th of them is a bound for all
    while terms and (some is None or _least(sums[some], k) <= _most(terms)):
        term = terms.pop(0)
        np.add.at(sums, term.slots, part(term, term.slots, term.counts))  # a third of what sums[slots] += takes
        opened += len(term.slots)
        if some is None and opened >= _SOME * k:
            found = np.flatnonzero((sums > 0) & mask)
            some = best_of(found, sums[found], _FEW * k)
    least = 0.0 if some is None else _least(sums[some], k)
    found = np.flatnonzero((sums > max(0.0, least - _most(terms))) & mask)
    return _narrowed(k, terms, found, sums[found], part, least)


def places(held: NDArray[np.int32], slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where in `held`, which is in order, each of `slots` stands; -1 where it does not."""
    if not len(held):
        return np.full(len(slots), -1)
    at = np.minimum(np.searchsorted(held, slots.astype(np.int32)), len(held) - 1)
    return np.where(held[at] == slots, at, -1)


def best_of(slots: NDArray[np.int64], scores: NDArray[np.float32], n: int) -> NDArray[np.int64]:
    """The `n` slots of the highest `scores`, in no order; all of them if there are not as many."""
    if len(slots) <= n:
        return slots
    least = nth(scores, n)
    best: NDArray[np.int64] = slots[scores >= least]
    if len(best) > n:  # not all that tie with the last
        tied = np.flatnonzero(scores == least)
        best = np.append(slots[scores > least], slots[tied[: n - int(np.count_nonzero(scores > least))]])
    return best


def nth(scores: NDArray[np.float32], n: int) -> float:
    """The `n`-th highest of at least as many sums."""
    # Parting them at one meets their order at its worst: 360 us for some thousands, which SIMD sorts in 25.
    ordered = np.sort(scores) if len(scores) <= _SORTED else np.partition(scores, len(scores) - n)
    return float(ordered[len(scores) - n])


def _narrowed(
    k: int, rest: Sequence[Held], found: NDArray[np.int64], sums: NDArray[np.float32], part: Part, least: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Of what was `found` with `sums`, all that are among the `k` best, of `least` or more, with the `rest`."""
    for i, term in enumerate(rest):
        times = term.times(found)
        here = np.flatnonzero(times)
        sums[here] += part(term, found[here], times[here])
        kept = sums + np.float32(_most(rest[i + 1 :])) >= least
        found, sums = found[kept], sums[kept]
        least = max(least, _least(sums, k))
    return found, sums


def _most(terms: Sequence[Held]) -> float:
    return sum(term.most for term in terms)


def _least(sums: NDArray[np.float32], k: int) -> float:
    """What the `k` best reach at least; 0 if there are not as many."""
    if len(sums) < k:
        return 0.0
    return nth(sums, k) * (1 - _ROUNDING)
