"""Traces of `mlflow.dspy.autolog()` with the run they belong to, and the predictors' own names.

MLflow itself calls every predictor "Predict.forward", and knows nothing of the run.
"""

from __future__ import annotations

import sys
import threading
from typing import Any
from weakref import WeakKeyDictionary

import dspy
from dspy.utils.callback import BaseCallback

from langmem_dspy.tracking.traces import tell_trace


class PredictorNames(BaseCallback):
    """Names a predictor's span as the program around it does: `classify` rather than `Predict.forward`.

    Tells the trace its run by the way. Does nothing unless autolog is on. Works whichever of the two callbacks comes
    first: MLflow's span is the current one at the start if its callback went first, else at the end.
    """

    def __init__(self) -> None:
        self._names: WeakKeyDictionary[dspy.Module, str] = WeakKeyDictionary()
        self._seen: WeakKeyDictionary[dspy.Module, bool] = WeakKeyDictionary()
        self._open: dict[str, dspy.Predict] = {}
        self._lock = threading.Lock()

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        if "mlflow.dspy.callback" not in sys.modules:
            return
        if isinstance(instance, dspy.Predict):
            self._open[call_id] = instance
            self._rename(instance)
        else:
            self._learn(instance)
        tell_trace()

    def on_module_end(self, call_id: str, outputs: Any | None, exception: BaseException | None = None) -> None:
        predictor = self._open.pop(call_id, None)
        if predictor is not None:
            self._rename(predictor)
            tell_trace()

    def _learn(self, program: dspy.Module) -> None:
        """The outermost module that runs is seen first, so its names are the ones that stay."""
        with self._lock:
            if program not in self._seen:
                self._seen[program] = True
                for name, predictor in program.named_predictors():
                    self._names.setdefault(predictor, name)

    def _rename(self, predictor: dspy.Predict) -> None:
        from mlflow.tracing.provider import get_current_otel_span
        from opentelemetry.sdk.trace import Span

        span = get_current_otel_span()  # MLflow keeps its spans apart from OpenTelemetry's own current one
        name = self._names.get(predictor)
        # Any other span that is current here is the user's own.
        if name and isinstance(span, Span) and span.name == f"{type(predictor).__name__}.forward":
            span.update_name(name)
