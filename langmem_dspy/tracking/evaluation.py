"""Programs side by side in MLflow's evaluation page: one run each, what every example got and why."""

from __future__ import annotations

import contextvars
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dspy

from langmem_dspy.errors import InputError
from langmem_dspy.optimizers.metrics import read_judgement
from langmem_dspy.optimizers.prompts import task_models
from langmem_dspy.optimizers.rollouts import by_id
from langmem_dspy.optimizers.run import are_simulated
from langmem_dspy.tracking.stores import resolve_experiment, resolve_store

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Evaluated:
    """`scores`: a row per example with each program's score, what was lost most first; `runs`: MLflow's run ids."""

    scores: pd.DataFrame
    runs: Mapping[str, str]
    experiment_id: str
    tracking_uri: str

    @property
    def page(self) -> str:
        """Where the page is, below the address of `mlflow ui`: the last program, compared with the first."""
        runs = list(self.runs.values())
        first, last = runs[0], runs[-1]
        compared = f"&compareToRunUuid={first}" if first != last else ""
        return f"#/experiments/{self.experiment_id}/evaluation-runs?selectedRunUuid={last}{compared}"

    def __repr__(self) -> str:
        means = ", ".join(f"{name} {self.scores[name].mean():.3f}" for name in self.runs)
        return f"Evaluated({means}; {len(self.scores)} examples; see {self.page})"

    def _repr_html_(self) -> str:
        return f"<p>{self!r}</p>{self.scores.to_html()}"


def evaluate(
    programs: Mapping[str, dspy.Module],
    examples: Sequence[dspy.Example],
    *,
    metric: Callable[..., Any],
    experiment: str | None = None,
    tracking_uri: str | os.PathLike[str] | None = None,
) -> Evaluated:
    """Run each of `programs` (by name: {"untuned": student, "best": compiled}) on `examples`, scored by `metric`.

    Each becomes a run of `mlflow.genai.evaluate`: inputs, outputs, score, feedback and trace per example. Two names are
    compared example by example on the page that the result names. Raises `InputError` where there is nothing to run.
    """
    if not programs or not examples:
        raise InputError(f"evaluate needs programs and examples, got {len(programs)} and {len(examples)}")
    # MLflow's judges load LiteLLM, which would go and fetch its prices.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import mlflow

    store = resolve_store(tracking_uri)
    store.check()
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(store.uri)
    try:
        experiment_id = store.experiment_id(store.client(), resolve_experiment(experiment))
        golds = by_id(examples)
        judged = {name: _evaluated(name, program, golds, metric, experiment_id) for name, program in programs.items()}
    finally:
        mlflow.set_tracking_uri(before)
    scores = _frame(list(golds), {name: scores for name, (_, scores) in judged.items()})
    return Evaluated(scores, {name: run for name, (run, _) in judged.items()}, experiment_id, store.uri)


def _evaluated(
    title: str,
    program: dspy.Module,
    golds: Mapping[str, dspy.Example],
    metric: Callable[..., Any],
    experiment_id: str,
) -> tuple[str, list[float]]:
    """The run, and the score of each example."""
    import mlflow
    from mlflow.entities import Feedback
    from mlflow.genai.scorers import scorer

    scores: dict[str, float] = {}
    around = contextvars.copy_context()  # MLflow's threads know nothing of `dspy.context`

    @scorer(name="score")
    def score(outputs: Any, expectations: dict[str, Any]) -> Feedback:
        example = golds[expectations["example"]]
        judgement = read_judgement(around.copy().run(metric, example, dspy.Prediction(**outputs)))
        scores[expectations["example"]] = judgement.score
        said = [judgement.feedback, *(f"{name}: {text}" for name, text in judgement.predictor_feedback.items())]
        return Feedback(value=judgement.score, rationale="\n".join(filter(None, said)) or None)

    def predict(**inputs: Any) -> dict[str, Any]:
        with mlflow.start_span(name=title) as span:
            span.set_inputs(inputs)
            outputs: dict[str, Any] = around.copy().run(lambda: program(**inputs)).toDict()
            span.set_outputs(outputs)
        return outputs

    data = [
        {"inputs": gold.inputs().toDict(), "expectations": {**gold.labels().toDict(), "example": example}}
        for example, gold in golds.items()
    ]
    models = {"task": task_models(program)}
    tags = {"models": models["task"], "simulated": "yes" if are_simulated(models) else "no"}
    with mlflow.start_run(experiment_id=experiment_id, run_name=title, tags=tags) as run:
        mlflow.genai.evaluate(data=data, scorers=[score], predict_fn=predict)
    # A program that raised on an example has no output to judge.
    return run.info.run_id, [scores.get(example, 0.0) for example in golds]


def _frame(ids: Sequence[str], scores: Mapping[str, list[float]]) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame({"example": ids, **scores})
    names = list(scores)
    frame["change"] = frame[names[-1]] - frame[names[0]]
    return frame.sort_values("change", kind="stable").reset_index(drop=True)
