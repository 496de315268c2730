"""How MLflow's runs page looks: its table shows no metrics by itself, and its charts are not those one asks for.

MLflow (>= 3.15) keeps views as tags of the experiment, in a form that it does not document (read from its web page's
code, 3.17). So all of this is best effort: a page that does not understand a view shows its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from langmem_dspy.tracking.measures import RUN_ID_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

KEY = "langmem-dspy"
NAME = "Optimizers compared"
VIEW_TAG = f"mlflow.sharedViewState.{KEY}"
WRITTEN_TAG = "langmem_dspy.saved_view"  # a digest of what we wrote: a view that differs from it is the user's
_PRICED = " with cost"

COLOR_TAG = "mlflow.runColor"
# Told apart by most eyes, on white (after P. Tol, SRON/EPS/TN/09-002). MLflow's own choice gives one to many runs.
_COLORS = (
    "#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377",
    "#EE7733", "#332288", "#999933", "#009988", "#882255", "#777777",
)  # fmt: skip

# In the order of the table, with their widths in pixels.
_COLUMNS = {
    "params.`optimizer`": 170,
    "params.`seed`": 60,
    "metrics.`run/score_before`": 140,
    "metrics.`run/score_after`": 130,
    "metrics.`heldout/score_before`": 165,
    "metrics.`heldout/score_after`": 155,
    "metrics.`lm/calls`": 80,
    "metrics.`lm/tokens`": 90,
    "metrics.`lm/cost_usd`": 100,
    "metrics.`run/prompts_changed`": 170,
    "tags.`stop_reason`": 150,
    "attributes.`Dataset`": 300,
}
_VALIDATION = "Validation, by cost and by step"
_TRAIN, _HELD_OUT = "Train, step by step", "Held-out examples"
# MLflow makes a section of each prefix and fills it with a chart per metric; open are those that answer a question.
_SECTIONS = {_VALIDATION: True, _TRAIN: True, _HELD_OUT: True, "predictor_credit": True}
_CLOSED = ("eval", "heldout", "lm", "run", "step")


def view_query(tags: Mapping[str, str]) -> str:
    """What opens the view, where an experiment with these tags has it, in the query of the runs page's address."""
    shared = {"viewStateShareKey": KEY} if VIEW_TAG in tags else {}
    # Search terms in the address would make MLflow ignore the view.
    return urlencode({"workflowType": "machine_learning", "compareRunsMode": "CHART", **shared})


def free_color(client: MlflowClient, experiment_id: str) -> str:
    """A colour that none of the experiment's latest runs has, or the one that was given longest ago."""
    latest = client.search_runs([experiment_id], max_results=len(_COLORS))
    taken = [run.data.tags.get(COLOR_TAG) for run in latest]
    return max(_COLORS, key=lambda color: taken.index(color) if color in taken else len(_COLORS))


def ship_view(client: MlflowClient, experiment_id: str, *, priced: bool) -> bool:
    """Put the view among the experiment's saved views, and bring an older one of ours up to date; whether it did.

    A view that someone has changed or deleted is left so. `priced`: whether the cost of a run is known. Never raises
    what MLflow raises: a view is not worth a run.
    """
    from mlflow.exceptions import MlflowException

    try:
        experiment = client.get_experiment(experiment_id)
        tags = dict(experiment.tags)
        if not _is_ours(tags):
            return False
        priced = priced or _PRICED in tags.get(WRITTEN_TAG, "")
        view = saved_view(int(experiment.creation_time or 0), priced=priced)
        if tags.get(VIEW_TAG) == view:
            return False
        client.set_experiment_tag(experiment_id, VIEW_TAG, view)
        client.set_experiment_tag(experiment_id, WRITTEN_TAG, f"{_digest(view)}{_PRICED if priced else ''}")
    except MlflowException as error:
        logger.info("tracking: the experiment gets no saved view: %s", error)
        return False
    return True


def saved_view(created_at: int, *, priced: bool) -> str:
    """The view as the value of its tag. `created_at` in milliseconds of Unix time."""
    said = json.dumps(view_state(priced=priced), separators=(",", ":")).encode()
    packed = f"deflate;{base64.b64encode(zlib.compress(said, 9)).decode()}"  # a tag holds 5,000 characters
    return json.dumps({"name": NAME, "createdAt": created_at, "state": packed}, separators=(",", ":"))


def view_state(*, priced: bool) -> dict[str, Any]:
    """What MLflow's page reads: how runs are searched and ordered, the table's columns, the charts."""
    sections = {**_SECTIONS, **dict.fromkeys(_CLOSED, False)}
    return {
        "searchFilter": f"tags.`{RUN_ID_TAG}` != ''",  # optimizers alone: evaluations have a page of their own
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": list(_COLUMNS),
        "columnOrder": list(_COLUMNS),
        "columnWidths": _COLUMNS,
        "runsHiddenMode": "FIRST_20_RUNS",
        "isAccordionReordered": True,  # else sections are put in the order of their names
        "hideEmptyCharts": True,
        "compareRunSections": [
            {"uuid": _id(name), "name": name, "display": shown, "isReordered": name in _SECTIONS}
            for name, shown in sections.items()
        ],
        "compareRunCharts": list(_charts(priced)),
    }


def _charts(priced: bool) -> Iterator[dict[str, Any]]:
    # MLflow titles a chart with its metrics and labels its axis; it shows no title of ours.
    best = "eval/best_score"
    yield _line(_VALIDATION, [best], over="lm/calls")
    yield _line(_VALIDATION, [best], over="lm/tokens")
    if priced:
        yield _line(_VALIDATION, [best], over="lm/cost_usd")
    yield _line(_VALIDATION, [best])
    yield _line(_VALIDATION, ["eval/candidate_score"], points=True)
    yield _line(_TRAIN, ["eval/train_before", "eval/train_after"], points=True)
    yield _card("BAR", _HELD_OUT, ["heldout/score_before", "heldout/score_after"])


def _line(section: str, metrics: Sequence[str], *, over: str = "", points: bool = False) -> dict[str, Any]:
    """`over`: the metric along the x axis; the step if empty."""
    return {
        **_card("LINE", section, metrics, over),
        "xAxisKey": "metric" if over else "step",
        "selectedXAxisMetricKey": over,
        "useGlobalXaxisKey": False,
        "useGlobalLineSmoothing": False,
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "range": {},
        "ignoreOutliers": False,
        **({"displayPoints": True} if points else {}),
    }


def _card(kind: str, section: str, metrics: Sequence[str], over: str = "") -> dict[str, Any]:
    return {
        "uuid": _id(section, *metrics, over),
        "type": kind,
        "metricSectionId": _id(section),
        "metricKey": metrics[0],
        "selectedMetricKeys": list(metrics),
        "runsCountToCompare": 20,
        "deleted": False,
        "isGenerated": False,
    }


def _id(*words: str) -> str:
    return f"{KEY}-{_digest(' '.join(words))}"


def _is_ours(tags: Mapping[str, str]) -> bool:
    """Whether the view may be written: there never was one, or it is as we left it."""
    if WRITTEN_TAG not in tags:
        return VIEW_TAG not in tags
    return _digest(tags.get(VIEW_TAG, "")) == tags[WRITTEN_TAG].split()[0]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
