"""`mlflow.dspy.autolog()` makes traces, tracking makes runs; each does its own, and neither breaks the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dspy
import pytest
from dspy.utils.dummies import DummyLM

from langmem_dspy import tracking
from langmem_dspy.optimizers import GradientOptimizer
from langmem_dspy.simulation import offline_lm, worlds


class Answer(dspy.Module):
    def __init__(self) -> None:
        self.first = dspy.Predict("question -> note")
        self.second = dspy.ChainOfThought("note -> answer")

    def forward(self, question: str) -> Any:
        return self.second(note=self.first(question=question).note)


@pytest.fixture
def autolog(users_mlflow: Any) -> Iterator[Any]:
    kept = {name: dspy.settings.get(name) for name in ("callbacks", "track_usage")}
    users_mlflow.set_experiment("traces")
    yield users_mlflow.dspy.autolog
    users_mlflow.dspy.autolog(disable=True)
    dspy.configure(**kept)


def traces() -> list[Any]:
    import mlflow

    mlflow.flush_trace_async_logging()
    found: list[Any] = mlflow.search_traces(return_type="list")
    return found


@pytest.mark.parametrize("order", ["autolog first", "tracking first"])
def test_predictors_carry_their_names_in_traces(autolog: Any, order: str) -> None:
    lm = DummyLM([{"note": "n"}, {"reasoning": "r", "answer": "a"}])
    if order == "autolog first":
        autolog()
    with tracking.enable():
        if order == "tracking first":
            autolog()
        with dspy.context(lm=lm):
            Answer()(question="q")

        found = traces()

    (trace,) = found
    names = [span.name for span in trace.data.spans]
    assert "first" in names and "second.predict" in names
    assert "Predict.forward" not in names
    assert names[0] == "Answer.forward"


def test_a_real_compile_is_tracked_while_autolog_is_on(store: str, autolog: Any) -> None:
    autolog(log_compiles=False)
    desk = worlds.load("support_desk", seed=0)
    optimizer = GradientOptimizer(metric=desk.metric, max_steps=2, minibatch_size=4, callbacks=[lambda event: None])
    before = dict(vars(optimizer))
    with tracking.enable(), dspy.context(lm=offline_lm()):
        compiled = optimizer.compile(desk.program(), trainset=desk.trainset[:8], valset=desk.valset[:6])

    assert vars(optimizer) == before
    table = tracking.compare()
    assert list(table["run"]) == [compiled.detailed_results.run_id]
    assert table["score_after"][0] == pytest.approx(compiled.detailed_results.best.score)
    assert bool(table["simulated"][0])
    program = desk.program()
    program.load(_artifact(store, table["mlflow_run"][0], "program/best.json"))
    assert [p.signature.instructions for p in program.predictors()] == [
        p.signature.instructions for p in compiled.predictors()
    ]


def test_autologs_own_run_and_ours_do_not_mix(store: str, autolog: Any) -> None:
    autolog(log_compiles=True)
    desk = worlds.load("support_desk", seed=0)
    optimizer = GradientOptimizer(metric=desk.metric, max_steps=1, minibatch_size=4, callbacks=[lambda event: None])
    before = dict(vars(optimizer))
    with tracking.enable(), dspy.context(lm=offline_lm()):
        optimizer.compile(desk.program(), trainset=desk.trainset[:8], valset=desk.valset[:6])

    assert vars(optimizer) == before
    assert len(tracking.compare()) == 1
    assert "mlflow.parentRunId" not in _tags(store, tracking.compare()["mlflow_run"][0])


def _artifact(store: str, run: str, path: str) -> str:
    from mlflow import MlflowClient

    return str(MlflowClient(tracking_uri=store).download_artifacts(run, path))


def _tags(store: str, run: str) -> dict[str, str]:
    from mlflow import MlflowClient

    return dict(MlflowClient(tracking_uri=store).get_run(run).data.tags)
