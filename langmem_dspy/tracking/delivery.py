"""One run's way into MLflow: what its spool holds becomes one MLflow run, however often that is begun anew.

Delivering twice changes nothing: the MLflow run is found by its tag, metric points carry the time of their event,
artifacts keep their names, and prompts are told by their text. So a delivery that was cut off is simply done again.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from langmem_dspy.tracking.artifacts import TABLES, TABLES_TAG, write_artifacts
from langmem_dspy.tracking.history import RunHistory
from langmem_dspy.tracking.identity import git_commit, unnamed_program
from langmem_dspy.tracking.measures import (
    RUN_ID_TAG,
    Point,
    closing_tags,
    params_of,
    points_of,
    run_name,
    summary_of,
    summary_points,
    tags_of,
)
from langmem_dspy.tracking.registry import PromptRegistry
from langmem_dspy.tracking.saved_view import COLOR_TAG, free_color, ship_view
from langmem_dspy.tracking.spool import Spool
from langmem_dspy.tracking.traces import link_traces

if TYPE_CHECKING:
    from filelock import FileLock
    from mlflow import MlflowClient

T = TypeVar("T")
logger = logging.getLogger(__name__)

_METRICS_A_CALL, _OTHERS_A_CALL = 1000, 100  # MLflow's limits


class Delivery:
    """Brings one spool to one tracking store. Not thread-safe: it belongs to whoever delivers."""

    def __init__(
        self, spool: Spool, uri: str, *, registry: bool = True, progress: Callable[[], None] = lambda: None
    ) -> None:
        self.spool, self.uri, self.registry, self._progress = spool, uri, registry, progress
        self.history = RunHistory()
        self.mlflow_run: str | None = None
        self._offset = 0
        self._unsent: deque[Point] = deque()
        self._versions: deque[Mapping[str, Any]] = deque()
        self._points: set[tuple[str, int]] = set()
        self._sent_state: tuple[int, bool] | None = None
        self._ended: tuple[str, int] | None = None
        self._claim: FileLock | None = None

    @property
    def behind(self) -> bool:
        """Whether the spool holds something that has not arrived."""
        return self._sent_state != self._state()

    @property
    def finished(self) -> bool:
        return bool(self.history.finished)

    @property
    def failed(self) -> bool:
        return bool(self.history.finished.get("error"))

    def deliver(self, client: MlflowClient, experiment_id: str) -> None:
        """Send what is new. Raises what MLflow raises; what had not arrived is sent the next time."""
        if self._claim is None:
            self._claim = self.spool.claim()  # until the run has ended: no one else may think it interrupted
        state = self._state()
        self._read()
        if not self.history.started:
            logger.warning("%s does not begin with CompileStarted and is left out", self.spool.events)
            self._sent_state = state
            return
        if self.mlflow_run is None:
            self.mlflow_run = self._open(client, experiment_id)
        self._send_points(client)
        self._send_versions(client, experiment_id)
        if self.finished:
            self._finish(client, experiment_id)
        self._sent_state = state
        self.spool.mark_delivered(
            self.uri, mlflow_run=self.mlflow_run, bytes=state[0], program=state[1], finished=self.finished
        )
        if self.finished:
            self.release()

    @property
    def complete(self) -> bool:
        """Whether nothing more is to be expected: the run has ended, and all of it, its program too, has arrived."""
        return self.finished and not self.behind and (self.failed or self.spool.program.exists())

    def mark_interrupted(self, client: MlflowClient) -> None:
        """Tell MLflow that a run which never finished is no longer under way."""
        if self.mlflow_run is not None and not self.finished:
            client.set_tag(self.mlflow_run, "stop_reason", "interrupted")
            client.set_terminated(self.mlflow_run, "KILLED", end_time=self._last_moment())

    def release(self) -> None:
        """Let others deliver this run."""
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def _state(self) -> tuple[int, bool]:
        return self.spool.size(), self.spool.program.exists()

    def _read(self) -> None:
        events, self._offset = self.spool.read(self._offset)
        for event in events:
            self.history.add(event)
            for point in points_of(event, self.history):
                # A run that was killed and goes on tells its first steps again.
                if (point.key, point.step) not in self._points:
                    self._points.add((point.key, point.step))
                    self._unsent.append(point)
            if event.get("event") == "PromptsVersioned":
                self._versions.append(event)
            if event.get("event") == "CompileFinished":
                self._unsent.extend(summary_points(self.history))

    def _open(self, client: MlflowClient, experiment_id: str) -> str:
        """The MLflow run of this run: found by its tag, or created with what is known from the start."""
        started = self.history.started
        self._note_surroundings()
        about = self.spool.about()
        params = params_of(started, about.get("git_commit"))
        run = _find(client, experiment_id, str(started["run_id"]))
        if run is None:
            began = int(started["at"] * 1000)
            tags = {**tags_of(started, about), COLOR_TAG: free_color(client, experiment_id)}
            created = client.create_run(experiment_id, start_time=began, tags=tags, run_name=run_name(started))
            run = str(created.info.run_id)
        else:
            client.update_run(run, status="RUNNING")
            # MLflow takes no second value for a param: a run that goes on with a larger budget keeps the first.
            known = client.get_run(run).data.params
            params = {key: value for key, value in params.items() if key not in known}
        self._log(client, run, params=params)
        self._log_datasets(client, run)
        self._progress()
        return run

    def _note_surroundings(self) -> None:
        about = self.spool.about()
        if "git_commit" not in about and "folder" in about:
            self.spool.note(git_commit=git_commit(about["folder"]))

    def _send_points(self, client: MlflowClient) -> None:
        while self._unsent:
            batch = list(islice(self._unsent, _METRICS_A_CALL))
            self._log(client, self._run, points=batch)
            for _ in batch:
                self._unsent.popleft()
            self._progress()

    def _send_versions(self, client: MlflowClient, experiment_id: str) -> None:
        """The versions of online learning, in their order: an alias ends where it was put last."""
        registry = PromptRegistry(client, experiment_id, self._run, self._progress)
        while self._versions:
            if self.registry:
                registry.put_alias(self._versions[0], self._program)
            self._versions.popleft()

    @property
    def _program(self) -> str:
        return str(self.spool.about().get("program") or unnamed_program(self.history.started.get("prompts") or {}))

    def _finish(self, client: MlflowClient, experiment_id: str) -> None:
        finished = self.history.finished
        self._log(client, self._run, tags={**closing_tags(self.history), TABLES_TAG: TABLES})
        with tempfile.TemporaryDirectory(prefix="langmem-dspy-") as folder:
            write_artifacts(Path(folder), self.history, self.spool)
            client.log_artifacts(self._run, folder)
        self._progress()
        ending = "FAILED" if self.failed else "FINISHED", int(finished["at"] * 1000)
        if ending == self._ended:
            return  # a late score changes the page, but is no second end
        if self.registry:
            PromptRegistry(client, experiment_id, self._run, self._progress).register(self.history, self._program)
        link_traces(client, experiment_id, self.history.run_id, self._run)
        self._progress()
        ship_view(client, experiment_id, priced=bool(summary_of(self.history)["lm/cost_usd"]))
        client.set_terminated(self._run, ending[0], end_time=ending[1])
        self._ended = ending

    def _log_datasets(self, client: MlflowClient, run: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        contexts = {"train": "training", "val": "validation"}
        inputs = [
            DatasetInput(
                Dataset(
                    split, str(facts["digest"])[:36], "local", "{}", profile=json.dumps({"rows": facts.get("size")})
                ),
                [InputTag("mlflow.data.context", contexts.get(split, split))],
            )
            for split, facts in (self.history.started.get("dataset") or {}).items()
            if isinstance(facts, Mapping) and facts.get("digest")
        ]
        if inputs:
            client.log_inputs(run, inputs)

    def _log(
        self,
        client: MlflowClient,
        run: str,
        points: Iterable[Point] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(p.key, p.value, p.at, p.step) for p in points]
        if metrics:
            client.log_batch(run, metrics=metrics)
        for some in _chunks(params or {}, _OTHERS_A_CALL):
            client.log_batch(run, params=[Param(key, value) for key, value in some])
        for some in _chunks(tags or {}, _OTHERS_A_CALL):
            client.log_batch(run, tags=[RunTag(key, value) for key, value in some])

    @property
    def _run(self) -> str:
        return self.mlflow_run or ""

    def _last_moment(self) -> int:
        last: dict[str, Any] = self.history.steps[-1] if self.history.steps else self.history.started
        return int(last["at"] * 1000)


def _find(client: MlflowClient, experiment_id: str, run_id: str) -> str | None:
    """The MLflow run that carries our run's id. A second one, left by an answer that got lost, is deleted."""
    quoted = run_id.replace("'", "''")
    found = client.search_runs([experiment_id], f"tags.`{RUN_ID_TAG}` = '{quoted}'")
    ids = sorted(str(run.info.run_id) for run in found)
    for spare in ids[1:]:
        client.delete_run(spare)
    return ids[0] if ids else None


def _chunks(values: Mapping[str, T], size: int) -> Iterator[list[tuple[str, T]]]:
    waiting = iter(values.items())
    while some := list(islice(waiting, size)):
        yield some
