"""Who answers a question: the first role that says it plays, told from the question alone.

A role is a module with `plays(question) -> bool` and `answer(question, profile, chance) -> dict`, the values of the
wanted outputs by name. The worker comes last and plays everything.
"""

from __future__ import annotations

from typing import Any

from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.profiles import Profile
from langmem_dspy.simulation.questions import Question
from langmem_dspy.simulation.roles import agent, extractor, query_writer, reviewer, worker

ROLES = {"extractor": extractor, "query_writer": query_writer, "reviewer": reviewer, "agent": agent, "worker": worker}


def play(question: Question, profile: Profile, chance: Chance) -> dict[str, Any]:
    """A value for each wanted output."""
    return ROLES[role_of(question)].answer(question, profile, chance)


def role_of(question: Question) -> str:
    """The name of the role that answers."""
    return next(name for name, role in ROLES.items() if role.plays(question))
