"""What each predictor of a program saw and said, noted while it runs."""

from __future__ import annotations

from typing import Any

import dspy
from dspy.utils.callback import BaseCallback

from langmem_dspy.optimizers.trajectories import Step


class Recorder(BaseCallback):
    """Notes the calls of one copy of a program, by the identity of its predictors. Safe over threads."""

    def __init__(self, program: dspy.Module) -> None:
        self._predictors = {id(predictor): (name, predictor) for name, predictor in program.named_predictors()}
        self._calls: dict[str, list[Any]] = {}  # in the order of their starts: dicts keep it, and appends are atomic
        for predictor in program.predictors():
            predictor.callbacks = [*predictor.callbacks, self]

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        given = inputs.get("kwargs", inputs)
        fields = instance.signature.input_fields
        self._calls[call_id] = [instance, {k: v for k, v in given.items() if k in fields}, None, "still running"]

    def on_module_end(self, call_id: str, outputs: Any | None, exception: BaseException | None = None) -> None:
        self._calls[call_id][2:] = [outputs, None if exception is None else first_line(exception)]

    def steps(self) -> tuple[Step, ...]:
        return tuple(
            Step(self._predictors[id(predictor)][0], inputs, None if output is None else output.toDict(), error)
            for predictor, inputs, output, error in list(self._calls.values())
        )

    def names(self) -> list[str]:
        """The predictors that ran, in the order of their first calls."""
        return list(dict.fromkeys(step.predictor for step in self.steps()))

    def trace(self, name: str | None = None) -> list[tuple[dspy.Predict, dict[str, Any], dspy.Prediction]]:
        """DSPy's form of a trace, whole or of one predictor, as metrics expect it."""
        calls = [(p, inputs, out) for p, inputs, out, _ in list(self._calls.values()) if out is not None]
        return calls if name is None else [call for call in calls if self._predictors[id(call[0])][0] == name]


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its name where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
