"""BM25 over the items of one shard (Robertson and Zaragoza, 2009): postings in memory, statistics of the living.

SQLite's FTS5 ranks with the statistics of its whole table, so another tenant's writes would change a score. Here the
terms of a revision lie beside it in the log, and each shard has postings of its own.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from langmem_dspy.store.contenders import Held, contenders, places
from langmem_dspy.store.growing import Column
from langmem_dspy.store.words import unpack_all, unpack_terms

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Anserini's defaults (Yang et al., 2017), kinder to short texts than 1.2 and 0.75.
K1, B = 0.9, 0.4
# Items imagined beside those that are there, so that a term's weight means the same in a namespace of three.
PRIOR = 100
_MANY = 10_000
_MERGE_AT = 20_000  # postings collected before they are sorted in


@dataclass(frozen=True)
class Statistics:
    """What the weight of a term depends on."""

    items: int
    length: float
    frequencies: tuple[int, ...]

    def weights(self) -> NDArray[np.float64]:
        df = np.asarray(self.frequencies, dtype=np.float64)
        return np.log1p((self.items + PRIOR - df + 0.5) / (df + 0.5))


class Postings:
    """Which slots of a shard hold a term, and how often. Slots are added in order and never change."""

    def __init__(self, packed: Iterable[bytes] = ()):
        self._terms = np.empty(0, np.uint64)
        self._starts = np.zeros(1, np.int64)
        self._slots = np.empty(0, np.int32)
        self._counts = np.empty(0, np.uint8)
        self.lengths = Column([], np.float32)
        self._new: dict[int, tuple[array[int], array[int]]] = {}
        self._waiting = 0
        self._wide: dict[int, NDArray[np.uint8]] = {}
        # How many slots have words, and how many words those are.
        self._worded, self._length = 0, 0.0
        self._load(list(packed))

    @classmethod
    def over(cls, arrays: Sequence[NDArray[Any]]) -> Postings:
        """Postings of what `arrays` gave, which are read and never written."""
        postings = cls()
        postings._terms, postings._starts, postings._slots, postings._counts, lengths = arrays
        postings.lengths = Column.over(lengths)
        postings._worded, postings._length = int(np.count_nonzero(lengths)), float(lengths.sum(dtype=np.float64))
        return postings

    def arrays(self, n: int) -> tuple[NDArray[Any], ...]:
        """All that is known of the first `n` slots: terms, where the slots of each start, slots, counts, lengths."""
        if self._waiting:
            self._merge()
        kept = self._slots < n
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])[self._starts]
        return self._terms, starts, self._slots[kept], self._counts[kept], self.lengths.array[:n]

    def append(self, packed: bytes) -> None:
        ids, counts = unpack_terms(packed)
        slot = self.lengths.size
        length = int(counts.sum(dtype=np.int64))
        self.lengths.append(length)
        self._worded, self._length = self._worded + (length > 0), self._length + length
        for term, count in zip(ids.tolist(), counts.tolist(), strict=True):
            found = self._new.get(term)
            if found is None:
                found = self._new[term] = (array("i"), array("B"))
            found[0].append(slot)
            found[1].append(count)
        self._waiting += len(ids)
        if self._waiting > max(_MERGE_AT, len(self._slots) // 4):
            self._merge()

    def statistics(self, terms: Sequence[int], alive: NDArray[np.bool_] | None) -> Statistics:
        """Of the slots that are alive; None is all of them."""
        found = [self._of(term)[0] for term in terms]
        if alive is None:
            return Statistics(self._worded, self._length, tuple(map(len, found)))
        dead = np.flatnonzero(~alive)
        lengths = self.lengths.array[dead]
        return Statistics(
            self._worded - int(np.count_nonzero(lengths)),
            self._length - float(lengths.sum(dtype=np.float64)),
            tuple(len(slots) - int(np.count_nonzero(places(slots, dead) >= 0)) for slots in found),
        )

    def scores(self, terms: Sequence[int], statistics: Statistics) -> NDArray[np.float32]:
        """The BM25 score of every slot; 0 where no term occurs."""
        scores = np.zeros(self.lengths.size, np.float32)
        norms = self._norms(self.lengths.array, statistics)
        for term, weight in zip(terms, statistics.weights(), strict=True):
            slots, counts = self._of(term)
            np.add.at(scores, slots, _part(weight, counts, norms[slots]))
        return scores

    def scores_of(self, slots: NDArray[np.int64], terms: Sequence[int], statistics: Statistics) -> NDArray[np.float32]:
        """As `scores`, of some slots."""
        scores = np.zeros(len(slots), np.float32)
        norms = self._norms(self.lengths.array[slots], statistics)
        for held in self._held(terms, statistics):
            times = held.times(slots)
            here = np.flatnonzero(times)
            scores[here] += _part(held.weight, times[here], norms[here])
        return scores

    def contenders(
        self, k: int, terms: Sequence[int], statistics: Statistics, mask: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Slots of `mask`, in order, that hold any of `terms`, with all that are among the `k` best; and their scores.

        The scores are those of `scores_of` but for the order in which they are summed up.
        """

        def part(term: Held, slots: Any, counts: Any) -> Any:
            return _part(term.weight, counts, self._norms(self.lengths.array[slots], statistics))

        return contenders(k, self._held(terms, statistics), mask, part)

    def fork(self) -> Postings:
        forked = Postings()
        forked._terms, forked._starts, forked._slots = self._terms, self._starts, self._slots
        forked._counts = self._counts
        forked.lengths = self.lengths.fork()
        forked._new = {term: (slots[:], counts[:]) for term, (slots, counts) in self._new.items()}
        forked._waiting, forked._worded, forked._length = self._waiting, self._worded, self._length
        return forked

    def _held(self, terms: Sequence[int], statistics: Statistics) -> list[Held]:
        held = []
        for term, weight in zip(terms, statistics.weights(), strict=True):
            slots, counts = self._of(term)
            most = _part(weight, counts.max(initial=0), K1 * (1 - B))  # the norm of a text without length
            held.append(Held(slots, counts, self._wide_of(term, slots, counts), weight, float(most)))
        return held

    def _wide_of(self, term: int, slots: NDArray[np.int32], counts: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """The counts of a term by slot where an eighth of many hold it: to look one up is then not to search for it."""
        n = self.lengths.size
        if n < _MANY or len(slots) * 8 < n:
            return None
        wide = self._wide.get(term)
        if wide is None or len(wide) != n:
            wide = self._wide[term] = np.zeros(n, np.uint8)
            wide[slots] = counts
        return wide

    def _of(self, term: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        at = int(np.searchsorted(self._terms, np.uint64(term)))
        known = at < len(self._terms) and int(self._terms[at]) == term
        lo, hi = (int(self._starts[at]), int(self._starts[at + 1])) if known else (0, 0)
        slots, counts = self._slots[lo:hi], self._counts[lo:hi]
        if fresh := self._new.get(term):
            slots = np.concatenate([slots, np.array(fresh[0], np.int32)])
            counts = np.concatenate([counts, np.array(fresh[1], np.uint8)])
        return slots, counts

    def _norms(self, lengths: NDArray[np.float32], statistics: Statistics) -> NDArray[np.float32]:
        average = statistics.length / max(1, statistics.items)
        norms: NDArray[np.float32] = K1 * (1 - B + B * lengths / np.float32(max(average, 1e-9)))
        return norms

    def _load(self, packed: list[bytes]) -> None:
        if not packed:
            return
        sizes = np.array([len(p) // 9 for p in packed])
        ids, counts = unpack_all(packed)
        slots = np.repeat(np.arange(len(packed), dtype=np.int32), sizes)
        lengths = np.zeros(len(packed), np.float32)
        np.add.at(lengths, slots, counts)
        self.lengths = Column(lengths, np.float32)
        self._worded, self._length = int(np.count_nonzero(lengths)), float(lengths.sum(dtype=np.float64))
        self._sort(ids, slots, counts)

    def _merge(self) -> None:
        old = np.repeat(self._terms, np.diff(self._starts))
        new = list(self._new.items())
        self._new, self._waiting = {}, 0
        self._sort(
            np.concatenate([old, np.repeat(np.array([t for t, _ in new], np.uint64), [len(f[0]) for _, f in new])]),
            np.concatenate([self._slots, *(np.array(slots, np.int32) for _, (slots, _) in new)]),
            np.concatenate([self._counts, *(np.array(counts, np.uint8) for _, (_, counts) in new)]),
        )

    def _sort(self, terms: NDArray[np.uint64], slots: NDArray[np.int32], counts: NDArray[np.uint8]) -> None:
        order = np.argsort(terms, kind="stable")
        self._terms, firsts = np.unique(terms[order], return_index=True)
        self._starts = np.append(firsts, len(terms)).astype(np.int64)
        self._slots, self._counts = slots[order], counts[order]


def _part(weight: float, counts: Any, norms: Any) -> Any:
    """What a term of `weight` adds to texts that hold it `counts` times."""
    times = np.asarray(counts, np.float32)
    parts = np.float32(weight * (K1 + 1)) * times
    parts /= times + np.float32(norms)
    return parts
