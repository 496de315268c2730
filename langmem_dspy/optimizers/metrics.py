"""What a metric said, in one form: `metric(gold, pred, trace=None[, pred_name, pred_trace])`, GEPA's included."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import dspy

from langmem_dspy.errors import BudgetExhausted, InputError
from langmem_dspy.usage import Meter

MetricFunction = Callable[..., Any]


@dataclass(frozen=True)
class Judgement:
    """A score in [0, 1] and what was said, about the whole and about single predictors."""

    score: float
    feedback: str = ""
    predictor_feedback: Mapping[str, str] = field(default_factory=dict)


class MetricFailed(Exception):
    """The metric raised; `cause` is what it raised."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Traced(Protocol):
    """What a rollout recorded, in DSPy's form of a trace."""

    def names(self) -> list[str]: ...

    def trace(self, name: str | None = None) -> list[tuple[dspy.Predict, dict[str, Any], dspy.Prediction]]: ...


class Metric:
    """A user's metric, called with the arguments it takes; every call is reserved with the meter."""

    def __init__(self, function: MetricFunction) -> None:
        if not callable(function):
            raise InputError(f"metric is a function metric(gold, pred, trace=None), got {type(function).__name__}")
        self.function = function
        self._positional, self._keywords = _accepted(function)
        self.judges_predictors = "pred_name" in self._positional or _names_predictors(function)

    def __call__(self, gold: dspy.Example, pred: Any, *, meter: Meter) -> Judgement:
        """Raises `MetricFailed`, `InputError` for a result that is no score in [0, 1], `BudgetExhausted`."""
        return self._call(gold, pred, {}, meter)

    def about_predictors(
        self, judged: Judgement, gold: dspy.Example, pred: Any, recorded: Traced, *, meter: Meter
    ) -> Judgement:
        """`judged` with what the metric says about each predictor that ran, where that differs from the whole."""
        said: dict[str, str] = {}
        for name in recorded.names():
            details = {"trace": recorded.trace(), "pred_name": name, "pred_trace": recorded.trace(name)}
            feedback = self._call(gold, pred, details, meter).feedback
            if feedback and feedback != judged.feedback:
                said[name] = feedback
        return replace(judged, predictor_feedback=said)

    def _call(self, gold: dspy.Example, pred: Any, details: dict[str, Any], meter: Meter) -> Judgement:
        meter.reserve_metric_call()
        positional = [details.get(name) for name in self._positional]
        keywords = {name: details.get(name) for name in self._keywords}
        try:
            result = self.function(gold, pred, *positional, **keywords)
        except BudgetExhausted:
            raise
        except Exception as error:
            raise MetricFailed(error) from error
        return read_judgement(result)


_DETAILS = ("trace", "pred_name", "pred_trace")
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _accepted(function: MetricFunction) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which details the metric takes by position, after gold and pred, and which by keyword."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return (), ()
    positional = []
    for detail, parameter in zip(_DETAILS, [p for p in parameters if p.kind in _BY_POSITION][2:], strict=False):
        if parameter.name != detail and parameter.default not in (None, parameter.empty):
            break  # `def metric(gold, pred, trace=None, weight=0.5)`: a setting of the user's own
        positional.append(detail)
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return tuple(positional), tuple(name for name in _DETAILS if name not in positional)
    return tuple(positional), tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name in _DETAILS)


def _names_predictors(function: MetricFunction) -> bool:
    # A wrapper's **kwargs is no sign that anyone reads `pred_name`, and each predictor costs a metric call.
    try:
        return "pred_name" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def read_judgement(result: Any) -> Judgement:
    """A metric's number, bool, `Prediction(score=, feedback=)` or dict as a Judgement. Raises `InputError`."""
    feedback: Any = ""
    score = result
    if isinstance(result, dspy.Example | Mapping):  # a Prediction is an Example
        if "score" not in result:
            raise InputError(f"the metric returned {result!r}, which has no 'score'")
        score, feedback = result["score"], result.get("feedback", "") or ""
    if getattr(score, "size", 0) == 1:
        score = score.item()  # a numpy number
    if not isinstance(score, bool | int | float) or math.isnan(score) or not 0 <= score <= 1:
        raise InputError(f"the metric returned {score!r}; return a score from 0 to 1 (higher is better)")
    if isinstance(feedback, Mapping):
        said = {str(name): str(text) for name, text in feedback.items() if text}
        return Judgement(float(score), predictor_feedback=said)
    return Judgement(float(score), str(feedback))
