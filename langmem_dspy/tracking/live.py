"""Turning tracking on: what the optimizer's thread does is write each event down; the courier does the rest."""

from __future__ import annotations

import atexit
import getpass
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from langmem_dspy.events import CompileFinished, CompileStarted, Event, subscribe
from langmem_dspy.tracking.compiles import CompileWatch, attach, detach
from langmem_dspy.tracking.courier import Courier
from langmem_dspy.tracking.spans import PredictorNames
from langmem_dspy.tracking.spool import DEFAULT_ROOT, Spool, encode
from langmem_dspy.tracking.stores import TrackingStore, resolve_experiment, resolve_store
from langmem_dspy.tracking.traces import Tracing, current_run

# How long the end waits for a store since something last moved there. A file cannot hang, but may be new and large.
SERVER_PATIENCE, FILE_PATIENCE = 8.0, 30.0

_lock = threading.RLock()
_active: Tracking | None = None


class Tracking:
    """Tracking that is on. Also a context manager: leaving it delivers what is waiting and turns tracking off."""

    def __init__(
        self, store: TrackingStore, experiment: str, folder: Path, *, registry: bool, traces: bool = False
    ) -> None:
        self.store, self.experiment, self.folder = store, experiment, folder
        self.registry, self.traces = registry, traces
        self.enabled = False
        self._courier = Courier(store, experiment, registry=registry)
        self._watch = CompileWatch(self._spool_of, self._courier.notice)
        self._callbacks = (self._watch, PredictorNames())
        self._spools: dict[str, Spool] = {}
        self._tracing: Tracing | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    def flush(self, timeout: float = 30.0) -> bool:
        """Deliver what is waiting. False if the store does not take it, or not within `timeout` seconds."""
        return self._courier.flush(timeout)

    def disable(self) -> None:
        """Stop listening, and deliver what is waiting for as long as that moves on."""
        global _active
        with _lock:
            if not self.enabled:
                return
            self.enabled = False
            if _active is self:
                _active = None
        atexit.unregister(self.disable)
        self._unsubscribe()
        detach(self._callbacks)
        self._courier.close(SERVER_PATIENCE if self.store.remote else FILE_PATIENCE)
        if self._tracing is not None:
            self._tracing.stop()
            self._tracing = None

    def __enter__(self) -> Tracking:
        return self

    def __exit__(self, *exc: object) -> None:
        self.disable()

    def __call__(self, event: Event) -> None:
        """Write one event down. This is all that an optimizer's thread ever does for tracking."""
        if not self.enabled:
            return
        spool = self._spool_of(event.run_id)
        if isinstance(event, CompileStarted):
            self._note_beginning(event, spool)
            current_run.set(event.run_id)
        spool.append(encode(event))
        if isinstance(event, CompileFinished):
            self._watch.run_ended()
            current_run.set(None)
        self._courier.notice(spool)

    def _start(self) -> None:
        if self.traces:
            self._tracing = Tracing(self.store, self.experiment)
        self.enabled = True
        self._courier.start()
        self._unsubscribe = subscribe(self)
        attach(self._callbacks)
        atexit.register(self.disable)

    def _spool_of(self, run_id: str) -> Spool:
        if run_id not in self._spools:
            self._spools[run_id] = Spool.of(self.folder, run_id)
        return self._spools[run_id]

    def _note_beginning(self, event: CompileStarted, spool: Spool) -> None:
        facts = {"folder": os.getcwd(), "source": sys.argv[0] or "interactive", "user": user_name()}
        if program := self._watch.run_began(event.run_id):
            facts["program"] = program
        if event.simulated:
            from langmem_dspy.simulation import fingerprint

            facts["simulation_fingerprint"] = fingerprint()  # now: a later replay may meet another simulation
        spool.note(run_id=event.run_id, experiment=self.experiment, **facts)


def enable(
    experiment: str | None = None,
    tracking_uri: str | os.PathLike[str] | None = None,
    *,
    registry: bool = True,
    traces: bool = False,
    folder: str | os.PathLike[str] | None = None,
) -> Tracking:
    """Track every compile of this process as a run in MLflow, from now until `disable()`.

    `experiment`: MLFLOW_EXPERIMENT_NAME or "langmem-dspy" if None. `tracking_uri`: any of MLflow's, or a path to a
    SQLite file; if None what MLflow is set to, else `mlflow.db` in the current folder. `registry`: whether prompts
    become versions in the prompt registry. `traces`: whether every rollout leaves a trace, linked to its run, through
    `mlflow.dspy.autolog` in this process; that costs time and space, and raises `TrackingError` if the store does not
    answer now. `folder`: where events are written first, `.langmem/runs` if None; what no
    store has taken yet is there for `replay`.

    Enabled again with the same settings, the handle in use is returned; with others, it is disabled first.
    """
    global _active
    store, name = resolve_store(tracking_uri), resolve_experiment(experiment)
    root = Path(folder) if folder is not None else DEFAULT_ROOT
    wanted = Tracking(store, name, root.absolute(), registry=registry, traces=traces)
    with _lock:
        if _active is not None and _settings(_active) == _settings(wanted):
            return _active
        if _active is not None:
            _active.disable()
        if folder is None:
            _ignore_in_git(root.parent)
        wanted._start()
        _active = wanted
    return wanted


def _settings(tracking: Tracking) -> tuple[object, ...]:
    return tracking.store, tracking.experiment, tracking.folder, tracking.registry, tracking.traces


def _ignore_in_git(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / ".gitignore"
    if not note.exists():
        note.write_text("*\n", encoding="utf-8")


def user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container may have a user without a name
        return "unknown"
