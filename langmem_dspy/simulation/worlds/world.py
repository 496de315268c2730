"""A world: a program with poor prompts, cases to run it on, and rules its judge knows and the program does not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import dspy

from langmem_dspy.simulation.parsing import find_rules
from langmem_dspy.simulation.rules import Rule
from langmem_dspy.simulation.worlds.judging import Judge
from langmem_dspy.simulation.worlds.pipeline import Pipeline, instructions
from langmem_dspy.simulation.worlds.stage import Stage

__all__ = ["Pipeline", "Placement", "Stage", "World"]


@dataclass(frozen=True)
class Placement:
    """How well the rules written into prompts were placed. `precision`: of those written; `recall`: of the hidden."""

    precision: float
    recall: float


@dataclass(frozen=True)
class World:
    """A task to compile for. The engine never sees any of it but what the program and the optimizer send.

    `settings`: what it was loaded with besides its seed, sizes and judge, as far as its name has such settings.
    """

    name: str
    seed: int
    stages: tuple[Stage, ...]
    trainset: list[dspy.Example]
    valset: list[dspy.Example]
    testset: list[dspy.Example]
    metric: Judge
    rounds: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)

    def program(self) -> dspy.Module:
        """A fresh program with the prompts to start from."""
        return Pipeline(self.stages, self.rounds)

    def with_prompts(self, prompts: Mapping[str, str]) -> dspy.Module:
        """A fresh program with these instructions, by predictor."""
        program = self.program()
        for name, predictor in program.named_predictors():
            if name in prompts:
                predictor.signature = predictor.signature.with_instructions(prompts[name])
        return program

    def perfect_prompts(self) -> dict[str, str]:
        """The instructions that hold every rule in its place: the upper bound."""
        return {stage.name: stage.prompt(stage.rules) for stage in self.stages}

    @property
    def hidden_rules(self) -> dict[str, tuple[Rule, ...]]:
        """By predictor, the rules that are still to be found; none for a prompt that is right already."""
        return {stage.name: stage.hidden for stage in self.stages}

    @property
    def guidance(self) -> dict[str, dict[str, str]]:
        """What the owner of each prompt says of changing it."""
        return {
            stage.name: {
                "when_to_update": stage.when_to_update or f"When {_listed(stage.outputs)} is not as it should be.",
                "update_instructions": "Add one line for each rule. Keep all other lines and every {variable}.",
            }
            for stage in self.stages
        }

    @property
    def variables(self) -> dict[str, frozenset[str]]:
        """By predictor, the {variables} its prompt must keep."""
        return {stage.name: _variables(stage.opening) for stage in self.stages}

    def placement(self, program: dspy.Module) -> Placement:
        """Whether the rules that `program` has beyond the given ones stand where they belong."""
        written = placed = hidden = 0
        for name, prompt in instructions(program).items():
            stage = next(stage for stage in self.stages if stage.name == name)
            found = set(find_rules(prompt)) - {*stage.given, *stage.mistaken}
            written += len(found)
            placed += len(found & set(stage.hidden))
            hidden += len(stage.hidden)
        return Placement(placed / written if written else 1.0, placed / hidden if hidden else 1.0)

    def score(self, program: dspy.Module, examples: Sequence[dspy.Example] | None = None) -> float:
        """The mean score of `program` in [0, 1], without noise, on the test set unless others are given.

        Asks the configured LM.
        """
        judge = self.metric.without_noise()
        asked = self.testset if examples is None else examples
        return fmean(judge(example, program(**example.inputs())).score for example in asked)

    @property
    def guilty(self) -> tuple[str, ...]:
        """The predictors whose prompts are not right at the start."""
        return tuple(stage.name for stage in self.stages if stage.at_fault)

    def touched(self, program: dspy.Module) -> tuple[str, ...]:
        """The predictors whose prompts were right, and are another now."""
        said, start = instructions(program), instructions(self.program())
        return tuple(name for name in start if name not in self.guilty and said[name] != start[name])

    def broken_variables(self, program: dspy.Module) -> dict[str, list[str]]:
        """By predictor, the {variables} lost or added."""
        found = {name: _variables(prompt) for name, prompt in instructions(program).items()}
        broken = {name: sorted(found[name] ^ wanted) for name, wanted in self.variables.items()}
        return {name: names for name, names in broken.items() if names}


def _listed(names: Sequence[str]) -> str:
    return " or ".join(f"`{name}`" for name in names)


def _variables(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"(?<!\{)\{(\w+)\}(?!\})", text))
