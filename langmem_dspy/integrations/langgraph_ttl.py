"""The sweeper that LangGraph's stores have. Ours hide what has expired by themselves; this deletes it on time, too."""

from __future__ import annotations

import logging
import threading

from langmem_dspy.errors import InputError, LangMemError
from langmem_dspy.records import Store, SupportsSweep

logger = logging.getLogger(__name__)


class Sweeper:
    """One thread at most, which ends with the process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def sweep(self) -> int:
        """The number of items deleted; 0 for a store that has no such verb."""
        return self._store.sweep() if isinstance(self._store, SupportsSweep) else 0

    def start(self, minutes: float) -> None:
        if not 0 < minutes < float("inf"):
            raise InputError(f"a sweep interval is a positive number of minutes, not {minutes!r}")
        if self._thread is not None and self._thread.is_alive():
            return
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._work, args=(self._stopping, minutes * 60), name="langmem-sweeper", daemon=True
        )
        self._thread.start()

    def stop(self, timeout: float | None = None) -> bool:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def _work(self, stopping: threading.Event, seconds: float) -> None:
        while not stopping.wait(seconds):
            try:
                self.sweep()
            except LangMemError as error:
                logger.warning("what has expired could not be deleted, it is tried again: %s", error)
