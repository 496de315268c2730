"""A logged run read back from MLflow: by its id there or ours, whatever experiment it is in."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langmem_dspy.errors import TrackingError
from langmem_dspy.tracking.artifacts import REPORT
from langmem_dspy.tracking.cells import CELL_FILE, CELL_TAG, EXPERIMENT_TAG, PARENT_TAG
from langmem_dspy.tracking.history import RunHistory
from langmem_dspy.tracking.measures import RUN_ID_TAG
from langmem_dspy.tracking.spool import EVENTS
from langmem_dspy.tracking.stores import TrackingStore, pages, resolve_store, runs_where

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from langmem_dspy.optimizers.results import DetailedResults

LATEST = "latest"


class LoggedRun:
    """One run in MLflow: of an optimizer, of an experiment's cell, or of a whole experiment. Read when asked."""

    def __init__(self, store: TrackingStore, client: MlflowClient, run: Run) -> None:
        self.store, self._client, self.run = store, client, run

    @property
    def mlflow_run(self) -> str:
        return str(self.run.info.run_id)

    @property
    def name(self) -> str:
        return str(self.run.info.run_name)

    @property
    def status(self) -> str:
        return str(self.run.info.status)

    @property
    def params(self) -> Mapping[str, str]:
        return dict(self.run.data.params)

    @property
    def metrics(self) -> Mapping[str, float]:
        return dict(self.run.data.metrics)

    @property
    def tags(self) -> Mapping[str, str]:
        return dict(self.run.data.tags)

    @property
    def kind(self) -> str:
        """ "optimizer", "cell" or "experiment"; "other" for a run that is none of ours."""
        of = {RUN_ID_TAG: "optimizer", CELL_TAG: "cell", EXPERIMENT_TAG: "experiment"}
        return next((kind for tag, kind in of.items() if tag in self.tags), "other")

    @cached_property
    def history(self) -> RunHistory:
        """What happened in an optimizer's run. Raises `TrackingError` for a run that left no events (yet)."""
        history = RunHistory()
        for line in self.read_text(EVENTS).splitlines():
            history.add(json.loads(line))
        return history

    @property
    def results(self) -> DetailedResults:
        """The detailed results of an optimizer's run. Raises `TrackingError` where it left none."""
        results = self.history.detailed
        if results is None:
            raise TrackingError(f"run {self.mlflow_run} ended without results: {self.history.finished.get('error')}")
        return results

    def steps(self) -> pd.DataFrame:
        """One row per step: what it scored on train and validation apart, what was spent so far, who was blamed."""
        import pandas as pd

        columns = ("step", "lm_calls", "tokens", "cost", "train_before", "train_after", "candidate_score")
        best = dict(self.history.best_curve)
        rows, reached = [], best.get(0)
        for step in self.history.steps:
            reached = best.get(int(step["step"]), reached)
            credit = ", ".join(f"{name} {share:.2f}" for name, share in (step.get("credit") or {}).items() if share)
            told = {name: step.get(name) for name in columns}
            rows.append(
                {**told, "best": reached, "blamed": credit, "accepted": step["accepted"], "why": step["reason"]}
            )
        return pd.DataFrame(rows, columns=[*columns, "best", "blamed", "accepted", "why"])

    def examples(self) -> pd.DataFrame:
        """One row per example, what was lost most first: its score before and after, and how it changed."""
        import pandas as pd

        rows = [
            {"split": split, "example": row.example, "before": row.baseline, "after": row.best, "change": row.change}
            for split, rows in self.history.examples.items()
            for row in rows
        ]
        return pd.DataFrame(rows, columns=["split", "example", "before", "after", "change"])

    def lines(self) -> pd.DataFrame:
        """One row per line of the best prompts: the step that brought it in (0: the student's own), and why."""
        import pandas as pd

        rows = [
            {
                "predictor": name,
                "line": origin.line,
                "step": origin.step,
                "gain": origin.lesson.gain if origin.lesson else None,
                "evidence": ", ".join(origin.lesson.evidence) if origin.lesson else "",
            }
            for name in self.results.best.prompts
            for origin in self.results.why(name)
        ]
        return pd.DataFrame(rows, columns=["predictor", "line", "step", "gain", "evidence"])

    def cells(self) -> list[dict[str, Any]]:
        """What `cell.json` holds: of this run if it is a cell, of all cells below it if it is an experiment."""
        if self.kind == "cell":
            return [json.loads(self.read_text(CELL_FILE))]
        return [json.loads(below.read_text(CELL_FILE)) for below in self.below() if below.kind == "cell"]

    def below(self) -> list[LoggedRun]:
        """The runs nested directly in this one, the oldest first."""
        condition = f"tags.`{PARENT_TAG}` = '{self.mlflow_run}'"
        found = runs_where(self._client, self.run.info.experiment_id, condition)
        return [LoggedRun(self.store, self._client, run) for run in reversed(found)]

    def report(self, to: Path) -> Path:
        """Write report.html to the path `to`."""
        to.write_text(self.read_text(REPORT), encoding="utf-8")
        return to

    def read_text(self, artifact: str) -> str:
        """An artifact as text. Raises `TrackingError` if the run has none of this name."""
        with self._downloaded(artifact) as path:
            return path.read_text(encoding="utf-8")

    @contextmanager
    def _downloaded(self, artifact: str) -> Iterator[Path]:
        from mlflow.exceptions import MlflowException

        with tempfile.TemporaryDirectory(prefix="langmem-dspy-") as folder, _without_bars():
            try:
                path = Path(self._client.download_artifacts(self.mlflow_run, artifact, folder))
            except (MlflowException, OSError) as error:
                what = f"run {self.mlflow_run} ({self.name}, {self.status}) has no {artifact}"
                raise TrackingError(f"{what}; a run under way leaves its files at its end") from error
            yield path


@contextmanager
def _without_bars() -> Iterator[None]:
    """MLflow draws a progress bar for each file, however small."""
    name = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"
    given = os.environ.get(name)
    os.environ.setdefault(name, "false")
    try:
        yield
    finally:
        if given is None:
            os.environ.pop(name, None)


def read_run(run: str = LATEST, *, tracking_uri: str | os.PathLike[str] | None = None) -> LoggedRun:
    """The run of this id, MLflow's or ours, or of its first characters; "latest": the optimizer run begun last.

    `tracking_uri` as for `enable`. Raises `TrackingError` if there is none, or if several begin so.
    """
    return next(iter(read_runs([run], tracking_uri=tracking_uri)))


def read_runs(runs: list[str], *, tracking_uri: str | os.PathLike[str] | None = None) -> list[LoggedRun]:
    """Several runs at once, in the order given."""
    store = resolve_store(tracking_uri)
    store.check_made()
    client = store.client()
    found = pages(lambda token: client.search_experiments(page_token=token))
    everywhere = [experiment.experiment_id for page in found for experiment in page]
    return [LoggedRun(store, client, _find(client, store, everywhere, run.strip())) for run in runs]


def _find(client: MlflowClient, store: TrackingStore, experiments: list[str], wanted: str) -> Run:
    if wanted == LATEST:
        ours = client.search_runs(experiments, f"tags.`{RUN_ID_TAG}` != ''", max_results=1)
        if not ours:
            raise TrackingError(f"there is no run of an optimizer at {store.uri} yet")
        return ours[0]
    safe = wanted.replace("'", "").replace("%", "")
    found: dict[str, Run] = {}
    for condition in (f"attributes.run_id LIKE '{safe}%'", f"tags.`{RUN_ID_TAG}` LIKE '{safe}%'"):
        if safe:
            found.update({run.info.run_id: run for run in client.search_runs(experiments, condition, max_results=3)})
    exact = [run for run in found.values() if wanted in (run.info.run_id, run.data.tags.get(RUN_ID_TAG))]
    if len(found) == 1 or exact:
        return exact[0] if exact else next(iter(found.values()))
    if found:
        raise TrackingError(f"several runs begin with {wanted!r}: {', '.join(sorted(found))}; give more of the id")
    raise TrackingError(f"no run {wanted!r} at {store.uri}; `langmem-dspy compare` lists those of an experiment")
