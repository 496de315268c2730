"""A stage of a world: one predictor, what its prompt says at the start, and what it should say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import dspy

from langmem_dspy.simulation.phrasing import phrase
from langmem_dspy.simulation.rules import Condition, Rule


@dataclass(frozen=True)
class Stage:
    """One predictor: its fields, the text its prompt starts with, the rules given there and those still to be found.

    `mistaken`: rules that stand in the prompt at the start and are not so. `options`: the values an output may have, by
    field; the first is the default. `wires`: where a field of the signature is another one of the program, by name, so
    that several stages can share a signature. `only_if`: the stage runs where this holds for the program's fields.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opening: str
    given: tuple[Rule, ...] = ()
    hidden: tuple[Rule, ...] = ()
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    when_to_update: str = ""
    mistaken: tuple[Rule, ...] = ()
    wires: Mapping[str, str] = field(default_factory=dict)
    only_if: Condition | None = None

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Those that are so."""
        return self.given + self.hidden

    @property
    def at_fault(self) -> bool:
        """Whether its prompt is not right at the start."""
        return bool(self.hidden or self.mistaken)

    def prompt(self, rules: Sequence[Rule]) -> str:
        """The opening with `rules` as its list."""
        return "\n".join([self.opening, *(f"- {phrase(rule, i)}" for i, rule in enumerate(rules))])

    def signature(self) -> type[dspy.Signature]:
        fields: dict[str, Any] = {name: (str, dspy.InputField()) for name in self.inputs}
        for name in self.outputs:
            values = self.options.get(name)
            fields[name] = (_literal(values) if values else str, dspy.OutputField())
        prompt = self.prompt(self.given + self.mistaken)
        return dspy.make_signature(fields, prompt, signature_name=self.name.title())

    def runs(self, fields: Mapping[str, str]) -> bool:
        """Whether it takes part, given the program's fields so far."""
        return self.only_if is None or self.only_if.holds(fields)

    def wire(self, name: str) -> str:
        """The program's field behind the field `name` of the signature."""
        return self.wires.get(name, name)

    def view(self, fields: Mapping[str, str]) -> Mapping[str, str]:
        """The program's fields, and under the signature's names those they are wired to."""
        if not self.wires:
            return fields
        return {**fields, **{name: fields[wired] for name, wired in self.wires.items() if wired in fields}}


def is_(name: str, *values: str) -> Condition:
    """That a field is one of `values`."""
    return Condition(name, "is", values)


def says(name: str, *words: str) -> Condition:
    """That a field mentions one of `words`."""
    return Condition(name, "mentions", words)


def _literal(values: tuple[str, ...]) -> Any:
    return Literal[values]
