"""The view that MLflow's runs page opens with."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from made_runs import events, results

from langmem_dspy import tracking
from langmem_dspy.events import CompileFinished, Event, StepFinished
from langmem_dspy.tracking.saved_view import (
    COLOR_TAG,
    VIEW_TAG,
    free_color,
    saved_view,
    ship_view,
    view_query,
    view_state,
)


@pytest.fixture
def client(store: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=store)


def unpriced(run_id: str) -> list[Event]:
    """A run whose model has no known price."""
    usage = results(run_id).usage
    free = replace(usage, task=replace(usage.task, cost=0.0), reflection=replace(usage.reflection, cost=0.0))
    found = replace(results(run_id), usage=free)
    told = [replace(e, cost=0.0) if isinstance(e, StepFinished) else e for e in events(run_id)]
    return [*told[:-1], CompileFinished(run_id, found.stop_reason, found.to_dict())]


def written(client: Any) -> dict[str, Any]:
    tag = json.loads(client.get_experiment_by_name("langmem-dspy").tags[VIEW_TAG])
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(tag["state"].removeprefix("deflate;"))))
    return state


def axes(state: dict[str, Any]) -> set[tuple[str, str]]:
    return {(c["metricKey"], c["selectedXAxisMetricKey"]) for c in state["compareRunCharts"] if c["type"] == "LINE"}


def test_a_finished_run_leaves_a_view_of_scores_by_step_calls_and_cost(
    client: Any, announce: Callable[..., None]
) -> None:
    with tracking.enable():
        announce(*events("r1"))
    state = written(client)
    wanted = {("eval/best_score", over) for over in ("", "lm/calls", "lm/tokens", "lm/cost_usd")}
    assert wanted | {("eval/train_before", "")} <= axes(state)
    assert {"metrics.`run/score_after`", "params.`seed`", "tags.`stop_reason`"} <= set(state["selectedColumns"])
    run = client.search_runs([client.get_experiment_by_name("langmem-dspy").experiment_id])[0]
    logged = {f"metrics.`{name}`" for name in run.data.metrics} | {"metrics.`heldout/score_before`"}
    shown = {column for column in state["selectedColumns"] if column.startswith("metrics")}
    assert shown - logged == {"metrics.`heldout/score_after`"}
    assert {chart["metricKey"] for chart in state["compareRunCharts"]} - set(run.data.metrics) == {
        "heldout/score_before"
    }


def test_cost_is_shown_once_a_run_has_one(client: Any, announce: Callable[..., None]) -> None:
    with tracking.enable() as tracked:
        announce(*unpriced("r1"))
        assert tracked.flush()
        assert ("eval/best_score", "lm/cost_usd") not in axes(written(client))
        announce(*events("r2"))
        assert tracked.flush()
        assert ("eval/best_score", "lm/cost_usd") in axes(written(client))
        announce(*unpriced("r3"))
    assert ("eval/best_score", "lm/cost_usd") in axes(written(client))


def test_a_view_that_someone_changed_or_deleted_is_left_so(client: Any) -> None:
    experiment = client.create_experiment("mine")
    assert ship_view(client, experiment, priced=False)
    assert not ship_view(client, experiment, priced=False)  # it is there
    theirs = saved_view(1, priced=True).replace("Optimizers compared", "Mine")
    client.set_experiment_tag(experiment, VIEW_TAG, theirs)
    assert not ship_view(client, experiment, priced=True)
    assert client.get_experiment(experiment).tags[VIEW_TAG] == theirs
    client.delete_experiment_tag(experiment, VIEW_TAG)
    assert not ship_view(client, experiment, priced=True)
    assert VIEW_TAG not in client.get_experiment(experiment).tags


def test_a_store_that_refuses_the_view_costs_no_run(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert not ship_view(client, "12345", priced=False)  # there is no such experiment
    assert "no saved view" in caplog.text


def test_the_view_fits_into_a_tag_and_each_chart_stands_in_a_section() -> None:
    from mlflow.utils.validation import MAX_EXPERIMENT_TAG_VAL_LENGTH

    assert len(saved_view(1_700_000_000_000, priced=True)) < MAX_EXPERIMENT_TAG_VAL_LENGTH
    state = view_state(priced=True)
    sections = [section["uuid"] for section in state["compareRunSections"]]
    charts = [chart["uuid"] for chart in state["compareRunCharts"]]
    assert len(set(sections)) == len(sections) and len(set(charts)) == len(charts)
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} <= set(sections)


def test_the_address_names_the_view_only_where_there_is_one() -> None:
    assert "viewStateShareKey=langmem-dspy" in view_query({VIEW_TAG: "{}"})
    assert "viewStateShareKey" not in view_query({})


def test_runs_of_an_experiment_have_colours_of_their_own(client: Any) -> None:
    experiment = client.create_experiment("colours")
    given = []
    for _ in range(13):
        given.append(free_color(client, experiment))
        client.create_run(experiment, tags={COLOR_TAG: given[-1]}, start_time=len(given))
    assert len(set(given[:12])) == 12
    assert given[12] == given[0]


def test_the_curve_over_calls_and_cost_begins_with_the_student(client: Any, announce: Callable[..., None]) -> None:
    with tracking.enable():
        announce(*events("r1"))
    run = client.search_runs([client.get_experiment_by_name("langmem-dspy").experiment_id])[0].info.run_id

    def curve(key: str) -> list[tuple[int, float]]:
        return [(point.step, round(point.value, 3)) for point in client.get_metric_history(run, key)]

    assert curve("eval/best_score_by_lm_calls") == [(0, 0.5), (30, 0.667), (60, 0.667), (90, 0.833)]
    assert curve("lm/cost_usd")[:2] == [(0, 0.0), (1, 0.01)]
    assert curve("lm/calls")[:2] == [(0, 0.0), (1, 30.0)]
