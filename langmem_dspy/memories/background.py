"""Reflection in the background: later, once a talk has gone quiet, and never lost."""

from __future__ import annotations

import atexit
import contextvars
import inspect
import logging
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

from langmem_dspy.errors import InputError, StoreError
from langmem_dspy.memories.pending import Pending, PendingReflections
from langmem_dspy.messages import read_messages
from langmem_dspy.namespaces import (
    checked_template,
    configurable,
    current_variables,
    held_store,
    memory_context,
    resolve_namespace,
    template_variables,
)
from langmem_dspy.records import Store

logger = logging.getLogger(__name__)

_LONGEST_SLEEP = 0.5  # another process may have added work to the same file
_RENEWALS = 3  # of a claim, within the time it holds


class Reflection:
    """A submitted conversation. Submitting more of its thread before it has begun gives the same one."""

    def __init__(self, identifier: int, executor: ReflectionExecutor, future: Future[Any]) -> None:
        self.id, self._executor, self._future = identifier, executor, future

    def result(self, timeout: float | None = None) -> Any:
        """What the reflector returned, once it has; raises what it raised at last, or `CancelledError`."""
        return self._future.result(timeout)

    def done(self) -> bool:
        return self._future.done()

    def cancel(self) -> bool:
        """Whether it had not begun, and now never will."""
        return self._executor.cancel(self)


class ReflectionExecutor:
    """Runs `reflector(messages=..., **variables)` for each submitted conversation, in threads of its own.

    `reflector`: a `MemoryStoreManager`, or any callable; `namespace` is its own where it has one, and `store` the one
    it finds where it has none. Work for one
    (namespace, thread) is debounced by `delay` seconds, and never done twice at once. `path` is an SQLite file in
    which pending work survives the process, None keeps it in memory. A failing reflection is tried `max_attempts`
    times, `retry_after` seconds apart at first, twice as long each time; then it waits in `failed()`.
    """

    def __init__(
        self,
        reflector: Callable[..., Any],
        namespace: str | Sequence[str] | None = None,
        *,
        store: Store | None = None,
        path: str | Path | None = None,
        delay: float = 0.0,
        workers: int = 2,
        max_attempts: int = 3,
        retry_after: float = 1.0,
        lease: float = 60.0,
    ) -> None:
        if not callable(reflector):
            raise InputError(f"reflector is called with messages=..., got {type(reflector).__name__} {reflector!r}")
        for name, value, least in (("workers", workers, 1), ("max_attempts", max_attempts, 1), ("delay", delay, 0)):
            if isinstance(value, bool) or not isinstance(value, int | float) or value < least:
                raise InputError(f"{name} is a number of at least {least}, not {value!r}")
        own: str | Sequence[str] = getattr(reflector, "namespace", ("memories",))
        self.reflector, self.namespace = reflector, checked_template(namespace or own)
        self._takes = _parameters(reflector)
        self._store, own_store = held_store(store), getattr(reflector, "store", None)
        if None not in (self._store, own_store) and self._store is not own_store:
            raise InputError(f"store is {store!r}, but the reflector writes to {own_store!r}; leave out one of them")
        self.delay, self.max_attempts, self.retry_after, self._lease = delay, max_attempts, retry_after, lease
        self._durable = path is not None
        self._pending = PendingReflections(path, lease=lease)
        self._futures: dict[int, Future[Any]] = {}
        self._contexts: dict[int, contextvars.Context] = {}
        self._changed = threading.Condition()
        self._closing = self._released = False
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, name=f"langmem-dspy-reflect-{i}", daemon=True) for i in range(workers)
        ]
        self._threads.append(threading.Thread(target=self._keep_claims, name="langmem-dspy-claims", daemon=True))
        for thread in self._threads:
            thread.start()
        _open.add(self)

    @property
    def store(self) -> Any:
        """The store its reflector writes to, None if that is found when it runs."""
        return self._store if self._store is not None else getattr(self.reflector, "store", None)

    def submit(
        self,
        messages: Any,
        config: Mapping[str, Any] | None = None,
        *,
        after_seconds: float | None = None,
        thread_id: str | None = None,
        max_steps: int = 1,
        **variables: Any,
    ) -> Reflection:
        """Reflect on `messages`, `after_seconds` from now (None: `delay`), or later if more of the thread comes.

        `messages` is any form of conversation, or LangMem's {"messages": ...}. What was submitted of the thread before
        is kept: a longer form of the conversation takes its place, new turns are added to it. What LangChain's `config`
        has as "configurable" counts as variables.
        """
        names = template_variables(self.namespace)
        known = {**current_variables(), **configurable(config), **variables}
        thread = thread_id if thread_id is not None else known.get("thread_id")
        filled = {name: _plain(known[name]) for name in sorted(names & set(known)) if name != "thread_id"}
        if thread is not None:
            filled["thread_id"] = str(thread)
        namespace = resolve_namespace(self.namespace, filled)
        after = self.delay if after_seconds is None else after_seconds
        with self._changed:
            if self._closing:
                raise StoreError("this ReflectionExecutor is closed; submit to a new one, on the same path")
            identifier = self._pending.add(
                namespace,
                None if thread is None else str(thread),
                read_messages(messages),
                filled,
                max_steps,
                time.time() + after,
            )
            future = self._futures.setdefault(identifier, Future())
            # The LM, adapter and store in force here are in force when it runs; after a restart, those of the process.
            self._contexts[identifier] = contextvars.copy_context()
            self._changed.notify_all()
        return Reflection(identifier, self, future)

    def cancel(self, reflection: Reflection | Pending) -> bool:
        """Whether it was still waiting, and now never runs."""
        with self._changed:
            cancelled = self._pending.cancel(reflection.id)
            if cancelled:
                self._settle(reflection.id, error=CancelledError())
        return cancelled

    def pending(self) -> list[Pending]:
        """What waits or is being worked on, oldest first."""
        return self._pending.in_state("pending", "running")

    def failed(self) -> list[Pending]:
        """What was given up after `max_attempts`, with its error. `retry_failed()` tries again."""
        return self._pending.in_state("failed")

    def retry_failed(self) -> int:
        with self._changed:
            count = self._pending.retry_failed()
            self._changed.notify_all()
        return count

    def drain(self, timeout: float | None = None) -> bool:
        """Make everything pending now, without further delay; whether all of it was done in `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while self._pending.in_state("pending", "running"):
                self._pending.hurry()
                self._changed.notify_all()
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self._changed.wait(min(left, _LONGEST_SLEEP) if left is not None else _LONGEST_SLEEP)
        return True

    def close(self, *, wait: bool = True) -> None:
        """Stop. What runs is finished if `wait`; what waits stays in the file, and is lost without one."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._closed.set()
            self._changed.notify_all()
        _open.discard(self)
        for thread in self._threads if wait else []:
            if thread is not threading.current_thread():
                thread.join()
        if not self._durable and (lost := len(self._pending.in_state("pending", "running"))):
            logger.warning("%d reflections were pending in memory and are lost; give path=..., or drain() first", lost)
        with self._changed:
            self._released = True
            self._pending.close()
            for future in self._futures.values():
                future.cancel()

    def __enter__(self) -> ReflectionExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> ReflectionExecutor:
        return self  # it owns threads: a copied program goes on using it

    # --- the workers ---

    def _work(self) -> None:
        while (task := self._next()) is not None:
            context = self._contexts.get(task.id) or contextvars.copy_context()
            options = {**task.variables, **({"max_steps": task.max_steps} if task.max_steps != 1 else {})}
            if self._takes is not None:
                options = {name: value for name, value in options.items() if name in self._takes}
            try:
                result = context.copy().run(self._reflect, task, options)
            except Exception as error:  # noqa: BLE001 - whatever one reflection raises must not end the others
                self._failed(task, error)
            else:
                with self._changed:
                    if self._released:
                        return  # it waits again, in the file: whoever takes it up finds it already remembered
                    self._pending.done(task.id)
                    self._settle(task.id, result=result)

    def _reflect(self, task: Pending, options: Mapping[str, Any]) -> Any:
        with memory_context(store=self._store):
            return self.reflector(messages=list(task.messages), **options)

    def _next(self) -> Pending | None:
        with self._changed:
            while not self._closing:
                if (task := self._pending.claim()) is not None:
                    return task
                due = self._pending.next_due()
                left = _LONGEST_SLEEP if due is None else min(_LONGEST_SLEEP, due - time.time())
                self._changed.wait(max(left, 0.005))
        return None

    def _failed(self, task: Pending, error: Exception) -> None:
        said = f"{type(error).__name__}: {error}"
        again = task.attempts < self.max_attempts
        wait = self.retry_after * 2 ** (task.attempts - 1)
        with self._changed:
            if self._released:
                return
            self._pending.put_off(task.id, said, time.time() + wait if again else None)
            if not again:
                self._settle(task.id, error=error)
            else:
                self._changed.notify_all()
        outcome = f"trying again in {wait:g} s" if again else "given up; see failed()"
        logger.warning("reflecting on thread %s of %s failed (%s): %s", task.thread, task.namespace, said, outcome)

    def _settle(self, identifier: int, *, result: Any = None, error: BaseException | None = None) -> None:
        future = self._futures.pop(identifier, None)
        self._contexts.pop(identifier, None)
        if future is not None and not future.done():
            future.set_result(result) if error is None else future.set_exception(error)
        self._changed.notify_all()

    def _keep_claims(self) -> None:
        while not self._closed.wait(self._lease / _RENEWALS):
            with self._changed:
                if not self._released:
                    self._pending.renew()


def _parameters(reflector: Callable[..., Any]) -> set[str] | None:
    """The names it can be called with; None if any."""
    try:
        parameters = inspect.signature(getattr(reflector, "forward", reflector)).parameters.values()
    except (TypeError, ValueError):
        return None
    return None if any(p.kind is p.VAR_KEYWORD for p in parameters) else {p.name for p in parameters}


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int) else str(value)


# The process ends although workers wait: they are daemons, and what they left undone is in the file.
_open: weakref.WeakSet[ReflectionExecutor] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for executor in list(_open):
        executor.close(wait=False)
