"""The worker: carries out the rules that stand in its instructions on the inputs it is given, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.effects import carry_out
from langmem_dspy.simulation.parsing import find_rules
from langmem_dspy.simulation.profiles import Profile
from langmem_dspy.simulation.questions import Question, Wanted
from langmem_dspy.simulation.rules import Rule

LONGEST_ECHO = 30  # words of an input that a bland answer repeats

# In plain chat, where fields have no names, these are all the answer, and these the user's words.
_ANSWER_NAMES = ("reply", "answer", "response", "output")
_MESSAGE_NAMES = ("message", "question", "request", "input", "conversation")


def plays(question: Question) -> bool:
    return True


def answer(question: Question, profile: Profile, chance: Chance) -> dict[str, Any]:
    rules = find_rules(question.instructions)
    heeded = followed(rules, profile, chance)
    fields = {name.lower(): value for name, value in question.inputs.items()}
    if question.form == "plain":
        heeded = [_in_plain_chat(rule) for rule in heeded]
        fields |= {name: fields.get("message", "") for name in _MESSAGE_NAMES if name not in fields}
    outputs: dict[str, Any] = {}
    for wanted in question.wanted:
        name = wanted.name.lower()
        text = _bland(wanted, question, fields)
        mine = [rule for rule in heeded if rule.field == name and rule.fires(fields)]
        if wanted.kind in ("string", "integer", "number", "boolean"):
            text = carry_out(mine, text, fields)
        fields[name] = text
        outputs[wanted.name] = _typed(wanted, text)
    return outputs


def followed(rules: tuple[Rule, ...], profile: Profile, chance: Chance) -> list[Rule]:
    """Those it does not miss this time; the more there are, the more it misses."""
    missing = min(0.9, profile.miss + profile.distraction * max(0, len(rules) - profile.comfort))
    return [rule for rule in rules if not chance.happens(missing, "miss", rule)]


def _in_plain_chat(rule: Rule) -> Rule:
    return replace(rule, field="reply") if rule.field in _ANSWER_NAMES else rule


def _bland(wanted: Wanted, question: Question, fields: Mapping[str, str]) -> str:
    """What it says without a rule: the first option, or an echo of what the instructions say to start from."""
    if wanted.options:
        return wanted.options[0]
    if wanted.kind != "string":
        return {"boolean": "False", "integer": "0", "number": "0"}.get(wanted.kind, "")
    if wanted.name == "reasoning":
        return "I follow the instructions step by step."
    source = _starting_point(question.instructions, question.inputs)
    return " ".join(fields.get(source, "").split()[:LONGEST_ECHO]) or "Noted."


_START_FROM = re.compile(
    r"\b(?:polish|rewrite|rephrase|edit|shorten|improve|translate|from|answer) (?:the )?`(\w+)`", re.IGNORECASE
)


def _starting_point(instructions: str, inputs: Mapping[str, str]) -> str:
    for name in _START_FROM.findall(instructions):
        if name in inputs:
            return str(name).lower()
    return next(iter(inputs), "").lower()


def _typed(wanted: Wanted, text: str) -> Any:
    kind = wanted.kind
    if kind == "boolean":
        return text.strip().lower() in ("true", "yes", "1")
    if kind in ("integer", "number"):
        found = re.search(r"-?\d+(?:\.\d+)?", text)
        number = float(found.group()) if found else 0.0
        return int(number) if kind == "integer" else number
    if kind == "array":
        return []
    if kind == "object":
        return {}
    return text
