"""Running a program again on what was observed, step by step from memory: only what a change touches is asked anew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import dspy

from langmem_dspy.optimizers.lessons import Draft
from langmem_dspy.optimizers.metrics import Metric, MetricFunction
from langmem_dspy.optimizers.observations import Observation, plain
from langmem_dspy.optimizers.prompts import with_prompts
from langmem_dspy.optimizers.rollouts import Board, RolloutRunner, raise_if_cut
from langmem_dspy.optimizers.tracing import complaint
from langmem_dspy.optimizers.trajectories import Trajectory
from langmem_dspy.optimizers.wants import want_of
from langmem_dspy.usage import Meter


class Replays:
    """Runs `program` on observations under any prompts; scores by `metric`, without one by what was said of each.

    `known`: observations with the prompts they were recorded under; their steps are not asked for again.
    """

    def __init__(
        self,
        program: dspy.Module,
        metric: MetricFunction | None,
        meter: Meter,
        num_threads: int,
        task_lm: dspy.BaseLM | None,
    ) -> None:
        self.metric, self._memory = metric, StepMemory()
        self._fields = dict(program.named_predictors())
        student = _remembering(program, self._memory)
        self._runner = RolloutRunner(student, Metric(metric or _unjudged), meter, num_threads, task_lm=task_lm)

    def remember(self, observation: Observation, prompts: Mapping[str, str]) -> None:
        """Take the steps of an observation for what these prompts lead to."""
        for step in observation.replayed or observation.trajectory.steps:
            predictor = self._fields.get(step.predictor)
            if predictor is not None and step.outputs is not None and set(step.outputs) == set(_outputs(predictor)):
                self._memory.put(predictor, prompts[step.predictor], step.inputs, step.outputs)

    def can_judge(self, observation: Observation) -> bool:
        """Whether a replay of it can be run and scored."""
        return observation.example is not None and (self.metric is not None or observation.can_be_judged)

    def applies(self, lesson: Draft, before: Trajectory, after: Trajectory) -> bool:
        """Whether what a lesson names is handled differently in the second run."""
        want = want_of(lesson.predictor, lesson.text, before, self._fields[lesson.predictor].signature)
        return bool(want.holds(after))

    def roll_out(self, prompts: Mapping[str, str], observations: Sequence[Observation]) -> Board:
        """Scored replays by observation; what could not be scored is left out. Raises `BudgetExhausted`."""
        by_id = {o.id: o for o in observations}
        if not by_id:
            return {}
        examples = {name: o.as_example() for name, o in by_id.items()}
        rollouts = self._runner.run(prompts, examples, must_score=False)
        raise_if_cut(rollouts, self._runner.meter)
        if self.metric is None:
            rollouts = [by_id[rollout.example_id].judged(rollout) for rollout in rollouts]
        faults = [rollout.fault for rollout in rollouts if rollout.fault is not None]
        if faults and len(faults) == len(rollouts):
            raise faults[0]
        return {rollout.example_id: rollout for rollout in rollouts if rollout.score is not None}


class StepMemory:
    """What each predictor said to what, under which instructions. A deepcopy is the same memory."""

    def __init__(self) -> None:
        self._said: dict[str, dict[str, Any]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> StepMemory:
        return self

    def put(self, predictor: dspy.Predict, instructions: str, inputs: Any, outputs: Any) -> None:
        if plain(dict(inputs)) and plain(dict(outputs)):  # what JSON changes is not what was said
            self._said[_key(predictor, instructions, inputs)] = dict(outputs)

    def get(self, predictor: dspy.Predict, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
        if set(inputs) - set(predictor.signature.input_fields) or not plain(dict(inputs)):
            return None
        return self._said.get(_key(predictor, predictor.signature.instructions, inputs))


class _FromMemory:
    """The `forward` of a predictor in a copy of a program: answers from memory what was asked before."""

    def __init__(self, predictor: dspy.Predict, memory: StepMemory) -> None:
        self.predictor, self.memory = predictor, memory

    def __call__(self, **inputs: Any) -> dspy.Prediction:
        if (known := self.memory.get(self.predictor, inputs)) is not None:
            return dspy.Prediction(**known)
        return type(self.predictor).forward(self.predictor, **inputs)


def _remembering(program: dspy.Module, memory: StepMemory) -> dspy.Module:
    copied = with_prompts(program, {})
    for predictor in copied.predictors():
        predictor.forward = _FromMemory(predictor, memory)
    return copied


def _outputs(predictor: dspy.Predict) -> list[str]:
    return list(predictor.signature.output_fields)


def _key(predictor: dspy.Predict, instructions: str, inputs: Mapping[str, Any]) -> str:
    shape = [list(predictor.signature.input_fields), _outputs(predictor), repr(predictor.demos)]
    text = json.dumps([instructions, shape, dict(inputs)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _unjudged(gold: dspy.Example, pred: Any, trace: Any = None) -> float:
    return 0.0  # `Observation.judged` scores what came out


def asks(lesson: Draft, observation: Observation) -> float:
    """How much an observation asks for a lesson, from 0 to 1."""
    return complaint(lesson.text or lesson.replaces, observation.trajectory)


def rerecorded(observation: Observation, board: Board, version: int) -> Observation:
    """The observation with the steps of its replay, so that a later replay begins from these."""
    rollout = board.get(observation.id)
    if rollout is None or rollout.error is not None:
        return observation
    return replace(observation, replayed=rollout.trajectory.steps, version=version)
