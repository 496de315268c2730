"""Advice in plain words ("Always offer to look the order up."), which the simulation restates and cannot follow.

It stands apart from rules on purpose: a program gets better by rules alone, so nothing that is only restated can look
like progress.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from langmem_dspy.simulation.parsing import LONGEST_SENTENCE, find_said, readable
from langmem_dspy.simulation.rules import Rule

_ORDER = re.compile(
    r"(?:please )?(?:(?:always|never|do not|don't|avoid|be|make sure|remember|try|prefer)"
    r"|add|answer|apologi[sz]e|ask|check|cite|confirm|end|explain|focus|follow|format|give|greet|include|keep|limit|list"
    r"|mention|offer|provide|quote|refer|reply|respond|say|show|speak|start|state|stay|stop|suggest|summari[sz]e|tell"
    r"|thank|translate|use|write)\b",
    re.IGNORECASE,
)
_DUTY = re.compile(r"\b(?:should|must|ought to|needs? to)\b(?! (?:not )?have\b)", re.IGNORECASE)
_LEAD = re.compile(r"^\W*(?:\w[\w ]{0,39}: *)?(?:\d+[.)] *)?")
_WORDS = re.compile(r"[^\W\d_]{4,}")


def find_advice(text: str) -> list[Rule]:
    """The orders in `text` that are no rules, in order, each once."""
    sentences = (s for line in _lines(text) for s in re.split(r"(?<=[.!?;])\s+", line))
    said = (_LEAD.sub("", sentence).strip() for sentence in sentences if len(sentence) <= LONGEST_SENTENCE)
    return [
        Rule("", "advice", sentence if sentence[-1] in ".!" else f"{sentence.rstrip(',;')}.")
        for sentence in dict.fromkeys(said)
        if " " in sentence and _is_order(sentence) and not find_said(sentence)
    ]


def shared_words(advice: Rule, text: str) -> int:
    """How many words of some length the advice has in common with `text`."""
    return len(_content(advice.value) & _content(text))


def _lines(text: str) -> Iterator[str]:
    for line in readable(text).splitlines():
        yield from (str(item) for item in _listed(line))


def _listed(line: str) -> list[Any]:
    """The items of a JSON list that stands on one line; the line itself if it is none."""
    try:
        return list(json.loads(line)) if line.startswith("[") else [line]
    except ValueError:
        return [line]


def _is_order(sentence: str) -> bool:
    return not sentence.endswith("?") and bool(_ORDER.match(sentence) or _DUTY.search(sentence))


def _content(text: str) -> set[str]:
    return {word.lower() for word in _WORDS.findall(text)}
