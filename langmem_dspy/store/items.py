"""SQLite: the truth. Every change is one row of a log, and one commit makes a batch of them durable."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import orjson

from langmem_dspy.errors import ConflictError, CorruptStoreError
from langmem_dspy.store.database import Database
from langmem_dspy.store.migrations import migrate
from langmem_dspy.store.reader import Last, Reader
from langmem_dspy.store.rows import DELETE, EXPIRE, PUT, to_namespace

_MINUTE = 60_000_000

Clock = Callable[[], float]


class Write(NamedTuple):
    """One checked put, or a deletion where `value` is None. Times in microseconds, ttl in minutes."""

    path: str
    key: str
    value: str | None
    indexed: str | None = None
    ttl: float | None = None
    provenance: str | None = None
    valid_from: int | None = None
    valid_to: int | None = None
    if_version: int | None = None
    terms: bytes = b""
    created: int | None = None
    at: int | None = None


class Items:
    """The log of revisions and the heads of it.

    `clock` gives seconds since 1970. `after` is a seq that all of this log's own come after.
    """

    def __init__(self, path: Path | None, *, clock: Clock = time.time, after: int = 0):
        self.clock = clock
        self._after = after
        self._namespaces: dict[str, int] = {}  # as they were found, so committed: their ids stay
        try:
            self.database = Database(path, migrate)
        except sqlite3.DatabaseError as error:
            raise CorruptStoreError(f"{path} cannot be read as a store: {error}") from error

    def now(self) -> int:
        return int(self.clock() * 1e6)

    @contextmanager
    def read(self, until: int | None = None) -> Iterator[Reader]:
        with self.database.read() as connection:
            yield Reader(connection, until)

    def write(
        self,
        writes: Sequence[Write],
        attach: Callable[[sqlite3.Connection, list[int | None]], None] | None = None,
        last: Callable[[str, str], Last | None] | None = None,
    ) -> list[int | None]:
        """Make all writes, in order, in one transaction; the seq of each, None where a deletion found nothing.

        `attach(connection, seqs)` runs inside the transaction. `last` looks a key up where this log does not know it.
        """
        with self.database.write() as connection:
            seq, _ = self._expire(connection)
            seqs = _Transaction(connection, self.now(), seq, self._namespaces, last).run(writes)
            if attach is not None:
                attach(connection, seqs)
            return seqs

    def sweep(self) -> int:
        """Delete what has expired, as revisions of their own; the number of items."""
        with self.database.write() as connection:
            return self._expire(connection)[1]

    def touch(self, keys: Sequence[tuple[str, str, float]]) -> None:
        """Begin the ttl, in minutes, of (path, key, ttl) anew."""
        now = self.now()
        with self.database.write() as connection:
            connection.executemany(
                "UPDATE heads SET expires = ? WHERE ns = (SELECT id FROM namespaces WHERE path = ?) AND key = ? "
                "AND expires IS NOT NULL",
                [(now + int(ttl * _MINUTE), path, key) for path, key, ttl in keys],
            )

    def close(self) -> None:
        self.database.close()

    def _expire(self, connection: sqlite3.Connection) -> tuple[int, int]:
        """Delete what is due; the newest seq then, and the number of items."""
        now = self.now()
        seq, due = connection.execute(_STATE).fetchone()
        seq = max(self._after, seq)
        if due is None or due > now:
            return seq, 0
        writes = [Write(path, key, None) for path, key in connection.execute(_DUE, (now,))]
        _Transaction(connection, now, seq, self._namespaces, None, EXPIRE).run(writes)
        return seq + len(writes), len(writes)


class _Transaction:
    """The rows of one batch: looked up key by key, then written table by table."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        now: int,
        seq: int,
        namespaces: dict[str, int],
        last: Callable[[str, str], Last | None] | None,
        removal: int = DELETE,
    ):
        self._sql, self._now, self._removal, self._fallback = connection, now, removal, last
        self._seq, self._found = seq, namespaces
        self._made: dict[str, int] = {}
        self._known: dict[tuple[str, str], Last | None] = {}

    def run(self, writes: Sequence[Write]) -> list[int | None]:
        revisions: list[tuple[object, ...]] = []
        newest: dict[tuple[int, str], tuple[Last, int | None]] = {}
        back: list[tuple[int, str]] = []
        seqs: list[int | None] = []
        if len(writes) > 1 and self._fallback is None:
            self._look_up(writes)
        for write in writes:
            ns, last = self._namespace(write.path), self._last(write.path, write.key)
            if write.if_version is not None:
                self._check_version(write, last)
            if write.value is None and (last is None or not last.live):
                seqs.append(None)
                continue
            if last is not None and not last.live:
                back.append((ns, write.key))
            row, newest[ns, write.key] = self._revision(ns, write, last)
            revisions.append(row)
            seqs.append(self._seq)
        self._sql.executemany(_INSERT, revisions)
        self._write_newest(newest, back)
        return seqs

    def _revision(self, ns: int, write: Write, last: Last | None) -> tuple[tuple[object, ...], tuple[Last, int | None]]:
        self._seq += 1
        live = write.value is not None
        version = 1 if last is None else last.version + 1
        at = self._now if write.at is None else write.at
        created = write.created
        if created is None:
            created = at if last is None or not last.live else last.created
        self._known[write.path, write.key] = newest = Last(self._seq, version, created, live)
        row = (
            self._seq, ns, write.key, version, PUT if live else self._removal, at, created,
            None if last is None else last.seq, write.valid_from, write.valid_to, write.ttl, write.indexed,
            write.provenance, write.value, write.terms,
        )  # fmt: skip
        return row, (newest, None if write.ttl is None else self._now + int(write.ttl * _MINUTE))

    def _write_newest(
        self, newest: dict[tuple[int, str], tuple[Last, int | None]], back: Sequence[tuple[int, str]]
    ) -> None:
        if back:
            self._sql.executemany("DELETE FROM gone WHERE ns = ? AND key = ?", back)
        if held := [(*place, *last[:3], expires) for place, (last, expires) in newest.items() if last.live]:
            self._sql.executemany(_HOLD, held)
        if gone := [(*place, last.seq, last.version) for place, (last, _) in newest.items() if not last.live]:
            self._sql.executemany("DELETE FROM heads WHERE ns = ? AND key = ?", [row[:2] for row in gone])
            self._sql.executemany("INSERT INTO gone (ns, key, seq, version) VALUES (?, ?, ?, ?)", gone)

    def _namespace(self, path: str) -> int:
        ns = self._found.get(path) or self._made.get(path)
        if ns is None:
            row = self._sql.execute("SELECT id FROM namespaces WHERE path = ?", (path,)).fetchone()
            if row is not None:
                self._found[path] = ns = row[0]
                return ns
            ns = self._sql.execute("INSERT INTO namespaces (path) VALUES (?)", (path,)).lastrowid
            assert ns is not None  # sqlite3 types lastrowid as optional; after an INSERT it is set
            self._made[path] = ns
        return ns

    def _look_up(self, writes: Sequence[Write]) -> None:
        """Learn of all keys at once: a question for each would be a tenth of what a batch costs."""
        keys: dict[str, list[str]] = {}
        for write in writes:
            keys.setdefault(write.path, []).append(write.key)
        for path, some in keys.items():
            self._known.update({(path, key): None for key in some})
            for key, *last in self._sql.execute(_LAST_OF, (orjson.dumps(some).decode(), self._namespace(path))):
                self._known[path, key] = Last(*last)

    def _last(self, path: str, key: str) -> Last | None:
        if (path, key) in self._known:
            return self._known[path, key]
        row = self._sql.execute(_LAST, (self._namespace(path), key)).fetchone()
        if row is not None:
            return Last(*row)
        return None if self._fallback is None else self._fallback(path, key)

    def _check_version(self, write: Write, last: Last | None) -> None:
        found = last.version if last is not None and last.live else 0
        if write.if_version != found:
            raise ConflictError(
                f"{to_namespace(write.path)!r} {write.key!r} is at version {found}, not {write.if_version}: "
                "someone wrote in between; read it again, apply your change and retry (0 means: must not exist)"
            )


_STATE = (
    "SELECT (SELECT ifnull(max(seq), 0) FROM revisions), (SELECT min(expires) FROM heads WHERE expires IS NOT NULL)"
)
_DUE = "SELECT n.path, h.key FROM heads h JOIN namespaces n ON n.id = h.ns WHERE h.expires <= ?"
_LAST = (
    "SELECT seq, version, created, 1 FROM heads WHERE ns = ?1 AND key = ?2 "
    "UNION ALL SELECT seq, version, 0, 0 FROM gone WHERE ns = ?1 AND key = ?2"
)
_LAST_OF = (
    "SELECT h.key, h.seq, h.version, h.created, 1 FROM json_each(?1) k CROSS JOIN heads h ON h.ns = ?2 "
    "AND h.key = k.value UNION ALL "
    "SELECT g.key, g.seq, g.version, 0, 0 FROM json_each(?1) k CROSS JOIN gone g ON g.ns = ?2 AND g.key = k.value"
)
_HOLD = (
    "INSERT INTO heads (ns, key, seq, version, created, expires) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (ns, key) DO "
    "UPDATE SET seq = excluded.seq, version = excluded.version, created = excluded.created, expires = excluded.expires"
)
_INSERT = (
    "INSERT INTO revisions (seq, ns, key, version, action, at, created, replaces, valid_from, valid_to, ttl, indexed, "
    "provenance, value, terms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
