"""The program of a world: its stages in order, with loops, branches and shared signatures where the world has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dspy

from langmem_dspy.simulation.worlds.stage import Stage


def instructions(program: dspy.Module) -> dict[str, str]:
    """What the prompt of each predictor says."""
    return {name: predictor.signature.instructions for name, predictor in program.named_predictors()}


class Pipeline(dspy.Module):
    """The stages one after the other, `rounds` times over; every field of every stage that ran is in the prediction.

    A field that nothing has written yet is read as "".
    """

    def __init__(self, stages: Sequence[Stage], rounds: int = 1) -> None:
        super().__init__()
        # The student is handed to optimizers: it holds the wiring, and no rule.
        self.stages = tuple(replace(stage, given=(), hidden=(), mistaken=()) for stage in stages)
        self.rounds = rounds
        for stage in stages:
            setattr(self, stage.name, dspy.Predict(stage.signature()))

    def forward(self, **inputs: str) -> dspy.Prediction:
        fields: dict[str, Any] = dict(inputs)
        outputs: dict[str, Any] = {}
        for stage in self.stages * self.rounds:
            if not stage.runs(fields):
                continue
            predictor = getattr(self, stage.name)
            said = predictor(**{key: fields.get(stage.wire(key), "") for key in predictor.signature.input_fields})
            outputs |= {stage.wire(key): said[key] for key in predictor.signature.output_fields}
            fields |= outputs
        return dspy.Prediction(**outputs)
