"""The query writer: turns a conversation into search queries, made of its own words."""

from __future__ import annotations

import re
from typing import Any

from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.profiles import Profile
from langmem_dspy.simulation.questions import Question, Wanted
from langmem_dspy.simulation.roles.statements import content_words, user_turns

LONGEST_QUERY = 8  # words
MOST_QUERIES = 5
_QUERIES = re.compile(r"\b(?:search )?quer(?:y|ies)\b")


def plays(question: Question) -> bool:
    return _wanted(question) is not None and bool(question.inputs)


def answer(question: Question, profile: Profile, chance: Chance) -> dict[str, Any]:
    mine = _wanted(question)
    said = next((text for name, text in question.inputs.items() if "conversation" in name), None)
    text = said if said is not None else "\n".join(question.inputs.values())
    queries = [" ".join(words[:LONGEST_QUERY]) for turn in user_turns(text) if (words := content_words(turn))]
    queries = list(dict.fromkeys(queries))[-MOST_QUERIES:]
    return {
        wanted.name: (queries if wanted.kind == "array" else " ".join(queries)) if wanted == mine else ""
        for wanted in question.wanted
    }


def _wanted(question: Question) -> Wanted | None:
    if question.form in ("plain", "agent"):
        return None
    return next(
        (w for w in question.wanted if w.kind in ("array", "string") and _QUERIES.search(w.name.replace("_", " "))),
        None,
    )
