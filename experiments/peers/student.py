"""The program, cases and metric of a run, for DSPy's own optimizers: they run them themselves, on the desk's model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dspy
from client import Desk

from langmem_dspy.simulation import worlds
from langmem_dspy.simulation.worlds import Voice, World
from langmem_dspy.simulation.worlds.pipeline import instructions

CALLS_AT_ONCE = 1  # the desk's model computes; more threads would only wait for one another


class Student:
    """What `optimizer.compile` is given. `report` tells the desk what the optimizer would give back now."""

    def __init__(self, desk: Desk) -> None:
        settings = dict(desk.settings["world"])
        self.desk = desk
        self.world: World = worlds.load(**{**settings, "voice": Voice(**settings["voice"])})
        if instructions(self.world.program()) != desk.prompts:
            raise RuntimeError(f"the world made of {settings} is not the one at the desk")
        dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
        base = {"api_base": desk.settings["api_base"], "api_key": "any", "num_retries": 0}
        self.lm = dspy.LM(f"openai/{desk.settings['model']}", **base)
        dspy.configure(lm=self.lm, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False))
        self.calls_per_rollout = len(self.world.stages) * self.world.rounds

    def score(self, gold: Any, pred: Any, trace: Any = None) -> float:
        return self.world.metric(gold, pred).score

    def rollouts(self, share: float) -> int:
        """How many rollouts `share` of the budget pays for."""
        return int(self.desk.settings["budget"] * share / self.calls_per_rollout)

    def report(self, program: dspy.Module) -> None:
        self.desk.report(instructions(program))


def compile_with(work: Callable[[Student], dspy.Module | None]) -> None:
    """Run `work` and report the program it returns; if the budget ends it first, what it reported before stands."""
    desk = Desk.of_this_process()
    student = Student(desk)
    try:
        compiled = work(student)
    except Exception:
        if not desk.spent():
            raise
        return
    if compiled is not None:
        student.report(compiled)
