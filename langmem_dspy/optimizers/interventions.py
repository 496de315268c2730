"""Interventions: what an example would have scored, had a predictor said something else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from langmem_dspy.optimizers.run import Run

Outputs = Mapping[str, Any]  # what one predictor said, by field


class Interventions(Protocol):
    """What credit by counterfactual needs of a run."""

    def score_with(self, example_id: str, predictor: str, outputs: Outputs) -> float | None:
        """The score with this in the place of the predictor's first answer; None if it could not be scored."""

    def corrections(self, example_id: str, predictor: str, said: Outputs) -> list[Outputs]:
        """What the predictor may have had to say instead, as far as it is known for no call: the likeliest first."""

    def lm_calls(self) -> int:
        """How many calls the run has made so far."""


class RunInterventions:
    """Interventions on the best prompts of a run so far.

    What follows the changed answer is run again; what came before is remembered. Corrections are labels of the example
    with the names of the predictor's fields, and what it said in other runs of the example that scored higher.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def score_with(self, example_id: str, predictor: str, outputs: Outputs) -> float | None:
        if self._run.runner is None or example_id not in self._run.task.trainset:
            return None
        example = self._run.task.trainset[example_id]
        return self._run.runner.intervene(self._run.best.prompts, example_id, example, {predictor: outputs}).score

    def corrections(self, example_id: str, predictor: str, said: Outputs) -> list[Outputs]:
        if self._run.runner is None or example_id not in self._run.task.trainset:
            return []
        labels = _labels(self._run.task.trainset[example_id].toDict(), said)
        found: list[Outputs] = [{**said, **labels}] if labels else []
        rollouts = [r for r in self._run.runner.remembered(example_id) if r.score is not None]
        for rollout in sorted(rollouts, key=lambda r: -(r.score or 0.0)):
            found += [s.outputs for s in rollout.trajectory.steps if s.predictor == predictor and s.outputs][:1]
        return _distinct(found, said)

    def lm_calls(self) -> int:
        return self._run.meter.report().whole_run.lm_calls


def _labels(example: Mapping[str, Any], said: Outputs) -> dict[str, Any]:
    """The labels of the example that bear the names of these fields; also inside a label that is a dict."""
    nested = [value for value in example.values() if isinstance(value, Mapping)]
    return {name: labels[name] for labels in (*nested, example) for name in said if name in labels}


def _distinct(found: list[Outputs], said: Outputs) -> list[Outputs]:
    by_text = {_text(outputs): outputs for outputs in reversed(found)}
    by_text.pop(_text(said), None)
    return list(reversed(by_text.values()))


def _text(outputs: Outputs) -> str:
    return json.dumps(dict(outputs), sort_keys=True, default=str)
