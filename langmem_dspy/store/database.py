"""One SQLite database: one writer at a time, readers beside it, every commit durable."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langmem_dspy.errors import StoreError

_WAIT_SECONDS = 60.0
# KiB. 16 MB for the writer make scattered changes in batches a tenth quicker, and a server a tenth larger.
_READER_CACHE, _WRITER_CACHE = 2_000, 4_000
# Pages in the write-ahead log before they are brought into the file, 16 MB: batches meet a fourth as many of these and
# cost a quarter less.
_CHECKPOINT = 4_000


class Connection(sqlite3.Connection):
    """A connection with what was last read through it of the state of the log, and of which state of the file."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.status: tuple[tuple[int, int], Any] | None = None


class Database:
    """Connections to one file, or to memory where `path` is None.

    A file has one connection that writes and as many that read as are in use at once; memory has one for both.
    """

    def __init__(self, path: Path | None, prepare: Callable[[Connection], None]):
        self.path = path
        self._lock = threading.RLock()
        self._idle: list[Connection] = []
        self._closed = False
        self._process = os.getpid()
        self._writer = self._connect(_WRITER_CACHE)
        try:
            prepare(self._writer)
        except BaseException:
            self._writer.close()
            raise
        weakref.finalize(self, _close, self._idle, self._writer)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is on disk when the block ends, or not at all if it raises."""
        with self._lock:
            self._check_open()
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one state of the database throughout the block."""
        if self.path is None:
            with self._lock:
                self._check_open()
                yield self._writer
            return
        self._check_open()
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.execute("COMMIT")
            if self._closed:
                connection.close()
            else:
                self._idle.append(connection)

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """The writer outside of a transaction, for VACUUM and checkpoints."""
        with self._lock:
            self._check_open()
            yield self._writer

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            _close(self._idle, self._writer)

    def _connect(self, cache: int = _READER_CACHE) -> Connection:
        target = ":memory:" if self.path is None else str(self.path)
        connection = sqlite3.connect(
            target,
            timeout=_WAIT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
            factory=Connection,
        )
        if self.path is not None:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT}")
        connection.execute(f"PRAGMA cache_size=-{cache}")
        connection.execute("PRAGMA secure_delete=OFF")
        connection.execute("PRAGMA foreign_keys=OFF")
        return connection

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed; open it again with FaissStore(path)")
        if self._process != os.getpid():
            raise StoreError(
                "this store was opened before the process forked, and SQLite's connections do not survive that; "
                "open FaissStore(path) in the child process"
            )


def _close(idle: list[Connection], writer: Connection) -> None:
    while idle:
        idle.pop().close()
    writer.close()
