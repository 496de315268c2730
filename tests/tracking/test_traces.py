"""Traces of rollouts belong to the run whose compile made them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dspy
import pytest

from langmem_dspy import Budget, GradientOptimizer, tracking
from langmem_dspy.errors import TrackingError
from langmem_dspy.simulation import offline_lm, worlds


@pytest.fixture(autouse=True)
def dspy_as_it_was(store: str) -> Iterator[None]:
    kept = {name: dspy.settings.get(name) for name in ("callbacks", "track_usage", "lm")}
    yield
    dspy.configure(**kept)


def compiled(num_threads: int = 2) -> str:
    """The id of the run of a short compile."""
    world = worlds.load("support_desk", seed=0, n_train=2, n_val=2)
    with dspy.context(lm=offline_lm("strong")):
        optimizer = GradientOptimizer(metric=world.metric, budget=Budget(lm_calls=24), num_threads=num_threads)
        best = optimizer.compile(world.program(), trainset=world.trainset, valset=world.valset)
    return str(best.detailed_results.run_id)


def traces_of(store: str, run_id: str) -> list[Any]:
    """What MLflow's page of the run shows under Traces."""
    from mlflow import MlflowClient

    run = tracking.read_run(run_id, tracking_uri=store)
    client = MlflowClient(tracking_uri=store)
    return list(client.search_traces(locations=[run.run.info.experiment_id], run_id=run.mlflow_run, max_results=500))


def test_every_rollout_leaves_a_trace_that_is_linked_to_its_own_run(store: str) -> None:
    import mlflow
    from mlflow import MlflowClient

    with tracking.enable(tracking_uri=store, traces=True) as tracked:
        first = compiled()
        assert tracked.flush()
        second = compiled(num_threads=1)
        with dspy.context(lm=offline_lm("strong")):
            dspy.Predict("question -> answer")(question="And now?")
    found = {run: traces_of(store, run) for run in (first, second)}
    for run, traces in found.items():
        rollouts = [trace for trace in traces if trace.data.spans[0].name == "Pipeline.forward"]
        assert len(rollouts) >= 4
        assert {trace.info.tags["langmem_dspy.run_id"] for trace in traces} == {run}
        assert {"triage", "draft", "polish"} <= {span.name for trace in rollouts for span in trace.data.spans}
    assert not {t.info.trace_id for t in found[first]} & {t.info.trace_id for t in found[second]}
    everything = MlflowClient(tracking_uri=store).search_traces(locations=["1"], max_results=500)
    assert len(everything) == sum(map(len, found.values())) + 1  # what ran after the compiles is of neither
    assert not mlflow.is_tracking_uri_set()  # as it was


def test_traces_are_off_unless_asked_for(store: str) -> None:
    with tracking.enable(tracking_uri=store):
        run = compiled()
    assert traces_of(store, run) == []


def test_traces_of_the_users_own_autolog_are_linked_too(store: str, users_mlflow: Any) -> None:
    users_mlflow.set_experiment("langmem-dspy")
    users_mlflow.dspy.autolog(log_traces_from_compile=True, silent=True)
    try:
        with tracking.enable(tracking_uri=store):
            run = compiled()
        assert len(traces_of(store, run)) >= 4
    finally:
        users_mlflow.dspy.autolog(disable=True, silent=True)


def test_a_server_that_is_not_there_is_said_at_once_and_nothing_is_left_on() -> None:
    with pytest.raises(TrackingError, match="cannot be reached"):
        tracking.enable(tracking_uri="http://127.0.0.1:9", traces=True)
    assert not any(type(callback).__module__.startswith("langmem_dspy") for callback in dspy.settings.callbacks)
