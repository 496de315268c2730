"""A store as it was at one moment, with changes of its own on top: nothing is copied, and nothing is written below.

The log below keeps every revision, so its state at a `seq` can be read whatever is written there meanwhile.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from langmem_dspy.errors import StoreError
from langmem_dspy.store.items import Items, Write
from langmem_dspy.store.past import NOTHING, stood_at
from langmem_dspy.store.reader import Addition, Change, Last, Reader, Status
from langmem_dspy.store.rows import Row
from langmem_dspy.store.vectors import Vectors, activate, make_generation


class ScratchItems(Items):
    """A log in memory that goes on where `below` stood at `fork`."""

    def __init__(self, below: Items, fork: Status):
        super().__init__(None, clock=below.clock, after=fork.seq)
        self._below, self._fork = below, fork

    @contextmanager
    def read(self, until: int | None = None) -> Iterator[Reader]:
        with self._below.read(self._fork.seq) as below, super().read(until) as above:
            yield LayeredReader(below, above, self._fork)

    def write(
        self,
        writes: Sequence[Write],
        attach: Callable[[sqlite3.Connection, list[int | None]], None] | None = None,
        last: Callable[[str, str], Last | None] | None = None,
    ) -> list[int | None]:
        with self._below.read(self._fork.seq) as below:
            return super().write(writes, attach, below.last)


class ScratchVectors(Vectors):
    """The vectors of a scratch log; texts that `below` has embedded are not embedded again."""

    def __init__(self, items: ScratchItems, below: Vectors):
        with items.database.write() as connection:
            make_generation(connection, below.embedder.name, below.width, below.generation)
            activate(connection, below.generation)
        super().__init__(items, below.embedder, below.generation, below.width)
        self._below = below

    def _stored(self, texts: list[str]) -> dict[str, Any]:
        found = self._below._remembered(texts)
        for source in (super()._stored, self._below._stored):
            found.update(source([text for text in texts if text not in found]))
        return found


class LayeredReader(Reader):
    """What `below` and `above` hold together; a change above hides what it replaces below."""

    def __init__(self, below: Reader, above: Reader, fork: Status):
        self._below, self._above, self._fork = below, above, fork

    def last_replacement(self, since: int) -> int:
        return max(self._below.last_replacement(since), self._above.last_replacement(since))

    def past(self, time: int, prefix: str) -> Reader | None:
        # Each layer by itself knows what stood there, but for the keys whose revisions are in both.
        known = [layer.past(time, prefix) for layer in (self._below, self._above)]
        touched = self._above.touched(prefix)
        if known == [None, None] and not touched:
            return None
        return self.standing([(path, key, stood_at(self.history(path, key), time)) for path, key in touched])

    def standing(self, told: Sequence[tuple[str, str, int]]) -> Reader:
        below = [(path, key, seq if seq <= self._fork.seq else NOTHING) for path, key, seq in told]
        above = [(path, key, seq if seq > self._fork.seq else NOTHING) for path, key, seq in told]
        reader = LayeredReader(self._below.standing(below), self._above.standing(above), self._fork)
        reader._hidden = set()
        return reader

    def totals(self) -> tuple[int, int, int]:
        counts = self.counts("")
        revisions = self._below.totals()[2] + self._above.totals()[2]
        return sum(number for _, number in counts), len(counts), revisions

    def status(self) -> Status:
        below, above = self._below.status(), self._above.status()
        if (below.epoch, below.generation) != (self._fork.epoch, self._fork.generation):
            raise StoreError("the store below this scratch view was compacted or re-embedded; make a new scratch()")
        return above._replace(seq=max(above.seq, self._fork.seq))

    def paths(self, prefix: str) -> list[str]:
        above = set(self._above.paths(prefix))
        below = [path for path in self._below.paths(prefix) if path not in above]
        if self._hidden:
            below = [path for path in below if any(self.keys(path))]
        return sorted([*above, *below])

    def counts(self, prefix: str) -> list[tuple[str, int]]:
        return [(path, sum(1 for _ in self.keys(path))) for path in self.paths(prefix)]

    def last(self, path: str, key: str) -> Last | None:
        return self._above.last(path, key) or self._below.last(path, key)

    def rows(self, seqs: Sequence[int]) -> dict[int, Row]:
        above, below = self._split(seqs)
        return {**self._below.rows(below), **self._above.rows(above)}

    def expiries(self, rows: Iterable[Row]) -> dict[int, int]:
        rows = list(rows)
        above = [row for row in rows if row.seq > self._fork.seq]
        return {**self._below.expiries([r for r in rows if r.seq <= self._fork.seq]), **self._above.expiries(above)}

    def labels(self, seqs: Sequence[int]) -> dict[int, tuple[str, str]]:
        above, below = self._split(seqs)
        return {**self._below.labels(below), **self._above.labels(above)}

    def keys(self, path: str) -> Iterator[tuple[str, int]]:
        below = ((key, seq) for key, seq in self._below.keys(path) if seq not in self._hidden)
        return heapq.merge(below, self._above.keys(path))

    def changes(self, since: int) -> Iterator[Change]:
        return self._above.changes(since)

    def additions(self, seqs: Sequence[int], table: str) -> list[Addition]:
        return self._above.additions(seqs, table)

    def vectors(self, path: str, table: str) -> Iterator[tuple[int, int | None, int | None, bytes | None]]:
        return self._joined(self._below.vectors(path, table), self._above.vectors(path, table))

    def words(self, path: str) -> Iterator[tuple[int, str, bytes, str | None]]:
        return self._joined(self._below.words(path), self._above.words(path))

    def values(self, path: str) -> Iterator[tuple[int, str]]:
        return self._joined(self._below.values(path), self._above.values(path))

    def history(self, path: str, key: str) -> list[Row]:
        return [*self._below.history(path, key), *self._above.history(path, key)]

    @cached_property
    def _hidden(self) -> set[int]:
        return {c.replaces for c in self._above.changes(0) if c.replaces is not None}

    def _joined(self, below: Iterator[Any], above: Iterator[Any]) -> Iterator[Any]:
        yield from (row for row in below if row[0] not in self._hidden)
        yield from above

    def _split(self, seqs: Sequence[int]) -> tuple[list[int], list[int]]:
        return [s for s in seqs if s > self._fork.seq], [s for s in seqs if s <= self._fork.seq]
