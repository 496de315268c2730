"""Reading a trace: whose output feedback is about, where a lesson applies, and whether a complaint is gone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from langmem_dspy.optimizers.parts import predictor_of
from langmem_dspy.optimizers.trajectories import Trajectory


class Fields:
    """Which predictor reads and writes which fields, as the steps of trajectories show it."""

    def __init__(self, trajectories: Iterable[Trajectory]) -> None:
        self.reads: dict[str, set[str]] = {}
        self.writes: dict[str, set[str]] = {}
        for trajectory in trajectories:
            for step in trajectory.steps:
                self.reads.setdefault(step.predictor, set()).update(step.inputs)
                self.writes.setdefault(step.predictor, set()).update(step.outputs or {})

    def owners(self, text: str) -> list[str]:
        """The predictors that `text` may be about: all fields it names are theirs, and one at least is their output.

        Fields in backticks count alone where there are any: in prose, a field's name is often just a word.
        """
        named = self._named(text)
        if not named:
            return []
        return [
            name
            for name, outputs in self.writes.items()
            if named & outputs and named <= outputs | self.reads.get(name, set())
        ]

    def _named(self, text: str) -> set[str]:
        known = set().union(*self.reads.values(), *self.writes.values())
        marked = set(re.findall(r"[`'\"](\w+)[`'\"]", text)) & known
        return marked or set(re.findall(r"\w+", text)) & known


def sentences(text: str) -> list[str]:
    """The sentences of feedback."""
    return [part for part in re.split(r"(?<=[.!?])\s+|\n+", text) if part.strip()]


def said_about(trajectory: Trajectory) -> list[str]:
    """Every sentence of the feedback on a trajectory, also that on single predictors."""
    return sentences("\n".join([trajectory.feedback, *trajectory.predictor_feedback.values()]))


def complaint(text: str, trajectory: Trajectory) -> float:
    """How much of `text` some sentence of the feedback says, from 0 to 1."""
    return overlap(text, said_about(trajectory))


def overlap(text: str, said: Iterable[str]) -> float:
    """How much of `text` one of these sentences says, from 0 to 1: the overlap of their words."""
    wanted = _words(text)
    return max((len(wanted & words) / max(len(wanted | words), 1) for words in map(_words, said)), default=0)


def relevance(text: str, before: Trajectory, after: Trajectory) -> float:
    """How likely it is that the lesson `text` made the difference between two runs of one example."""
    quoted = _words(" ".join(re.findall(r"\"([^\"]+)\"", text)))
    share = [len(quoted & _seen(t)) / max(len(quoted), 1) for t in (before, after)]
    return complaint(text, before) + 0.3 * share[0] + 0.5 * share[1]


def moved(before: Trajectory, after: Trajectory) -> set[str]:
    """The predictors that said something else in the second run, or ran more or less often: loops and branches."""
    old, new = _said(before), _said(after)
    return {name for name in {**old, **new} if old.get(name) != new.get(name)}


def ran(part: str, trajectory: Trajectory) -> bool:
    """Whether the predictor of this part took part in a run."""
    return any(step.predictor == predictor_of(part) for step in trajectory.steps)


def _said(trajectory: Trajectory) -> dict[str, list[Mapping[str, object] | None]]:
    said: dict[str, list[Mapping[str, object] | None]] = {}
    for step in trajectory.steps:
        said.setdefault(step.predictor, []).append(step.outputs)
    return said


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _seen(trajectory: Trajectory) -> set[str]:
    values: list[Mapping[str, object]] = [f for step in trajectory.steps for f in (step.inputs, step.outputs or {})]
    return _words(" ".join(str(value) for fields in values for value in fields.values()))
