"""An experiment in MLflow: one run for the whole of it, and below that one for each cell.

Logging the same again changes nothing: runs are found by their keys, and a cell that stands there is left alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from langmem_dspy._version import __version__
from langmem_dspy.tracking.identity import git_commit
from langmem_dspy.tracking.live import user_name
from langmem_dspy.tracking.measures import MAX_PARAM, MAX_TAG, RUN_ID_TAG, clean, metric_key
from langmem_dspy.tracking.stores import TrackingStore, runs_where

EXPERIMENT_TAG, CELL_TAG, PARENT_TAG = "langmem_dspy.experiment", "langmem_dspy.cell", "mlflow.parentRunId"
CELL_FILE = "cell.json"
_A_CALL = 100  # MLflow's limit of params and tags; of metrics it takes ten times as many


class CellLog:
    """Writes the runs of one experiment. Raises what MLflow raises, and `TrackingError` where no store answers."""

    def __init__(self, store: TrackingStore, experiment: str) -> None:
        self.store, self.experiment = store, experiment
        self._known: dict[str, str] = {}  # cell key -> MLflow run, of cells that stand there whole
        self._parent = ""

    def begin(self, key: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """The run of the whole, found by `key` or made. Returns MLflow's id of it."""
        self.store.check()
        self._client = self.store.client()
        self._in = self.store.experiment_id(self._client, self.experiment)
        found = self._client.search_runs([self._in], f"tags.`{EXPERIMENT_TAG}` = '{key}'")
        if found:
            self._parent = str(found[0].info.run_id)
            self._client.update_run(self._parent, status="RUNNING")
            cells = f"tags.`{PARENT_TAG}` = '{self._parent}' and tags.`{CELL_TAG}` != ''"
            below = runs_where(self._client, self._in, cells)
            self._known = {r.data.tags[CELL_TAG]: r.info.run_id for r in below if r.info.status == "FINISHED"}
        else:
            self._parent = self._create(name, {**_source(params.get("source")), **tags, EXPERIMENT_TAG: key})
            self._batch(self._parent, params=params)
        return self._parent

    def cell(
        self,
        key: str,
        name: str,
        *,
        params: Mapping[str, Any],
        metrics: Mapping[str, Any],
        points: Sequence[Mapping[str, float]],
        tags: Mapping[str, str],
        record: Mapping[str, Any],
        files: Path,
        at: float,
        seconds: float,
    ) -> str:
        """The run of one cell. `points`: the first name of each is its x. `record` becomes `cell.json`."""
        if key in self._known:
            return self._known[key]
        began = int((at - seconds) * 1000)
        run = self._create(name, {**_source(None), **tags, CELL_TAG: key, PARENT_TAG: self._parent}, began)
        self._batch(run, params=params)
        self._log(run, [(name, value, 0) for name, value in metrics.items() if _is_number(value)], at)
        self._log(run, list(_curve(points)), at)
        self._client.log_dict(run, dict(record), CELL_FILE)
        if files.exists():
            self._client.log_artifacts(run, str(files), "files")
        self._client.set_terminated(run, "FINISHED", int(at * 1000))
        self._known[key] = run
        return run

    def adopt(self, key: str, run_ids: Iterable[str]) -> None:
        """Put optimizer runs, by our ids, below the cell that made them."""
        for run_id in run_ids:
            for run in self._client.search_runs([self._in], f"tags.`{RUN_ID_TAG}` = '{run_id}'"):
                self._client.set_tag(run.info.run_id, PARENT_TAG, self._known[key])

    def end(self, status: str, metrics: Mapping[str, float], tags: Mapping[str, str], files: Path | None) -> None:
        """`status`: MLflow's "FINISHED", "FAILED" or "KILLED"."""
        if not self._parent:
            return
        now = time.time()
        self._log(self._parent, [(name, value, 0) for name, value in metrics.items()], now)
        self._batch(self._parent, tags=tags)
        if files is not None:
            self._client.log_artifacts(self._parent, str(files))
        self._client.set_terminated(self._parent, status, int(now * 1000))

    def _create(self, name: str, tags: Mapping[str, str], began: int | None = None) -> str:
        plain = {key: clean(str(value), MAX_TAG) for key, value in tags.items() if value}
        run = self._client.create_run(self._in, start_time=began, tags=plain, run_name=clean(name, 250))
        return str(run.info.run_id)

    def _batch(self, run: str, params: Mapping[str, Any] | None = None, tags: Mapping[str, str] | None = None) -> None:
        from mlflow.entities import Param, RunTag

        given = [Param(metric_key(key), clean(str(value), MAX_PARAM)) for key, value in (params or {}).items()]
        said = [RunTag(key, clean(str(value), MAX_TAG)) for key, value in (tags or {}).items() if value]
        for at in range(0, max(len(given), len(said)), _A_CALL):
            self._client.log_batch(run, params=given[at : at + _A_CALL], tags=said[at : at + _A_CALL])

    def _log(self, run: str, values: Sequence[tuple[str, float, int]], at: float) -> None:
        from mlflow.entities import Metric

        for start in range(0, len(values), _A_CALL):
            some = values[start : start + _A_CALL]
            self._client.log_batch(
                run, metrics=[Metric(metric_key(n), float(v), int(at * 1000), s) for n, v, s in some]
            )


def _curve(points: Sequence[Mapping[str, float]]) -> Iterable[tuple[str, float, int]]:
    for number, point in enumerate(points):
        x, *names = point
        yield f"curve/{x}", point[x], number
        yield from ((f"curve/{name}", point[name], round(point[x])) for name in names)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _source(file: Any) -> dict[str, str]:
    commit = git_commit(Path(str(file)).parent) if file else None
    return {
        "langmem_dspy.version": __version__,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": str(file or sys.argv[0] or "interactive"),
        "mlflow.user": user_name(),
        **({"mlflow.source.git.commit": commit} if commit else {}),
    }
