"""The controlled English of rules, as values: on which fields, under which conditions, to what effect.

A `Rule` says what is to be done to one output field, if its conditions hold. It is parsed from text by `parsing`, put
into words by `phrasing`, and carried out or checked by `effects`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

Effect = Literal[
    "set",  # the field is exactly `value`
    "start",  # it starts with `value`
    "end",  # it ends with `value`
    "mention",  # it contains `value`
    "avoid",  # it does not contain `value`
    "replace",  # it says `value` where it would say `source`
    "quote",  # it contains the value of the field `source`
    "limit",  # it has at most `value` words
    "case",  # its letters are in `value` ("upper", "lower", "title") case
    "advice",  # `value` is all that is said, in plain words: restated, never followed
    "language",  # it is in the language `value`; simulated by naming the language in front
]

# Effects of which a field can have one at a time; two such rules with different values contradict each other.
EXCLUSIVE: frozenset[str] = frozenset({"set", "start", "end", "limit", "case", "language"})


@dataclass(frozen=True)
class Condition:
    """`field` mentions, or is, any of `values`; or the opposite if `negated`."""

    field: str
    relation: Literal["mentions", "is"]
    values: tuple[str, ...]
    negated: bool = False

    def holds(self, fields: Mapping[str, str]) -> bool:
        text = fields.get(self.field)
        if text is None:
            return False
        if self.relation == "is":
            found = text.strip().lower() in (value.lower() for value in self.values)
        else:
            found = any(mentions(text, value) for value in self.values)
        return found is not self.negated


@dataclass(frozen=True)
class Rule:
    """One instruction. Two rules are equal when they say the same, however they are worded."""

    field: str
    effect: Effect
    value: str = ""
    source: str = ""
    when: tuple[Condition, ...] = ()

    def fires(self, fields: Mapping[str, str]) -> bool:
        return all(condition.holds(fields) for condition in self.when)

    @property
    def general(self) -> Rule:
        """The rule without its conditions."""
        return replace(self, when=())

    @property
    def fields(self) -> set[str]:
        """Every field it speaks of."""
        spoken = {self.field, *(condition.field for condition in self.when)}
        return spoken | {self.source} if self.effect == "quote" else spoken

    def stands_in(self, text: str, rules: Collection[Rule]) -> bool:
        """Whether `text`, of which `rules` are the rules, says it already."""
        return self.value in text if self.effect == "advice" else self in rules

    def contradicts(self, other: Rule) -> bool:
        """Whether both can fire on the same grounds and cannot both be followed."""
        if self.field != other.field or self.when != other.when or self == other:
            return False
        if self.effect == other.effect:
            return self.effect in EXCLUSIVE or (self.effect == "replace" and self.source == other.source)
        return {self.effect, other.effect} == {"mention", "avoid"} and self.value.lower() == other.value.lower()


def mentions(text: str, words: str) -> bool:
    """Whether `text` contains `words` as whole words, in any case of letters."""
    return _word(words).search(text) is not None


@lru_cache(maxsize=2048)
def _word(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(words)}(?!\w)", re.IGNORECASE)
