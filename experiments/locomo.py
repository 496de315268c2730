"""Conversations of LoCoMo (Maharana et al., 2024, arXiv:2402.17753), read from a file never shipped (CC BY-NC)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from langmem_dspy.errors import InputError

CATEGORIES = {1: "multi_hop", 2: "temporal", 3: "open_domain", 4: "single_hop", 5: "adversarial"}


@dataclass(frozen=True)
class Turn:
    """`position` counts from 0 within its session; `text` names its speaker, and says what an image showed."""

    id: str
    session: int
    position: int
    said_at: str
    text: str


@dataclass(frozen=True)
class Question:
    """`evidence`: ids of the turns that answer it. `answer` is "" for an adversarial one, which nothing answers."""

    text: str
    category: str
    evidence: frozenset[str]
    answer: str


@dataclass(frozen=True)
class Conversation:
    turns: tuple[Turn, ...]
    questions: tuple[Question, ...]


@lru_cache(maxsize=2)
def read(file: Path) -> tuple[Conversation, ...]:
    """The conversations, each with those of its questions whose evidence is known. Raises `InputError`."""
    try:
        return tuple(_conversation(sample) for sample in json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{file} is not LoCoMo's JSON, a list of conversations with their questions: {error}"
        ) from None


def _conversation(sample: Mapping[str, Any]) -> Conversation:
    turns = tuple(_turns(sample["conversation"]))
    ids = {turn.id for turn in turns}
    asked = (_question(one, ids) for one in sample["qa"])
    return Conversation(turns, tuple(question for question in asked if question.evidence))


def _turns(conversation: Mapping[str, Any]) -> list[Turn]:
    found, session = [], 1
    while f"session_{session}" in conversation:
        at = conversation[f"session_{session}_date_time"]
        for position, turn in enumerate(conversation[f"session_{session}"]):
            image = f" [image: {turn['blip_caption']}]" if turn.get("blip_caption") else ""
            found.append(Turn(turn["dia_id"], session, position, at, f"{turn['speaker']}: {turn['text']}{image}"))
        session += 1
    return found


def _question(asked: Mapping[str, Any], ids: set[str]) -> Question:
    evidence = frozenset(e for entry in asked["evidence"] for e in re.findall(r"D\d+:\d+", entry)) & ids
    return Question(asked["question"], CATEGORIES[asked["category"]], evidence, str(asked.get("answer", "")))
