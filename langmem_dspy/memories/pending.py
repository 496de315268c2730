"""Reflections that are still to be made, in SQLite: they survive whatever ends the process."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from langmem_dspy.errors import StoreError
from langmem_dspy.messages import Message, ToolCall

_SCHEMA = """
CREATE TABLE IF NOT EXISTS reflections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace TEXT NOT NULL, thread TEXT,
    messages TEXT NOT NULL, variables TEXT NOT NULL, max_steps INTEGER NOT NULL,
    due REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'running', 'failed')),
    owner TEXT, lease REAL, error TEXT
);
CREATE INDEX IF NOT EXISTS reflections_due ON reflections (state, due);
"""


@dataclass(frozen=True)
class Pending:
    """One reflection to make. `attempts` counts those begun; `error` is what the last one ended with."""

    id: int
    namespace: tuple[str, ...]
    thread: str | None
    messages: tuple[Message, ...]
    variables: dict[str, Any]
    max_steps: int
    attempts: int
    error: str | None = None


class PendingReflections:
    """The table of pending work. Safe over threads and processes; `path` None keeps it in memory.

    `lease` seconds is how long a claim holds without being renewed; a claim of a dead process on this machine ends at
    once.
    """

    def __init__(self, path: str | Path | None = None, *, lease: float = 60.0) -> None:
        self._lock = threading.RLock()
        self._lease = lease
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}:{id(self)}"
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            self._sql = sqlite3.connect(
                ":memory:" if path is None else str(path), check_same_thread=False, isolation_level=None, timeout=30
            )
            self._sql.execute("PRAGMA journal_mode = WAL")
            self._sql.execute("PRAGMA synchronous = FULL")
            self._sql.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"pending reflections cannot be kept at {path}: {error}; give the path of a file"
            ) from error

    def add(
        self,
        namespace: Sequence[str],
        thread: str | None,
        messages: Sequence[Message],
        variables: dict[str, Any],
        max_steps: int,
        due: float,
    ) -> int:
        """Add a reflection, or extend the one pending for this thread, which is then due anew. Its id."""
        key = json.dumps(list(namespace))
        with self._lock, self._transaction():
            row = None
            if thread is not None:
                row = self._sql.execute(
                    "SELECT id, messages FROM reflections WHERE namespace = ? AND thread = ? AND state = 'pending'",
                    (key, thread),
                ).fetchone()
            if row is not None:
                whole = _joined(_load(row[1]), messages)
                self._sql.execute(
                    "UPDATE reflections SET messages = ?, variables = ?, max_steps = ?, due = ?, attempts = 0 "
                    "WHERE id = ?",
                    (_dump(whole), json.dumps(variables), max_steps, due, row[0]),
                )
                return int(row[0])
            cursor = self._sql.execute(
                "INSERT INTO reflections (namespace, thread, messages, variables, max_steps, due) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (key, thread, _dump(messages), json.dumps(variables), max_steps, due),
            )
            assert cursor.lastrowid is not None  # sqlite3 types it as optional; after an INSERT it is set
            return cursor.lastrowid

    def claim(self, now: float | None = None) -> Pending | None:
        """Take the reflection that is due longest, of a thread no one works on; None if there is none."""
        now = time.time() if now is None else now
        with self._lock, self._transaction():
            self._free_abandoned(now)
            row = self._sql.execute(
                "SELECT * FROM reflections AS p WHERE state = 'pending' AND due <= ? AND NOT EXISTS (SELECT 1 FROM "
                "reflections AS r WHERE r.state = 'running' AND r.namespace = p.namespace AND r.thread = p.thread) "
                "ORDER BY due, id LIMIT 1",
                (now,),
            ).fetchone()
            if row is None:
                return None
            self._sql.execute(
                "UPDATE reflections SET state = 'running', attempts = attempts + 1, owner = ?, lease = ? WHERE id = ?",
                (self._owner, now + self._lease, row[0]),
            )
            return _pending(row, attempts=row[7] + 1)

    def renew(self) -> None:
        """Keep what this process works on."""
        with self._lock:
            self._sql.execute(
                "UPDATE reflections SET lease = ? WHERE state = 'running' AND owner = ?",
                (time.time() + self._lease, self._owner),
            )

    def done(self, identifier: int) -> None:
        with self._lock:
            self._sql.execute("DELETE FROM reflections WHERE id = ?", (identifier,))

    def put_off(self, identifier: int, error: str, due: float | None) -> None:
        """After a failure: try again at `due`, or never of its own accord where that is None."""
        state = "failed" if due is None else "pending"
        with self._lock:
            self._sql.execute(
                "UPDATE reflections SET state = ?, error = ?, due = coalesce(?, due), owner = NULL WHERE id = ?",
                (state, error, due, identifier),
            )

    def cancel(self, identifier: int) -> bool:
        """Whether it was still pending, and is no more."""
        with self._lock:
            return (
                self._sql.execute(
                    "DELETE FROM reflections WHERE id = ? AND state IN ('pending', 'failed')", (identifier,)
                ).rowcount
                > 0
            )

    def hurry(self) -> None:
        """Make everything pending due now."""
        with self._lock:
            self._sql.execute("UPDATE reflections SET due = 0 WHERE state = 'pending'")

    def retry_failed(self) -> int:
        with self._lock:
            return self._sql.execute(
                "UPDATE reflections SET state = 'pending', attempts = 0, due = 0 WHERE state = 'failed'"
            ).rowcount

    def in_state(self, *states: str) -> list[Pending]:
        with self._lock:
            marks = ", ".join("?" * len(states))
            rows = self._sql.execute(f"SELECT * FROM reflections WHERE state IN ({marks}) ORDER BY id", states)
            return [_pending(row, attempts=row[7]) for row in rows]

    def next_due(self) -> float | None:
        with self._lock:
            found: float | None = self._sql.execute(
                "SELECT min(due) FROM reflections WHERE state = 'pending'"
            ).fetchone()[0]
            return found

    def close(self) -> None:
        with self._lock, closing(self._sql):
            self._sql.execute(
                "UPDATE reflections SET state = 'pending', owner = NULL WHERE state = 'running' AND owner = ?",
                (self._owner,),
            )

    def _transaction(self) -> Any:
        return _Immediate(self._sql)

    def _free_abandoned(self, now: float) -> None:
        rows = self._sql.execute("SELECT id, owner, lease FROM reflections WHERE state = 'running'").fetchall()
        abandoned = [(row[0],) for row in rows if row[2] < now or _is_dead(row[1])]
        self._sql.executemany("UPDATE reflections SET state = 'pending', owner = NULL WHERE id = ?", abandoned)


class _Immediate:
    def __init__(self, sql: sqlite3.Connection) -> None:
        self._sql = sql

    def __enter__(self) -> None:
        self._sql.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: Any, error: Any, at: Any) -> None:
        self._sql.execute("COMMIT" if kind is None else "ROLLBACK")


def _pending(row: Any, attempts: int) -> Pending:
    return Pending(
        row[0], tuple(json.loads(row[1])), row[2], _load(row[3]), json.loads(row[4]), row[5], attempts, row[11]
    )


def _joined(before: Sequence[Message], now: Sequence[Message]) -> Sequence[Message]:
    """The longer form of the same conversation, or one after the other where each was given only its new turns."""
    if tuple(now[: len(before)]) == tuple(before):
        return now
    return [*before, *now]


def _dump(messages: Iterable[Message]) -> str:
    return json.dumps([asdict(message) for message in messages], ensure_ascii=True)


def _load(text: str) -> tuple[Message, ...]:
    return tuple(
        Message(m["role"], m["content"], m["name"], tuple(ToolCall(**call) for call in m["tool_calls"]))
        for m in json.loads(text)
    )


def _started(pid: int) -> str:
    """When a process began, as far as the system tells: a pid alone may be another process by now."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "-"  # no Linux: the pid has to do
    return "ended" if fields[0] == "Z" else fields[19]


def _is_dead(owner: str) -> bool:
    host, pid, started, _ = owner.rsplit(":", 3)
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return started != _started(int(pid))
