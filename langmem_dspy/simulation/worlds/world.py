"""A world: a program with poor prompts, cases to run it on, and rules its judge knows and the program does not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import dspy

from langmem_dspy.simulation.parsing import find_rules
from langmem_dspy.simulation.phrasing import phrase
from langmem_dspy.simulation.rules import Rule
from langmem_dspy.simulation.worlds.judging import Judge


@dataclass(frozen=True)
class Stage:
    """One predictor: its fields, the text its prompt starts with, the rules given there and those still to be found.

    `options` are the values an output may have, by field; the first is the default.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opening: str
    given: tuple[Rule, ...] = ()
    hidden: tuple[Rule, ...] = ()
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    when_to_update: str = ""

    @property
    def rules(self) -> tuple[Rule, ...]:
        return self.given + self.hidden

    def prompt(self, rules: Sequence[Rule]) -> str:
        """The opening with `rules` as its list."""
        return "\n".join([self.opening, *(f"- {phrase(rule, i)}" for i, rule in enumerate(rules))])

    def signature(self) -> type[dspy.Signature]:
        fields: dict[str, Any] = {name: (str, dspy.InputField()) for name in self.inputs}
        for name in self.outputs:
            values = self.options.get(name)
            fields[name] = (_literal(values) if values else str, dspy.OutputField())
        return dspy.make_signature(fields, self.prompt(self.given), signature_name=self.name.title())


class Pipeline(dspy.Module):
    """The stages of a world, one after the other; every field of every stage is in the prediction."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.order = [stage.name for stage in stages]
        for stage in stages:
            setattr(self, stage.name, dspy.Predict(stage.signature()))

    def forward(self, **inputs: str) -> dspy.Prediction:
        fields: dict[str, Any] = dict(inputs)
        outputs: dict[str, Any] = {}
        for name in self.order:
            predictor = getattr(self, name)
            said = predictor(**{key: fields[key] for key in predictor.signature.input_fields})
            outputs |= {key: said[key] for key in predictor.signature.output_fields}
            fields |= outputs
        return dspy.Prediction(**outputs)


@dataclass(frozen=True)
class Placement:
    """How well the rules written into prompts were placed. `precision`: of those written; `recall`: of the hidden."""

    precision: float
    recall: float


@dataclass(frozen=True)
class World:
    """A task to compile for. The engine never sees any of it but what the program and the optimizer send."""

    name: str
    seed: int
    stages: tuple[Stage, ...]
    trainset: list[dspy.Example]
    valset: list[dspy.Example]
    testset: list[dspy.Example]
    metric: Judge

    def program(self) -> dspy.Module:
        """A fresh program with the prompts to start from."""
        return Pipeline(self.stages)

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
        for name, predictor in program.named_predictors():
            stage = next(stage for stage in self.stages if stage.name == name)
            found = set(find_rules(predictor.signature.instructions)) - set(stage.given)
            written += len(found)
            placed += len(found & set(stage.hidden))
            hidden += len(stage.hidden)
        return Placement(placed / written if written else 1.0, placed / hidden if hidden else 1.0)

    def broken_variables(self, program: dspy.Module) -> dict[str, list[str]]:
        """By predictor, the {variables} lost or added."""
        found = {name: _variables(p.signature.instructions) for name, p in program.named_predictors()}
        broken = {name: sorted(found[name] ^ wanted) for name, wanted in self.variables.items()}
        return {name: names for name, names in broken.items() if names}


def _literal(values: tuple[str, ...]) -> Any:
    return Literal[values]


def _listed(names: Sequence[str]) -> str:
    return " or ".join(f"`{name}`" for name in names)


def _variables(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"(?<!\{)\{(\w+)\}(?!\})", text))
