"""Threads that end before the interpreter does: one that is inside FAISS then would take the process down with it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable


class Background:
    """Work by name, one thread each. `owner` gone or the process ending stops it as `stop` does."""

    def __init__(self, owner: object):
        self._threads: dict[str, threading.Thread] = {}
        self._stopping = threading.Event()
        weakref.finalize(owner, _stop, self._threads, self._stopping)

    def start(self, name: str, work: Callable[[Callable[[], bool]], None]) -> None:
        """Run `work(should_stop)` in a thread, unless work of that name is running."""
        if not self.runs(name) and not self._stopping.is_set():
            thread = threading.Thread(target=work, args=(self._stopping.is_set,), name=f"langmem-{name}", daemon=True)
            self._threads[name] = thread
            thread.start()

    def runs(self, name: str) -> bool:
        thread = self._threads.get(name)
        return thread is not None and thread.is_alive()

    def wait(self, timeout: float | None = None) -> None:
        """Until all that runs now has ended, each within `timeout` seconds."""
        for thread in list(self._threads.values()):
            thread.join(timeout)

    def stop(self) -> None:
        """Ask all to stop, wait for them, and start nothing more."""
        _stop(self._threads, self._stopping)


def _stop(threads: dict[str, threading.Thread], stopping: threading.Event) -> None:
    stopping.set()
    for thread in list(threads.values()):
        if thread is not threading.current_thread():
            thread.join()
