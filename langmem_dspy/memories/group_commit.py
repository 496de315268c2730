"""Writes of many threads in few transactions: what came while one was being synced goes into the next."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

from langmem_dspy.errors import StoreError
from langmem_dspy.records import Op, PutOp, Store


class GroupCommit:
    """`store` for many writers at once. A write returns once it is durable, as before; a read goes straight through.

    A transaction costs a sync to disk, which takes longer than all else about a write and lets no other one through.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[_Write] = []
        self._guard = threading.Lock()
        self._committing = False

    def batch(self, ops: Iterable[Op]) -> list[Any]:
        write = _Write(list(ops))
        if not any(isinstance(op, PutOp) for op in write.ops):
            return self._store.batch(write.ops)
        with self._guard:
            self._waiting.append(write)
            if not self._committing:
                self._hand_over()
        try:
            write.woken.wait()
            if not write.ended:
                self._commit()
        except BaseException:  # an interrupt, which is that of this thread alone
            self._leave(write)
            raise
        return write.result()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._store, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> GroupCommit:
        return self

    def _commit(self) -> None:
        """Commit for all who wait, and hand over to one of those who came meanwhile."""
        with self._guard:
            group, self._waiting = self._waiting, []
        try:
            self._write(group)
        except BaseException:
            for write in group:
                if not write.ended:
                    write.end(error=StoreError("the write was interrupted before it was made; make it again"))
            raise
        finally:
            with self._guard:
                self._hand_over()  # first, for the disk is the slowest of all
            for write in group:
                write.woken.set()

    def _hand_over(self) -> None:
        """Let the first of those who wait commit, if any do. Hold the guard."""
        self._committing = bool(self._waiting)
        for write in self._waiting[:1]:
            write.woken.set()

    def _leave(self, write: _Write) -> None:
        """Wait no more, and let another commit where it was this one's turn."""
        with self._guard:
            if write in self._waiting:
                self._waiting.remove(write)
                if write.woken.is_set():
                    self._hand_over()

    def _write(self, group: Sequence[_Write]) -> None:
        try:
            results = self._store.batch([op for write in group for op in write.ops])
        except Exception as error:  # noqa: BLE001 - it is that of one write, and is raised where that was made
            if len(group) == 1:
                group[0].end(error=error)
            else:
                self._one_by_one(group)
            return
        for write in group:
            write.end(results[: len(write.ops)])
            del results[: len(write.ops)]

    def _one_by_one(self, group: Sequence[_Write]) -> None:
        for write in group:
            try:
                write.end(self._store.batch(write.ops))
            except Exception as error:  # noqa: BLE001 - raised where the write was made
                write.end(error=error)


class _Write:
    def __init__(self, ops: list[Op]) -> None:
        self.ops, self.ended = ops, False
        self.woken = threading.Event()  # when it has ended, or is to commit for all who wait
        self._results: list[Any] = []
        self._error: Exception | None = None

    def end(self, results: list[Any] | None = None, *, error: Exception | None = None) -> None:
        self._results, self._error, self.ended = results or [], error, True

    def result(self) -> list[Any]:
        if self._error is not None:
            raise self._error
        return self._results
