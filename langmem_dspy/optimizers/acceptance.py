"""Is a change kept? By what a lesson was seen to do: to the score, and to what the feedback asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from langmem_dspy.optimizers.lessons import Lesson
from langmem_dspy.optimizers.rollouts import Board


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate may go on, and why, in words for a table."""

    accepted: bool
    reason: str


@dataclass(frozen=True)
class Effect:
    """What one lesson did on the examples it was tried on: with it minus without it.

    `gain`: in score. `quiet`: how much less the feedback asks for it, -1 to 1. `asked`: how much it asks for it still,
    0 to 1. `moved`: whether any output differed. `flat`: the score was at its lowest with it and without,
    so that it tells nothing. `error`: the standard error of `gain` where the metric is noisy.
    """

    lesson: Lesson
    gain: float
    quiet: float
    asked: float
    moved: bool
    examples: tuple[str, ...]
    without: Board
    flat: bool = False
    error: float = 0.0


class Acceptance(Protocol):
    """What decides on lessons; `Helps` is ours."""

    def __call__(self, effect: Effect) -> bool:
        """Whether a lesson on trial is kept."""

    def hurts(self, effect: Effect, gain: float) -> bool:
        """Whether a lesson in force should go, by its effect on a failing example and its `gain` over all so far."""


@dataclass(frozen=True)
class Helps:
    """A lesson is kept if the score is higher with it, or if the complaint that asked for it is gone.

    The second counts because a right change can lower a score: more of what follows is judged once the first output is
    right. Where the score cannot fall or rise, as under an exact-match metric until the last fault is mended, it is
    enough that the lesson did something and nobody asks for it any more. `harm` is how much score a gone complaint may
    cost.
    """

    margin: float = 1e-9
    harm: float = 0.2
    gone: float = 0.3

    def __call__(self, effect: Effect) -> bool:
        if effect.gain > max(self.margin, effect.error):
            return True
        if effect.flat:
            return effect.moved and effect.asked < self.gone
        return effect.moved and effect.quiet > self.gone and effect.gain > -self.harm

    def hurts(self, effect: Effect, gain: float) -> bool:
        if abs(effect.gain) <= effect.error:
            return effect.quiet < -self.gone
        return effect.gain < 0 and gain < self.margin
