"""The items at and below one namespace in memory, as columns over slots that are added and never changed.

A slot is one revision; when its item is updated or deleted the slot dies, and once a third are dead the shard is made
anew. So a deletion costs the same at any size, one search never sees half of a change, and two stores may share slots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from langmem_dspy.store.context import Context
from langmem_dspy.store.fields import Fields
from langmem_dspy.store.filters import Group
from langmem_dspy.store.growing import Blocks, Column
from langmem_dspy.store.lexical import Postings
from langmem_dspy.store.quantized import Quantized
from langmem_dspy.store.reader import Addition, Reader
from langmem_dspy.store.rows import ALWAYS

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Shard:
    """A namespace with those below it, their vectors `width` wide.

    `postings` and `context` are read with the first query of words.
    """

    def __init__(self, path: str, width: int | None):
        self.path, self.width = path, width
        self.ids = Column([], np.int64)
        self.alive = Column([], np.bool_)
        self.has_vector = Column([], np.bool_)
        self.valid_from = Column([], np.int64)
        self.valid_to = Column([], np.int64)
        self.timed = False
        # None as long as no item of the whole store has a vector.
        self.vectors = None if width is None else Blocks(width)
        # Items indexed by several paths have further vectors, which few do.
        self.more: Blocks | None = None
        self.owners = Column([], np.int64)
        self.postings: Postings | None = None
        self.context: Context | None = None
        # Both as a snapshot has them, and the words of what was added since; until they are asked for.
        self.saved_words: Callable[[], tuple[Postings, Context] | None] | None = None
        self._added_words: list[tuple[str, bytes, str | None]] = []
        self.fields = Fields()
        self.quantized: Quantized | None = None
        self.dead = self.without_vector = 0

    @property
    def size(self) -> int:
        return self.ids.size

    @property
    def worn(self) -> bool:
        return self.dead > 64 and self.dead * 3 > self.size

    def load(self, rows: Iterable[tuple[int, int | None, int | None, bytes | None]]) -> None:
        for seq, valid_from, valid_to, data in rows:
            self._append(seq, valid_from, valid_to, data)

    def append(self, row: Addition) -> None:
        self._append(row.seq, row.valid_from, row.valid_to, row.vectors)
        if self.postings is not None and self.context is not None:
            self.postings.append(row.terms)
            self.context.append(row.path, row.provenance)
        elif self.saved_words is not None:
            self._added_words.append((row.path, row.terms, row.provenance))
        if self.fields:
            self.fields.append(row.value)

    def kill(self, seq: int) -> None:
        slot = self.slot(seq)
        if slot is not None and self.alive.array[slot]:
            self.alive.array[slot] = False
            self.dead += 1
            if self.context is not None:
                self.context.forget_links()

    def slot(self, seq: int) -> int | None:
        at = int(np.searchsorted(self.ids.array, seq))
        return at if at < self.size and self.ids.array[at] == seq else None

    def need_words(self, reader: Reader) -> None:
        """Read the postings and the threads, unless they are there."""
        if self.known_words() is not None:
            return
        words = {seq: (path, terms, provenance) for seq, path, terms, provenance in reader.words(self.path)}
        ordered = [words.get(seq, ("", b"", None)) for seq in self.ids.array.tolist()]
        context = Context()
        for path, _, provenance in ordered:
            context.append(path, provenance)
        self.postings, self.context = Postings(terms for _, terms, _ in ordered), context

    def known_words(self) -> tuple[Postings, Context] | None:
        """The postings and the threads in memory or in a snapshot; None where they must be read from the database."""
        if self.saved_words is not None:
            if (saved := self.saved_words()) is not None:
                postings, context = saved
                for path, terms, provenance in self._added_words:
                    postings.append(terms)
                    context.append(path, provenance)
                self.postings, self.context = saved
            self.saved_words, self._added_words = None, []
        return None if self.postings is None or self.context is None else (self.postings, self.context)

    def need_fields(self, filter: Group | None, reader: Reader) -> None:
        """Read the columns that a filter asks about, unless they are there."""
        if filter is not None and (missing := self.fields.missing(filter)):
            values = dict(reader.values(self.path))
            self.fields.load(missing, map(values.get, self.ids.array.tolist()))

    def mask(self, filter: Group | None, now: int) -> NDArray[np.bool_]:
        """The slots that may be found: alive, valid at `now` and passing the filter."""
        mask = self.alive.array
        if self.timed:
            mask = mask & (self.valid_from.array <= now) & (self.valid_to.array > now)
        return mask & self.fields.mask(filter) if filter is not None else mask

    def cosines(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """The cosine of every slot with `query`, the best of its vectors; -2 where it has none."""
        if self.vectors is None or self.vectors.width != len(query):
            return np.full(self.size, -2, np.float32)
        found = self.vectors.dots(query)
        if self.more is not None:
            np.maximum.at(found, self.owners.array, self.more.dots(query))
        if self.without_vector:
            found[~self.has_vector.array] = -2
        return found

    def cosines_of(self, slots: NDArray[np.int64], query: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `cosines`, of some slots."""
        if self.vectors is None or self.vectors.width != len(query):
            return np.full(len(slots), -2, np.float32)
        found = Blocks(len(query), self.vectors.take(slots)).dots(query)
        if self.more is not None:
            best = np.full(self.size, -2, np.float32)
            np.maximum.at(best, self.owners.array, self.more.dots(query))
            found = np.maximum(found, best[slots])
        if self.without_vector:
            found[~self.has_vector.array[slots]] = -2
        return found

    def fork(self) -> Shard:
        """A shard of the same slots whose changes are its own."""
        forked = Shard(self.path, self.width)
        for name in ("ids", "alive", "has_vector", "valid_from", "valid_to", "owners"):
            setattr(forked, name, getattr(self, name).fork())
        forked.timed, forked.quantized = self.timed, self.quantized
        forked.dead, forked.without_vector = self.dead, self.without_vector
        forked.vectors = self.vectors and self.vectors.fork()
        forked.more = self.more and self.more.fork()
        forked.postings = self.postings and self.postings.fork()
        forked.context = self.context and self.context.fork()
        forked.saved_words, forked._added_words = self.saved_words, list(self._added_words)
        forked.fields = self.fields.fork()
        return forked

    def _append(self, seq: int, valid_from: int | None, valid_to: int | None, data: bytes | None) -> None:
        slot = self.size
        self.ids.append(seq)
        self.alive.append(True)
        data = data or None  # empty: looked at when the store was re-embedded, and found without text
        self.has_vector.append(data is not None)
        self.without_vector += data is None
        self.valid_from.append(-ALWAYS if valid_from is None else valid_from)
        self.valid_to.append(ALWAYS if valid_to is None else valid_to)
        self.timed = self.timed or valid_from is not None or valid_to is not None
        if self.vectors is None or self.width is None:
            return
        parts = None if data is None else np.frombuffer(data, np.float32).reshape(-1, self.width)
        self.vectors.append(None if parts is None else parts[0])
        if parts is not None and len(parts) > 1:
            self.more = self.more or Blocks(self.width)
            for part in parts[1:]:
                self.more.append(part)
                self.owners.append(slot)
