"""A prompt written anew: old lines kept, new rules worked in, and the slips of a model that writes by heart."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.parsing import find_rules
from langmem_dspy.simulation.phrasing import phrase
from langmem_dspy.simulation.profiles import Profile
from langmem_dspy.simulation.rules import Rule

_VARIABLE = re.compile(r"(?<!\{)\{(\w+)\}(?!\})")
_KEEP = r"(?:keep|kept|preserv\w*|retain\w*|copy|exact\w*|verbatim|surviv\w*|intact|missing|must not (?:change|be))"
_BRACES = r"(?:\{|placeholder|variable|brace|template)"
_TOLD_VARIABLES = re.compile(rf"\b{_KEEP}\b[^.\n]{{0,80}}{_BRACES}|{_BRACES}[^.\n]{{0,80}}\b{_KEEP}\b", re.IGNORECASE)
_TOLD_LINES = re.compile(
    r"\b(?:keep|preserve|leave|retain)\b[^.\n]{0,40}\b(?:lines?|rest|other|unchanged|as (?:it|they) (?:is|are))\b"
    r"|\bchange only\b|\bminimal\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Care:
    """What the request says must be kept."""

    variables: bool
    lines: bool


def care(task: str) -> Care:
    """How careful the words of the task ask one to be."""
    return Care(bool(_TOLD_VARIABLES.search(task)), bool(_TOLD_LINES.search(task)))


def rewrite(text: str, rules: Sequence[Rule], profile: Profile, chance: Chance, careful: Care) -> str:
    """`text` with `rules` in it; a line that contradicts one of them gives way to it."""
    lines = [line for i, line in enumerate(text.split("\n")) if _kept(line, i, profile, chance, careful)]
    for rule in rules:
        lines = _worked_in(lines, rule, chance)
    return _variables_slipped("\n".join(lines), profile, chance, careful)


def restored(text: str, original: str) -> str:
    """`text` with the variables of `original` it lacks put back in their lines, and new braces taken away."""
    wanted, there = set(_VARIABLE.findall(original)), set(_VARIABLE.findall(text))
    lines = text.split("\n")
    for line in original.split("\n"):
        if {name for name in _VARIABLE.findall(line) if name in wanted - there}:
            like = difflib.get_close_matches(line, lines, n=1, cutoff=0.5)
            lines[lines.index(like[0]) if like else 0 : lines.index(like[0]) + 1 if like else 0] = [line]
    return _VARIABLE.sub(lambda m: m.group(0) if m.group(1) in wanted else m.group(1), "\n".join(lines))


def _kept(line: str, number: int, profile: Profile, chance: Chance, careful: Care) -> bool:
    if not line.strip() or (careful.variables and _VARIABLE.search(line)):
        return True
    return not chance.happens(profile.lose_line * (0.2 if careful.lines else 1), "lose line", number, line)


def _worked_in(lines: list[str], rule: Rule, chance: Chance) -> list[str]:
    bullet = "- " if any(line.startswith("- ") for line in lines) else ""
    sentence = bullet + phrase(rule, int(chance.number("style", rule) * 12))
    for i, line in enumerate(lines):
        if any(old.contradicts(rule) for old in find_rules(line)):
            return [*lines[:i], sentence, *lines[i + 1 :]]
    end = max((i for i, line in enumerate(lines) if line.strip()), default=-1) + 1
    return [*lines[:end], sentence, *lines[end:]]


def _variables_slipped(text: str, profile: Profile, chance: Chance, careful: Care) -> str:
    slip = 0.0 if careful.variables else profile.lose_variable

    def written(match: re.Match[str]) -> str:
        name = match.group(1)
        return f"the {name.replace('_', ' ')}" if chance.happens(slip, "lose variable", name) else match.group(0)

    return _VARIABLE.sub(written, text)
