"""Runs side by side as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from langmem_dspy.errors import TrackingError
from langmem_dspy.tracking.measures import RUN_ID_TAG
from langmem_dspy.tracking.reading import read_runs
from langmem_dspy.tracking.stores import resolve_experiment, resolve_store, runs_where

if TYPE_CHECKING:
    import os

    import pandas as pd

COLUMNS = (
    "run",
    "optimizer",
    "seed",
    "score_before",
    "score_after",
    "improvement",
    "heldout_before",
    "heldout_after",
    "lm_calls",
    "tokens",
    "cost_usd",
    "prompts_changed",
    "steps",
    "seconds",
    "stop_reason",
    "status",
    "simulated",
    "problem",
    "program",
    "dataset",
    "started",
    "mlflow_run",
)


def compare(
    runs: str | Iterable[str] | None = None,
    *,
    experiment: str | None = None,
    tracking_uri: str | os.PathLike[str] | None = None,
) -> pd.DataFrame:
    """One row per run, the latest first; scores are means in [0, 1], before and after.

    `runs`: our run ids or MLflow's, or how they begin, in whatever experiment they are; all runs of the experiment if
    None. `experiment` and `tracking_uri` as for `enable`. Raises `TrackingError` for an experiment or a run that is not
    there.
    """
    import pandas as pd

    if runs is not None and experiment is None:
        wanted = [runs] if isinstance(runs, str) else list(runs)
        read = read_runs(wanted, tracking_uri=tracking_uri)
        return pd.DataFrame([_row(run.run) for run in read], columns=list(COLUMNS))
    store, name = resolve_store(tracking_uri), resolve_experiment(experiment)
    store.check_made()
    client = store.client()
    found = client.get_experiment_by_name(name)
    if found is None:
        raise TrackingError(f"there is no experiment {name!r} at {store.uri}; tracking.enable() makes one")
    rows = [_row(run) for run in runs_where(client, found.experiment_id, f"tags.`{RUN_ID_TAG}` != ''")]
    if runs is not None:
        rows = _chosen(rows, [runs] if isinstance(runs, str) else list(runs))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _chosen(rows: Sequence[dict[str, Any]], wanted: Sequence[str]) -> list[dict[str, Any]]:
    by_id = {row[key]: row for row in rows for key in ("mlflow_run", "run")}
    missing = [run for run in wanted if run not in by_id]
    if missing:
        raise TrackingError(f"no such runs here: {', '.join(missing)}; compare() without runs lists what there is")
    return [by_id[run] for run in wanted]


def _row(run: Any) -> dict[str, Any]:
    import pandas as pd

    params, tags, metrics = run.data.params, run.data.tags, run.data.metrics
    seed = params.get("seed")
    return {
        "run": tags.get(RUN_ID_TAG),
        "optimizer": params.get("optimizer"),
        "seed": int(seed) if seed and seed.lstrip("-").isdigit() else seed,
        "score_before": metrics.get("run/score_before"),
        "score_after": metrics.get("run/score_after", metrics.get("eval/best_score")),
        "improvement": metrics.get("run/improvement"),
        "heldout_before": metrics.get("heldout/score_before"),
        "heldout_after": metrics.get("heldout/score_after"),
        "lm_calls": metrics.get("lm/calls"),
        "tokens": metrics.get("lm/tokens"),
        "cost_usd": metrics.get("lm/cost_usd"),
        "prompts_changed": metrics.get("run/prompts_changed"),
        "steps": metrics.get("run/steps"),
        "seconds": metrics.get("run/seconds"),
        "stop_reason": tags.get("stop_reason"),
        "status": run.info.status,
        "simulated": tags.get("simulated") == "yes",
        "problem": tags.get("problem"),
        "program": tags.get("program"),
        "dataset": params.get("data.val.digest") or params.get("data.train.digest"),
        "started": pd.Timestamp(run.info.start_time, unit="ms", tz="UTC"),
        "mlflow_run": run.info.run_id,
    }
