"""What DSPy tells of a compile that events do not: which program goes in, and which comes out."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
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
        self._warned = False
        self._calls: dict[str, tuple[int, str]] = {}  # call id -> thread, program; in the order they began
        self._runs: dict[int, str] = {}  # thread -> the run that began there last and goes on
        self._run_of: dict[str, str] = {}  # call id -> run

    def run_began(self, run_id: str) -> str | None:
        """A run began in this thread. Returns the name of the program it compiles, if its compile has begun too."""
        self._warn_if_unheard()
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

    def _warn_if_unheard(self) -> None:
        if self._warned or any(callback is self for callback in dspy.settings.callbacks):
            return
        self._warned = True
        logger.warning(
            "tracking: compiled programs are not kept as program/best.json, since its callback is not among "
            "dspy.settings.callbacks here. Call tracking.enable() in the thread that configures DSPy, before "
            "`with dspy.context(...)`, and add to the callbacks rather than replace them"
        )

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


def attach(callbacks: Sequence[BaseCallback]) -> None:
    """Hear of what DSPy does from now on, through its settings."""
    try:
        dspy.configure(callbacks=[*dspy.settings.callbacks, *callbacks])
    except RuntimeError as error:
        logger.debug("DSPy's settings belong to another thread: %s", error)  # a run that begins warns of it


def detach(callbacks: Sequence[BaseCallback]) -> None:
    """Take the callbacks out of DSPy's settings again."""
    kept = [callback for callback in dspy.settings.callbacks if not any(callback is ours for ours in callbacks)]
    if len(kept) == len(dspy.settings.callbacks):
        return
    try:
        dspy.configure(callbacks=kept)
    except RuntimeError:
        logger.debug("the callbacks stay in DSPy's settings, which another thread owns; no run reaches them any more")
