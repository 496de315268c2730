"""Credit by counterfactual: a prompt is to blame if the program does better once its predictor's answer is corrected.

The other half of the evidence comes later, when lessons are on trial: each is left out once (`trials`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import dspy

from langmem_dspy.errors import ReplyError
from langmem_dspy.messages import escape
from langmem_dspy.optimizers.credit import Blame, Credit, blame_by_trace, merged, took_part
from langmem_dspy.optimizers.interventions import Interventions, Outputs
from langmem_dspy.optimizers.prompts import Prompt, as_prompts
from langmem_dspy.optimizers.trajectories import Step, Trajectory, read_trajectories
from langmem_dspy.replies import Asking

TRIED = 2  # corrections of one answer
MARGIN = 0.01  # gain in score below which nothing is proven


class CorrectAnswer(dspy.Signature):
    """One step of a system may have gone wrong. Write what this step should have said, given what it saw and the
    feedback on the whole run. Where nothing shows that it was wrong, repeat what it said."""

    prompt: str = dspy.InputField(desc="what the step was told to do")
    inputs: str = dspy.InputField(desc="what it saw, as JSON")
    outputs: str = dspy.InputField(desc="what it said, as JSON")
    feedback: str = dspy.InputField(desc="on the whole run")
    corrected_outputs: str = dspy.OutputField(desc="a JSON object with the keys of outputs")


class CounterfactualCredit(dspy.Module):
    """Blames the predictor whose corrected answer raises the score most, by running what follows it again.

    Of equal gains the first step's counts: what comes after it repeats its error, and gains by being corrected too.

    A correction that is known costs no request (labels, better runs of the same example); `ask` has a model write one
    where none is, for one request an answer. `by_trace`: what feedback says outright is believed without a replay.
    Where no correction is known or none helps, every prompt that took part is blamed: trying lessons tells.
    """

    def __init__(self, *, by_trace: bool = True, ask: bool = False) -> None:
        super().__init__()
        self.by_trace, self.ask = by_trace, ask
        self.correct = dspy.Predict(CorrectAnswer)

    def forward(
        self, prompts: Sequence[Any], trajectories: Any, interventions: Interventions | None = None
    ) -> dspy.Prediction:
        """Prediction(blame=[Blame], dropped=[], undecided=[trajectory id]), in the order of `prompts`."""
        named = {prompt["name"]: prompt for prompt in as_prompts(prompts)}
        read = read_trajectories(trajectories, list(named))
        blame, unclear = blame_by_trace(read, list(named)) if self.by_trace else ([], _imperfect(read))
        undecided = []
        for trajectory in unclear:
            found = [] if interventions is None else self._found(named, trajectory, interventions)
            blame += found or took_part([trajectory], list(named))
            undecided += [] if found else [trajectory.id]
        return Credit(blame=merged(blame, read, list(named)), dropped=[], undecided=undecided)

    def _found(self, prompts: dict[str, Prompt], trajectory: Trajectory, interventions: Interventions) -> list[Blame]:
        first: dict[str, Step] = {}
        for step in trajectory.steps:
            if step.outputs and step.predictor in prompts:
                first.setdefault(step.predictor, step)
        gains = {name: self._gain(prompts[name], step, trajectory, interventions) for name, step in first.items()}
        most = max(gains.values(), default=0.0)
        if most <= MARGIN:
            return []
        name = next(name for name, gain in gains.items() if gain > most - MARGIN)
        reason = f"with its answer corrected, the score on {trajectory.id} is {gains[name]:.2f} higher"
        return [Blame(name, reason, (trajectory.id,))]

    def _gain(self, prompt: Prompt, step: Step, trajectory: Trajectory, interventions: Interventions) -> float:
        said: Outputs = step.outputs or {}
        corrections = interventions.corrections(trajectory.id, prompt["name"], said)[:TRIED]
        if not corrections and self.ask:
            corrections = self._written(prompt, step, trajectory)
        scores = [interventions.score_with(trajectory.id, prompt["name"], outputs) for outputs in corrections]
        return max((s - (trajectory.score or 0.0) for s in scores if s is not None), default=0.0)

    def _written(self, prompt: Prompt, step: Step, trajectory: Trajectory) -> list[Outputs]:
        said = dict(step.outputs or {})
        try:
            answer = Asking()(
                self.correct,
                prompt=escape(prompt["prompt"]),
                inputs=json.dumps(dict(step.inputs), default=str, ensure_ascii=False),
                outputs=json.dumps(said, default=str, ensure_ascii=False),
                feedback=trajectory.feedback or "(none)",
            )
            written = json.loads(answer.corrected_outputs)
        except (ReplyError, ValueError, TypeError):
            return []  # no correction is one that changes nothing
        if not isinstance(written, dict) or not set(written) <= set(said) or {**said, **written} == said:
            return []
        return [{**said, **written}]


def _imperfect(trajectories: list[Trajectory]) -> list[Trajectory]:
    return [trajectory for trajectory in trajectories if trajectory.score is None or trajectory.score < 1]
