"""What DSPy tells of a compile that events do not: which program goes in, and which comes out."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback

from langmem_dspy.tracking.identity import program_name
from langmem_dspy.tracking.spool import Spool

logger = logging.getLogger(__name__)


class CompileWatch(BaseCallback):
    """Pairs each compile with the run whose events come from its thread, and keeps the program that it returns.

    `spool_of` gives a run's spool; `kept` is told when a program has been written to one. A run may begin inside its
    compile (as ours do) or before it (a comparison that tracks another optimizer by emitting events in its name).
    """

    def __init__(self, spool_of: Callable[[str], Spool], kept: Callable[[Spool], None]) -> None:
        self._spool_of, self._kept = spool_of, kept
        self._lock = threading.Lock()
        self._calls: dict[str, tuple[int, str]] = {}  # call id -> thread, program; in the order they began
        self._runs: dict[int, str] = {}  # thread -> the run that began there last and goes on
        self._run_of: dict[str, str] = {}  # call id -> run

    def attach(self) -> None:
        """Hear of compiles from now on, through DSPy's settings."""
        try:
            dspy.configure(callbacks=[*dspy.settings.callbacks, self])
        except RuntimeError as error:
            logger.warning(
                "tracking: compiled programs will not be kept as program/best.json, since only the thread that "
                "configured DSPy may add a callback (%s); call tracking.enable() there",
                error,
            )

    def detach(self) -> None:
        if self not in dspy.settings.callbacks:
            return
        try:
            dspy.configure(callbacks=[callback for callback in dspy.settings.callbacks if callback is not self])
        except RuntimeError:
            logger.debug("the callback stays in DSPy's settings, which another thread owns; no run reaches it any more")

    def run_began(self, run_id: str) -> str | None:
        """A run began in this thread. Returns the name of the program it compiles, if its compile has begun too."""
        thread = threading.get_ident()
        with self._lock:
            self._runs[thread] = run_id
            calls = [c for c, (where, _) in self._calls.items() if where == thread and c not in self._run_of]
            if not calls:
                return None
            self._run_of[calls[-1]] = run_id
            return self._calls[calls[-1]][1]

    def run_ended(self) -> None:
        """The run of this thread is over."""
        with self._lock:
            self._runs.pop(threading.get_ident(), None)

    def on_compile_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        student = inputs.get("student")
        if not isinstance(student, dspy.Module):
            return
        thread, program = threading.get_ident(), program_name(student)
        with self._lock:
            self._calls[call_id] = thread, program
            run_id = self._runs.get(thread)
            if run_id is None or run_id in self._run_of.values():
                return
            self._run_of[call_id] = run_id
        self._spool_of(run_id).note(program=program)

    def on_compile_end(self, call_id: str, outputs: Any | None, exception: BaseException | None = None) -> None:
        with self._lock:
            self._calls.pop(call_id, None)
            run_id = self._run_of.pop(call_id, None)
        if run_id is None or not isinstance(outputs, dspy.Module):
            return
        spool = self._spool_of(run_id)
        beside = spool.program.with_suffix(".part.json")
        try:
            outputs.save(beside)
            os.replace(beside, spool.program)
        except (RuntimeError, OSError, TypeError) as error:
            logger.warning("tracking: the program of run %s has no state that JSON can hold: %s", run_id, error)
            return
        self._kept(spool)
