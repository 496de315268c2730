"""From MLflow's side: our optimizers for `mlflow.genai.optimize_prompts`, and MLflow's scorers as metrics for ours.

    from langmem_dspy.tracking.genai import LangMemPromptOptimizer

    mlflow.genai.optimize_prompts(
        predict_fn=predict, train_data=data, prompt_uris=[prompt.uri], scorers=[Correctness()],
        optimizer=LangMemPromptOptimizer("openai/gpt-4.1"),
    )

Unlike the rest of this folder it imports MLflow at once: who imports it works with MLflow already.
"""

from __future__ import annotations

import json
import keyword
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import dspy
import mlflow
from mlflow.genai.optimize.optimizers import BasePromptOptimizer
from mlflow.genai.optimize.types import EvaluationResultRecord, PromptOptimizerOutput
from mlflow.genai.optimize.util import create_metric_from_scorers
from mlflow.genai.scorers import Scorer

from langmem_dspy.errors import InputError
from langmem_dspy.optimizers.kinds import Kind, MultiPromptOptimizer
from langmem_dspy.optimizers.results import DetailedResults
from langmem_dspy.usage import Budget

EvalFunction = Callable[[dict[str, str], list[dict[str, Any]]], list[EvaluationResultRecord]]


class LangMemPromptOptimizer(BasePromptOptimizer):
    """The `MultiPromptOptimizer` behind MLflow's interface; `options` are that optimizer's.

    `reflection_model`: a model string as DSPy has it ("openai/gpt-4.1"), or a `dspy.LM`. The application's own calls
    go through MLflow's `predict_fn` and are not counted: bound them by `Budget(metric_calls=...)`. MLflow's
    `{{variables}}` are kept. `last_results` holds the lessons, scores and costs of the last run.
    """

    def __init__(
        self,
        reflection_model: str | dspy.BaseLM | None = None,
        *,
        kind: Kind = "gradient",
        budget: Budget | None = None,
        **options: Any,
    ) -> None:
        self.optimizer = MultiPromptOptimizer(
            kind, metric=_score_of, reflection_lm=reflection_model, budget=budget, **options
        )
        self.last_results: DetailedResults | None = None

    def optimize(
        self,
        eval_fn: EvalFunction | None,
        train_data: list[dict[str, Any]],
        target_prompts: dict[str, str],
        enable_tracking: bool = True,
    ) -> PromptOptimizerOutput:
        """Raises `InputError` without data or scorers: an improvement that nobody measures is not claimed."""
        if eval_fn is None or not train_data:
            raise InputError("there is no train_data; give mlflow.genai.optimize_prompts train_data= and scorers=")
        desk = EvaluationDesk(eval_fn)
        application = _Application(desk, target_prompts, train_data[0]["inputs"])
        examples = [dspy.Example(record=record).with_inputs("record") for record in train_data]
        compiled = self.optimizer.compile(application, trainset=examples, valset=examples)
        results: DetailedResults = compiled.detailed_results
        self.last_results = results
        if enable_tracking:
            mlflow.log_text(results.diff(), "prompts.diff")
            mlflow.log_text(json.dumps(results.to_dict(), default=str), "detailed_results.json")
        return PromptOptimizerOutput(
            optimized_prompts={name: results.best.prompts[part] for name, part in application.parts.items()},
            initial_eval_score=results.baseline.score,
            final_eval_score=results.best.score,
            initial_eval_score_per_scorer=desk.scores_by_scorer(application.texts(results.baseline.prompts)),
            final_eval_score_per_scorer=desk.scores_by_scorer(application.texts(results.best.prompts)),
        )


def metric_from_scorers(
    *scorers: Scorer, aggregation: Callable[[dict[str, Any]], float] | None = None
) -> Callable[..., dspy.Prediction]:
    """MLflow scorers as one metric for our optimizers: the mean of their values (yes and no are 1 and 0).

    A scorer gets the example's inputs as `inputs`, its other fields as `expectations` and the prediction as `outputs`;
    its rationale becomes the feedback. `aggregation`: {scorer name: what it gave} -> a score in [0, 1].
    """
    if not scorers:
        raise InputError("metric_from_scorers needs at least one MLflow scorer, e.g. Correctness()")
    measure = create_metric_from_scorers(list(scorers), aggregation)

    def scored(gold: dspy.Example, pred: Any, trace: Any = None) -> dspy.Prediction:
        outputs = pred.toDict() if isinstance(pred, dspy.Example) else pred
        score, rationales, _ = measure(
            inputs=gold.inputs().toDict(), outputs=outputs, expectations=gold.labels().toDict(), trace=None
        )
        return dspy.Prediction(score=score, feedback=_said(rationales))

    scored.__qualname__ = f"metric_from_scorers({', '.join(scorer.name for scorer in scorers)})"
    return scored


def _score_of(gold: dspy.Example, pred: Any, trace: Any = None) -> dspy.Prediction:
    """What MLflow's scorers said while the prediction was made."""
    result: EvaluationResultRecord = pred.result
    if result.score is None:
        raise InputError("MLflow scored nothing; give mlflow.genai.optimize_prompts scorers=")
    said = _said(result.rationales)
    if result.score < 1:
        said = f"{said}\nExpected: {json.dumps(result.expectations, default=str)}".strip()
    return dspy.Prediction(score=result.score, feedback=said)


def _said(rationales: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {reason}" for name, reason in rationales.items() if reason)


class _Application(dspy.Module):
    """MLflow's `predict_fn` as a program: a part for each registered prompt, whose instructions are its template."""

    def __init__(self, desk: EvaluationDesk, target_prompts: Mapping[str, str], inputs: Mapping[str, Any]) -> None:
        super().__init__()
        self.desk = desk
        # Whoever reads the trajectories knows the inputs by their names, where they are names.
        fields = ", ".join(inputs) if all(map(_is_field, inputs)) else "inputs"
        # Registered names may be names that every module has ("history"), or no names of Python at all.
        self.parts = {name: f"prompt_{number} {name}" for number, name in enumerate(target_prompts, 1)}
        for name, part in self.parts.items():
            setattr(self, part, _Part(dspy.Signature(f"{fields} -> outputs", target_prompts[name])))
            getattr(self, part).lm = dspy.BaseLM(model="mlflow predict_fn")  # a name in the results; never asked

    def forward(self, record: dict[str, Any]) -> dspy.Prediction:
        current = {part: getattr(self, part).signature.instructions for part in self.parts.values()}
        result = self.desk.evaluate(self.texts(current), record)
        for part in self.parts.values():
            given = {"inputs": result.inputs, **result.inputs}
            getattr(self, part)(outputs=result.outputs, **given)
        return dspy.Prediction(result=result)

    def texts(self, prompts: Mapping[str, str]) -> dict[str, str]:
        return {name: prompts[part] for name, part in self.parts.items()}


def _is_field(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name) and name != "outputs"


class _Part(dspy.Predict):
    """Stands for the calls that use one prompt: what the application was given and gave is all that is seen of them."""

    def forward(self, **kwargs: Any) -> dspy.Prediction:
        return dspy.Prediction(outputs=kwargs["outputs"])


class EvaluationDesk:
    """Calls `eval_fn`, which is not safe over threads, one at a time; what waits meanwhile shares the next call.

    MLflow runs the records of one call side by side, so that nobody waits for long.
    """

    def __init__(self, eval_fn: EvalFunction) -> None:
        self._eval_fn = eval_fn
        self._waiting: list[tuple[dict[str, str], dict[str, Any], Future[EvaluationResultRecord]]] = []
        self._enter, self._turn = threading.Lock(), threading.Lock()
        self._seen: dict[str, list[EvaluationResultRecord]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> EvaluationDesk:
        return self

    def evaluate(self, prompts: dict[str, str], record: dict[str, Any]) -> EvaluationResultRecord:
        mine: Future[EvaluationResultRecord] = Future()
        with self._enter:
            self._waiting.append((prompts, record, mine))
        with self._turn:
            if not mine.done():
                self._serve(prompts)
        return mine.result()

    def scores_by_scorer(self, prompts: Mapping[str, str]) -> dict[str, float]:
        """The mean of each scorer over what was evaluated with `prompts`."""
        values: dict[str, list[float]] = {}
        for result in self._seen.get(_key(prompts), []):
            for name, score in result.individual_scores.items():
                values.setdefault(name, []).append(score)
        return {name: sum(scores) / len(scores) for name, scores in values.items()}

    def _serve(self, prompts: dict[str, str]) -> None:
        with self._enter:
            served = [waiting for waiting in self._waiting if waiting[0] == prompts]
            self._waiting = [waiting for waiting in self._waiting if waiting[0] != prompts]
        try:
            results: Sequence[EvaluationResultRecord] = self._eval_fn(prompts, [record for _, record, _ in served])
        except Exception as error:  # noqa: BLE001 - it is handed to everyone who waits for it
            for _, _, future in served:
                future.set_exception(error)
            return
        self._seen.setdefault(_key(prompts), []).extend(results)
        for (_, _, future), result in zip(served, results, strict=True):
            future.set_result(result)


def _key(prompts: Mapping[str, str]) -> str:
    return json.dumps(dict(prompts), sort_keys=True)
