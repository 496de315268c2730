"""What goes into online learning and what comes of it, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langmem_dspy.events import CompileStarted, PromptsVersioned
from langmem_dspy.optimizers.lessons import Lesson
from langmem_dspy.optimizers.online_state import PromptVersion
from langmem_dspy.optimizers.run import are_simulated
from langmem_dspy.optimizers.trajectories import Trajectory
from langmem_dspy.usage import UsageReport


@dataclass(frozen=True)
class LiveRun:
    """One run of the program in use: what it answered, and what `learn` needs to know of it."""

    prediction: Any
    trajectory: Trajectory
    inputs: Mapping[str, Any]
    version: int


@dataclass(frozen=True)
class Learned:
    """What became of feedback. `promoted`: the number of the new version, None if the prompts stay; `reason`: why.

    `before` and `after`: mean scores on what the new prompts were tried on. `waiting`: complaints not yet reflected on.
    """

    reason: str
    lessons: tuple[Lesson, ...] = ()
    promoted: int | None = None
    before: float | None = None
    after: float | None = None
    waiting: int = 0
    notes: tuple[str, ...] = ()
    usage: UsageReport = field(default_factory=UsageReport)

    def __repr__(self) -> str:
        what = f"version {self.promoted}" if self.promoted is not None else "no new version"
        scores = "" if self.after is None else f", {self.before:.2f} -> {self.after:.2f}"
        lines = [f"Learned({what}: {self.reason}{scores}; {self.usage.lm_calls} LM calls)"]
        lines += [f"  {lesson.fate:<9} {lesson.predictor}: {lesson.text}" for lesson in self.lessons]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def begun(
    run_id: str, settings: Mapping[str, Any], models: Mapping[str, str], prompts: Mapping[str, str]
) -> CompileStarted:
    """What listeners hear first of a process that learns online."""
    return CompileStarted(run_id, "OnlineOptimizer", settings, models, are_simulated(models), prompts, {})


def versioned(run_id: str, version: PromptVersion, alias: str, reason: str) -> PromptsVersioned:
    """What listeners hear of a version."""
    return PromptsVersioned(run_id, version.number, alias, version.prompts, reason, version.before, version.after)
