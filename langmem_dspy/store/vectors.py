"""The vectors beside the log: one table for each generation of embedder, and no text embedded twice."""

from __future__ import annotations

import math
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from langmem_dspy.errors import EmbedderMismatch, InputError
from langmem_dspy.store.embedders import Embedder, FunctionEmbedder, embed
from langmem_dspy.store.items import Items
from langmem_dspy.store.reader import Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

_REMEMBERED = 512  # texts; what is stored is found in the database as well
_SAME = 0.999  # the cosine from which on two vectors of one text are the same embedder's
_UNIT = 1e-5  # how far the square of a unit vector in float32 may be from 1
_RE_EMBEDDED = "the store was re-embedded by another process since it was opened; open it again with that embedder"


class Vectors:
    """Reads and writes the vectors of one generation of `items`."""

    def __init__(self, items: Items, embedder: Embedder, generation: int, width: int | None):
        self._items, self.embedder, self.generation, self.width = items, embedder, generation, width
        self._recent: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def table(self) -> str:
        return f"vectors_{self.generation}"

    def follow(self, status: Status) -> None:
        """Learn the width another process may have set; raises `EmbedderMismatch` if it changed the generation."""
        if status.generation != self.generation:
            raise EmbedderMismatch(_RE_EMBEDDED)
        if self.width is None:
            self.width = status.width

    def of_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """`(n, d) float32`: remembered, stored, or embedded now in one call."""
        unique = list(dict.fromkeys(texts))
        found = self._remembered(unique)
        missing = [text for text in unique if text not in found]
        if missing:
            found.update(self._stored(missing))
        if missing := [text for text in missing if text not in found]:
            found.update(zip(missing, embed(self.embedder, missing), strict=True))
        self._remember(found)
        result = np.stack([found[text] for text in texts])
        self._check_width(result.shape[1])
        return result

    def given(self, vector: Sequence[float]) -> NDArray[np.float32]:
        """A caller's own vector, checked: finite, of this store's width, brought to unit length."""
        array = np.ascontiguousarray(vector, dtype=np.float32)
        square = float(array.dot(array)) if array.ndim == 1 and len(array) else math.nan
        if not math.isfinite(square):
            raise InputError(f"a vector is one row of finite numbers, not an array of shape {array.shape}")
        self._check_width(len(array))
        return array if not square or abs(square - 1) < _UNIT else array / np.float32(math.sqrt(square))

    def attach(
        self,
        connection: sqlite3.Connection,
        seqs: Sequence[int | None],
        vectors: Sequence[NDArray[np.float32] | None],
        texts: Sequence[Sequence[str]],
    ) -> None:
        """Store the `(parts, d)` vectors of the revisions `seqs`, inside their transaction."""
        if all(vector is None for vector in vectors):
            return
        self._claim(connection, vectors)
        rows, hashes = [], []
        for seq, vector, parts in zip(seqs, vectors, texts, strict=True):
            if seq is None or vector is None:
                continue
            rows.append((seq, vector.tobytes()))
            hashes += [(text_hash(text), seq, part) for part, text in enumerate(parts)]
        connection.executemany(f"INSERT INTO {self.table} VALUES (?, ?)", rows)
        if hashes:
            connection.executemany(f"INSERT OR IGNORE INTO embedded_{self.generation} VALUES (?, ?, ?)", hashes)

    def _claim(self, connection: sqlite3.Connection, vectors: Sequence[NDArray[np.float32] | None]) -> None:
        _check_generation(connection, self.generation)
        width = next((v.shape[-1] for v in vectors if v is not None), None)
        if width is None or self.width is not None:
            return
        connection.execute("UPDATE generations SET width = ? WHERE id = ? AND width IS NULL", (width, self.generation))
        found = connection.execute("SELECT width FROM generations WHERE id = ?", (self.generation,)).fetchone()[0]
        if found != width:
            raise EmbedderMismatch(_wrong_width(found, width))
        self.width = width

    def _remembered(self, texts: list[str]) -> dict[str, NDArray[np.float32]]:
        with self._lock:
            return {text: self._recent[text] for text in texts if text in self._recent}

    def _remember(self, found: dict[str, NDArray[np.float32]]) -> None:
        with self._lock:
            for text, vector in list(found.items())[-_REMEMBERED:]:
                self._recent[text] = vector.copy()  # a view would keep its whole batch in memory
                self._recent.move_to_end(text)
            while len(self._recent) > _REMEMBERED:
                self._recent.popitem(last=False)

    def _stored(self, texts: list[str]) -> dict[str, NDArray[np.float32]]:
        if self.width is None:
            return {}
        size, found = 4 * self.width, {}
        with self._items.database.read() as connection:
            _check_generation(connection, self.generation)
            for text in texts:
                row = connection.execute(
                    f"SELECT substr(data, part * {size} + 1, {size}) FROM embedded_{self.generation} e "
                    f"JOIN {self.table} v ON v.seq = e.seq WHERE e.hash = ?",
                    (text_hash(text),),
                ).fetchone()
                if row is not None:
                    found[text] = np.frombuffer(row[0], np.float32)
        return found

    def _check_width(self, width: int) -> None:
        if self.width is not None and width != self.width:
            raise EmbedderMismatch(_wrong_width(self.width, width))


def open_vectors(items: Items, embedder: Embedder) -> Vectors:
    """The active generation of a store, made if there is none; raises `EmbedderMismatch` if it is another's."""
    with items.database.read() as connection:
        row = _active(connection)
    if row is None:
        with items.database.write() as connection:
            row = _active(connection)
            if row is None:
                row = (make_generation(connection, embedder.name), embedder.name, None)
                activate(connection, row[0])
    if row[1] != embedder.name and row[2] is None:  # nothing was embedded yet
        with items.database.write() as connection:
            connection.execute("UPDATE generations SET embedder = ? WHERE id = ?", (embedder.name, row[0]))
    elif row[1] != embedder.name and not _same_function(items, embedder, row[0], row[2]):
        raise EmbedderMismatch(
            f"this store holds vectors of {row[1]!r}, {row[2]} wide, and was opened with {embedder.name!r}: open it "
            "without embedder=... or with the former one, then change over with store.reembed(new_embedder)"
        )
    return Vectors(items, embedder, row[0], row[2])


def _same_function(items: Items, embedder: Embedder, generation: int, width: int | None) -> bool:
    """Whether a function that goes by another name now makes the vectors that are stored: it is asked for one."""
    if not isinstance(embedder, FunctionEmbedder) or "/" in embedder.name or width is None:
        return False
    with items.read() as reader:
        found = reader.embedded_text(f"vectors_{generation}")
    if found is None:
        return True
    vector = embed(embedder, [found[0]])[0]
    return len(vector) == width and float(vector @ np.frombuffer(found[1], np.float32, width)) > _SAME


def embedder_name(items: Items) -> str | None:
    """The name of the embedder whose vectors a store holds."""
    with items.database.read() as connection:
        row = _active(connection)
    return None if row is None else row[1]


def make_generation(
    connection: sqlite3.Connection, name: str, width: int | None = None, number: int | None = None
) -> int:
    generation = connection.execute(
        "INSERT INTO generations (id, embedder, width) VALUES (?, ?, ?)", (number, name, width)
    ).lastrowid
    connection.execute(f"CREATE TABLE vectors_{generation} (seq INTEGER PRIMARY KEY, data BLOB NOT NULL)")
    connection.execute(
        f"CREATE TABLE embedded_{generation} (hash BLOB PRIMARY KEY, seq INTEGER NOT NULL, part INTEGER NOT NULL) "
        "WITHOUT ROWID"
    )
    assert generation is not None  # sqlite3 types lastrowid as optional; after an INSERT it is set
    return generation


def activate(connection: sqlite3.Connection, generation: int) -> None:
    connection.execute("UPDATE generations SET active = (id = ?)", (generation,))
    connection.execute("UPDATE meta SET value = ? WHERE name = 'generation'", (generation,))


def text_hash(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()


def _check_generation(connection: sqlite3.Connection, generation: int) -> None:
    if connection.execute("SELECT value FROM meta WHERE name = 'generation'").fetchone()[0] != generation:
        raise EmbedderMismatch(_RE_EMBEDDED)


def _active(connection: sqlite3.Connection) -> tuple[int, str, int | None] | None:
    row: tuple[int, str, int | None] | None = connection.execute(
        "SELECT id, embedder, width FROM generations WHERE active"
    ).fetchone()
    return row


def _wrong_width(stored: int, given: int) -> str:
    return (
        f"this store holds vectors {stored} wide and was given one {given} wide: use the embedder it was made with, "
        "or change over with store.reembed(new_embedder)"
    )
