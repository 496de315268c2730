"""Programs side by side on MLflow's evaluation page."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

from langmem_dspy import simulation, tracking
from langmem_dspy.errors import InputError
from langmem_dspy.simulation import worlds


@pytest.mark.filterwarnings("ignore")
def test_the_untuned_and_the_best_program_are_compared_example_by_example(store: str) -> None:
    from mlflow import MlflowClient

    world = worlds.load("expense_office", seed=3)
    programs = {"untuned": world.program(), "best": world.with_prompts(world.perfect_prompts())}
    with dspy.context(lm=simulation.offline_lm("strong")):
        result = tracking.evaluate(programs, world.testset[:4], metric=world.metric, tracking_uri=store)
    assert list(result.scores.columns) == ["example", "untuned", "best", "change"]
    assert result.scores["best"].mean() > result.scores["untuned"].mean()
    assert result.scores["change"].is_monotonic_increasing
    client = MlflowClient(tracking_uri=store)
    runs = {name: client.get_run(run) for name, run in result.runs.items()}
    assert {run.info.run_name for run in runs.values()} == {"untuned", "best"}
    assert runs["best"].data.metrics["score/mean"] == result.scores["best"].mean()
    assert runs["best"].data.tags["simulated"] == "yes"
    traces = client.search_traces(locations=[result.experiment_id], run_id=result.runs["untuned"])
    assert len(traces) == 4
    said: list[Any] = [a for trace in traces for a in trace.search_assessments() if a.name == "score"]
    assert any(assessment.rationale for assessment in said)
    assert result.runs["best"] in result.page and result.runs["untuned"] in result.page


def test_without_examples_there_is_nothing_to_evaluate(store: str) -> None:
    with pytest.raises(InputError, match="programs and examples"):
        tracking.evaluate({"untuned": dspy.Predict("a -> b")}, [], metric=lambda gold, pred: 1)
