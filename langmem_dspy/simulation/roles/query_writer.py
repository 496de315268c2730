"""The query writer: turns a conversation into search queries, made of its own words and of what its prompt asks for."""

from __future__ import annotations

import re
from typing import Any

from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.parsing import find_rules
from langmem_dspy.simulation.profiles import Profile
from langmem_dspy.simulation.questions import Question, Wanted
from langmem_dspy.simulation.roles.statements import content_words, user_turns
from langmem_dspy.simulation.roles.worker import followed
from langmem_dspy.simulation.rules import mentions

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
    queries = [*_asked_for(question, mine, text, profile, chance), *dict.fromkeys(queries)][-MOST_QUERIES:]
    return {
        wanted.name: (queries if wanted.kind == "array" else " ".join(queries)) if wanted == mine else ""
        for wanted in question.wanted
    }


def _asked_for(question: Question, mine: Wanted | None, text: str, profile: Profile, chance: Chance) -> list[str]:
    """What rules in its prompt want the queries to mention, each as a query of its own."""
    fields = {name.lower(): value for name, value in question.inputs.items()}
    rules = followed(find_rules(question.instructions), profile, chance)
    field = mine.name.lower() if mine is not None else ""
    named = (rule for rule in rules if rule.field == field and rule.effect == "mention")
    return [rule.value for rule in named if rule.fires(fields) and not mentions(text, rule.value)]


def _wanted(question: Question) -> Wanted | None:
    if question.form in ("plain", "agent"):
        return None
    return next(
        (w for w in question.wanted if w.kind in ("array", "string") and _QUERIES.search(w.name.replace("_", " "))),
        None,
    )
