"""A new embedder is a new generation of vectors: made beside the old one, and switched to at once when it is whole.

What was embedded is committed batch by batch, so a run that was killed goes on where it was when started again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import orjson

from langmem_dspy.errors import InputError
from langmem_dspy.store.background import Background
from langmem_dspy.store.embedders import Embedder, embed
from langmem_dspy.store.items import Items
from langmem_dspy.store.values import texts
from langmem_dspy.store.vectors import Vectors, activate, make_generation, text_hash

if TYPE_CHECKING:
    from sqlite3 import Connection

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


class Reembedding:
    """The change to another embedder while the store goes on with the former one.

    `finished` once the store has switched, `error` what stopped it. `progress(done, total)` is called after each batch,
    `adopt(vectors)` when the store has switched.
    """

    def __init__(
        self,
        items: Items,
        former: Vectors,
        embedder: Embedder,
        adopt: Callable[[Vectors], None],
        progress: Progress | None = None,
        batch_size: int = 256,
    ):
        if embedder.name == former.embedder.name:
            raise InputError(f"the store holds vectors of {embedder.name!r} already")
        if batch_size < 1:
            raise InputError(f"batch_size is at least 1, not {batch_size}")
        self._items, self._former, self._embedder, self._adopt = items, former, embedder, adopt
        self._progress, self._batch_size = progress, batch_size
        self.finished = False
        self.done = self.total = 0
        self.error: BaseException | None = None
        self._background = Background(self)
        self._background.start("reembed", self._run)

    def wait(self, timeout: float | None = None) -> bool:
        """Until it is over or `timeout` seconds are; whether the store has switched. Raises what went wrong."""
        self._background.wait(timeout)
        if self.error is not None:
            raise self.error
        return self.finished

    def stop(self) -> None:
        """Stop after the current batch; the next one goes on from there."""
        self._background.stop()

    def _run(self, should_stop: Callable[[], bool]) -> None:
        try:
            generation = self._begin()
            while not should_stop():
                if not self._embed_some(generation) and self._switch(generation):
                    self.finished = True
                    return
        except BaseException as error:  # handed to whoever waits, and said to whoever does not
            self.error = error
            logger.exception("re-embedding with %s stopped; the store goes on as it was", self._embedder.name)

    def _begin(self) -> int:
        with self._items.database.write() as sql:
            row = sql.execute(
                "SELECT id FROM generations WHERE embedder = ? AND NOT active", (self._embedder.name,)
            ).fetchone()
            generation: int = row[0] if row else make_generation(sql, self._embedder.name)
            self.total = sql.execute(f"SELECT count(*) {_having(self._former.table)}").fetchone()[0]
            missing = sql.execute(f"SELECT count(*) {_missing(self._former.table, generation)}").fetchone()[0]
        self.done = self.total - missing
        return generation

    def _embed_some(self, generation: int) -> int:
        """Embed a batch of what is missing; how many items that were."""
        with self._items.database.read() as sql:
            rows = sql.execute(
                f"SELECT h.seq, r.value, r.indexed {_missing(self._former.table, generation)} "
                f"ORDER BY h.seq LIMIT {self._batch_size}"
            ).fetchall()
        parts = [texts(orjson.loads(value), None if index is None else orjson.loads(index)) for _, value, index in rows]
        unique = list(dict.fromkeys(text for some in parts for text in some))
        found = dict(zip(unique, embed(self._embedder, unique), strict=True)) if unique else {}
        # An item without texts, whose vector was given, gets an empty one: it was looked at and is no longer missing.
        blobs = [
            (seq, np.stack([found[text] for text in some]).tobytes() if some else b"")
            for (seq, *_), some in zip(rows, parts, strict=True)
        ]
        with self._items.database.write() as sql:
            sql.executemany(f"INSERT OR IGNORE INTO vectors_{generation} VALUES (?, ?)", blobs)
            sql.executemany(
                f"INSERT OR IGNORE INTO embedded_{generation} VALUES (?, ?, ?)",
                [(text_hash(t), row[0], i) for row, some in zip(rows, parts, strict=True) for i, t in enumerate(some)],
            )
            if found:
                width = len(next(iter(found.values())))
                sql.execute("UPDATE generations SET width = ? WHERE id = ? AND width IS NULL", (width, generation))
        self.done = min(self.total, self.done + len(rows))
        if self._progress is not None and rows:
            self._progress(self.done, self.total)
        return len(rows)

    def _switch(self, generation: int) -> bool:
        with self._items.database.write() as sql:
            if sql.execute(f"SELECT count(*) {_missing(self._former.table, generation)}").fetchone()[0]:
                return False  # written since the last batch
            activate(sql, generation)
            sql.execute("UPDATE meta SET value = value + 1 WHERE name = 'epoch'")
            _drop(sql, self._former.generation)
            width = sql.execute("SELECT width FROM generations WHERE id = ?", (generation,)).fetchone()[0]
        self._adopt(Vectors(self._items, self._embedder, generation, width))
        return True


def _having(former: str) -> str:
    return f"FROM heads h JOIN revisions r ON r.seq = h.seq JOIN {former} f ON f.seq = h.seq"


def _missing(former: str, generation: int) -> str:
    return f"{_having(former)} WHERE NOT EXISTS (SELECT 1 FROM vectors_{generation} v WHERE v.seq = h.seq)"


def _drop(sql: Connection, generation: int) -> None:
    sql.execute(f"DROP TABLE vectors_{generation}")
    sql.execute(f"DROP TABLE embedded_{generation}")
    sql.execute("DELETE FROM generations WHERE id = ?", (generation,))
