"""What the evidence in a request says: rules with the cases they were said of, and who writes which field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from langmem_dspy.simulation.advice import find_advice
from langmem_dspy.simulation.parsing import find_said, readable
from langmem_dspy.simulation.rules import Rule


@dataclass
class Claim:
    """A rule that someone asks for. `cases` are the trajectories it was said of, by id, as far as they have one."""

    rule: Rule
    times: int = 0
    cases: list[str] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)  # predictors the feedback names outright
    correction: bool = True  # only ever said of single cases

    def count(self, case: str, owner: str) -> None:
        self.times += 1
        for name, names in ((case, self.cases), (owner, self.owners)):
            if name and name not in names:
                names.append(name)


@dataclass
class Flow:
    """One step of a program as trajectories show it: the fields it reads and writes. `name` is "" if not told."""

    name: str
    reads: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)


def claims(text: str) -> list[Claim]:
    """The rules in `text`, and the advice in feedback and conclusions, each once, in the order they first come."""
    conclusion = text.startswith("[") and not _RAW.search(text)
    found: dict[Rule, Claim] = {}
    for case, owner, part in _cases(text):
        for said in find_said(part):
            claim = found.setdefault(said.rule, Claim(said.rule))
            claim.correction &= said.correction
            claim.count(case, owner)
        feedback = part if conclusion or owner else "\n".join(m[m.lastindex or 0] for m in _FEEDBACK.finditer(part))
        for advice in find_advice(feedback):
            found.setdefault(advice, Claim(advice, correction=False)).count(case, owner)
    return list(found.values())


def is_conclusion(text: str) -> bool:
    """Whether `text` is mostly rules: advice ready to be followed, rather than raw evidence to learn from."""
    if _RAW.search(text):
        return False
    lines = [line for line in re.split(r"\n|(?<=[.;]) ", readable(text)) if len(line.strip()) > 12]
    return bool(lines) and sum(bool(find_said(line)) for line in lines) * 2 >= len(lines)


# What cases are told apart by, and what they are made of.
_RAW = re.compile(
    r"<(?:trajectory|conversation|step|example|session)\b|^#+ (?:example|inputs?|feedback)"
    r"|^\W*(?:user|assistant|inputs?|(?:generated )?outputs?|score|examples? \d+)\W*:"
    r"|\"(?:inputs?|(?:generated )?outputs?|feedback|score|role|content|messages)\":",
    re.IGNORECASE | re.MULTILINE,
)
_CASE = re.compile(
    r"<trajectory id=\"([^\"]*)\"[^>]*>|^#+ Example (\d+)\b|^\{\"|^(?:Example|Case) (\d+)\b", re.MULTILINE
)
_FEEDBACK = re.compile(
    r"<feedback[^>]*>(.*?)</feedback>|^#+ Feedback[^\n]*\n(.*?)(?=^#|\Z)|\"feedback\": *\"((?:[^\"\\]|\\.)*)\"",
    re.DOTALL | re.IGNORECASE | re.MULTILINE,
)
_OWNED = re.compile(r"<feedback for=\"([^\"]+)\">(.*?)</feedback>", re.DOTALL)


def _cases(text: str) -> Iterator[tuple[str, str, str]]:
    """(case id or "", predictor the feedback is for or "", text) for each part of the evidence."""
    starts = [*_CASE.finditer(text)]
    bounds = [(0, "")] + [(m.start(), next(filter(None, m.groups()), "")) for m in starts]
    for (start, case), end in zip(bounds, [at for at, _ in bounds[1:]] + [len(text)], strict=True):
        part = text[start:end]
        for owner, said in _OWNED.findall(part):
            yield case, owner, said
        yield case, "", _OWNED.sub("", part)


# --- who writes which field ---

_STEP = re.compile(
    r"<step predictor=\"([^\"]+)\">\s*<inputs>\n(.*?)\n</inputs>\s*<outputs>\n(.*?)\n?</outputs>", re.DOTALL
)
_LINE_NAME = re.compile(r"^(\w+): ", re.MULTILINE)
_MARKDOWN_STEP = re.compile(
    r"^## Inputs\s*\n(.*?)^## (?:Generated )?Outputs\s*\n(.*?)(?=^##? |\Z)", re.DOTALL | re.MULTILINE
)
_MARKDOWN_NAME = re.compile(r"^### (\w+)\s*$", re.MULTILINE)


def flows(texts: Iterable[str]) -> list[Flow]:
    """The steps that stand in the texts, merged by name."""
    found: dict[str, Flow] = {}
    for text in texts:
        for name, reads, writes in _steps(text):
            flow = found.setdefault(name, Flow(name))
            flow.reads |= reads
            flow.writes |= writes
    return list(found.values())


def _steps(text: str) -> Iterator[tuple[str, set[str], set[str]]]:
    for name, inputs, outputs in _STEP.findall(text):
        yield name, set(_LINE_NAME.findall(inputs)), set(_LINE_NAME.findall(outputs))
    for inputs, outputs in _MARKDOWN_STEP.findall(text):
        yield "", set(_MARKDOWN_NAME.findall(inputs)), set(_MARKDOWN_NAME.findall(outputs))
    if text.lstrip().startswith(("[", "{")):
        yield from _json_steps(_json(text))


def _json(text: str) -> Any:
    try:
        return json.loads(text, strict=False)
    except ValueError:
        return None


def _json_steps(value: Any) -> Iterator[tuple[str, set[str], set[str]]]:
    if isinstance(value, list):
        for item in value:
            yield from _json_steps(item)
    elif isinstance(value, Mapping):
        sides: dict[str, set[str]] = {"input": set(), "output": set()}
        name = next((str(value[key]) for key in value if key.endswith(("module_name", "predictor", "name"))), "")
        for key, inner in value.items():
            for side, names in sides.items():
                if side in key.lower() and isinstance(inner, Mapping):
                    names |= {str(field) for field in inner}
        if sides["output"]:
            yield name, sides["input"], sides["output"]
