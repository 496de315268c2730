"""The ledger of threads and runs, in SQLite: what was accepted is on disk before anyone is told so.

A ledger is used from one event loop. One thread writes; what comes in while it commits goes into its next commit, so
that many runs share one sync.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langmem_dspy.errors import StoreError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS threads (
    tenant TEXT NOT NULL, id TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL,
    metadata TEXT NOT NULL, vals TEXT, status TEXT NOT NULL DEFAULT 'idle', expires REAL, PRIMARY KEY (tenant, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS threads_of_tenant ON threads (tenant, created);
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, thread TEXT NOT NULL, graph TEXT NOT NULL, status TEXT NOT NULL,
    created REAL NOT NULL, updated REAL NOT NULL, due REAL NOT NULL, request TEXT NOT NULL, metadata TEXT NOT NULL,
    multitask TEXT NOT NULL, stateless INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, result BLOB,
    expires REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS runs_of_thread ON runs (tenant, thread, created);
CREATE INDEX IF NOT EXISTS runs_of_tenant ON runs (tenant, created);
CREATE INDEX IF NOT EXISTS runs_open ON runs (created) WHERE status IN ('pending', 'running');
CREATE INDEX IF NOT EXISTS runs_expiring ON runs (expires) WHERE expires IS NOT NULL;
CREATE TABLE IF NOT EXISTS states (
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, thread TEXT NOT NULL, created REAL NOT NULL, vals TEXT NOT NULL,
    metadata TEXT NOT NULL, parent TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS states_of_thread ON states (tenant, thread, created);
"""

Statement = tuple[str, Sequence[Any]]


_SOON_SECONDS = 0.05


@dataclass(frozen=True)
class _Job:
    statements: Sequence[Statement]
    done: asyncio.Future[None]
    soon: bool


class Ledger:
    """Threads, runs and states of threads. `path` None keeps them in memory, and they end with the process."""

    def __init__(self, path: Path | None) -> None:
        target = ":memory:" if path is None else str(path)
        try:
            self._sql = sqlite3.connect(target, check_same_thread=False, isolation_level=None)
            if path is not None:
                self._sql.execute("PRAGMA journal_mode=WAL")
                self._sql.execute("PRAGMA synchronous=FULL")
            self._sql.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise StoreError(f"runs cannot be kept at {path}: {error}") from error
        self._reader = self._sql if path is None else sqlite3.connect(target, check_same_thread=False)
        self._reader.row_factory = sqlite3.Row
        # Memory has one connection for both; a file's reader is not held up by its writer.
        self._reading = threading.Lock()
        self._writing = self._reading if path is None else threading.Lock()
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="langmem-dspy-ledger", daemon=True)
        self._thread.start()

    def write(self, *statements: Statement, soon: bool = False) -> asyncio.Future[None]:
        """Written together, or not at all; the future is done when that is on disk.

        `soon`: nobody waits for it, so that it may share a later commit.
        """
        job = _Job(statements, asyncio.get_running_loop().create_future(), soon)
        self._waiting.put(job)
        return job.done

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """What is written."""
        with self._reading:
            found: list[sqlite3.Row] = self._reader.execute(sql, values).fetchall()
            return found

    def row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        return next(iter(self.rows(sql, *values)), None)

    def close(self) -> None:
        """Write what waits, and let go of the file."""
        self._waiting.put(None)
        self._thread.join()
        self._sql.close()
        if self._reader is not self._sql:
            self._reader.close()

    def _write_all(self) -> None:
        ends = False
        while not ends:
            batch = self._next_batch()
            ends = None in batch
            if jobs := [job for job in batch if job is not None]:
                self._write_batch(jobs)

    def _next_batch(self) -> list[_Job | None]:
        """All that waits; what need not be soon waits for company."""
        batch = [self._waiting.get()]
        end = time.monotonic() + _SOON_SECONDS
        while True:
            patient = all(job is not None and job.soon for job in batch)
            wait = max(0.0, end - time.monotonic()) if patient else 0.0
            try:
                batch.append(self._waiting.get(timeout=wait) if wait else self._waiting.get_nowait())
            except queue.Empty:
                return batch

    def _write_batch(self, jobs: Sequence[_Job]) -> None:
        error = None
        try:
            with self._writing:
                self._commit([statement for job in jobs for statement in job.statements])
        except sqlite3.Error as failure:
            if len(jobs) > 1:  # one bad job must not take the others with it
                for job in jobs:
                    self._write_batch([job])
                return
            error = StoreError(f"the ledger of runs cannot be written: {failure}")
        loop = jobs[0].done.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, [job.done for job in jobs], error)

    def _commit(self, statements: Sequence[Statement]) -> None:
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            for sql, values in statements:
                self._sql.execute(sql, values)
            self._sql.execute("COMMIT")
        except BaseException:
            if self._sql.in_transaction:
                self._sql.execute("ROLLBACK")
            raise


def _settle(waiting: Sequence[asyncio.Future[None]], error: StoreError | None) -> None:
    for done in waiting:
        if not done.done():
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
