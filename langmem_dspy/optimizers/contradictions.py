"""Feedback that contradicts itself: found by its words alone, and shown, since only its author can settle it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from langmem_dspy.optimizers.lessons import DENIALS, salient
from langmem_dspy.optimizers.tracing import said_about
from langmem_dspy.optimizers.trajectories import Trajectory

_GROUNDS = re.compile(r"\b(?:if|when|whenever|where|in case|because)\b([^,;]*)", re.IGNORECASE)
_QUOTED = re.compile(r"\"([^\"]+)\"|`([^`]+)`|“([^”]+)”")


@dataclass(frozen=True)
class Contradiction:
    """Two things that feedback says and that cannot both be so, each with the examples it was said of."""

    first: str
    second: str
    first_examples: tuple[str, ...]
    second_examples: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.first!r} ({_counted(self.first_examples)}) against "
            f"{self.second!r} ({_counted(self.second_examples)})"
        )


def _counted(examples: tuple[str, ...]) -> str:
    shown = ", ".join(examples[:3])
    return f"said of {shown}" if len(examples) <= 3 else f"said of {shown} and {len(examples) - 3} more"


class SaidSoFar:
    """Every sentence of feedback so far, with the examples it was said of."""

    def __init__(self) -> None:
        self._said: dict[str, dict[str, None]] = {}
        self._claims: dict[str, _Claim | None] = {}
        self._known: set[tuple[str, str]] = set()

    def add(self, trajectories: Iterable[Trajectory]) -> list[Contradiction]:
        """Take these in; returns the contradictions that show for the first time."""
        for trajectory in trajectories:
            for sentence in map(str.strip, said_about(trajectory)):
                self._said.setdefault(sentence, {})[trajectory.id] = None
                self._claims.setdefault(sentence, _claim(sentence))
        fresh = [c for c in self.contradictions() if (c.first, c.second) not in self._known]
        self._known |= {(c.first, c.second) for c in fresh}
        return fresh

    def contradictions(self) -> list[Contradiction]:
        """All of them, each pair of different statements once."""
        about: dict[tuple[frozenset[str], frozenset[str]], dict[_Claim, str]] = {}
        pairs: list[tuple[str, str]] = []
        for sentence, claim in self._claims.items():
            if claim is not None:
                known = about.setdefault((claim.grounds, claim.fields), {})
                pairs += [(quote, sentence) for other, quote in known.items() if claim.against(other)]
                known.setdefault(claim, sentence)
        return [Contradiction(*pair, *(tuple(self._said[quote]) for quote in pair)) for pair in pairs]


@dataclass(frozen=True)
class _Claim:
    """A statement as far as its words tell: on which grounds it says what about which fields, and whether it denies.

    `place`: where in the field; "" is all of it, and "among" leaves room for other things beside.
    """

    grounds: frozenset[str]
    fields: frozenset[str]
    says: frozenset[str]
    place: str
    denies: bool

    def against(self, other: _Claim) -> bool:
        """Whether both cannot be so, given that their grounds and fields are the same.

        What one denies the other says; or they want two things in one place. Without grounds that is no contradiction:
        it may be right in two cases.
        """
        if self.denies != other.denies:
            return self.says == other.says
        alone = self.place == other.place != "among" and len(self.says) == len(other.says)
        return bool(self.grounds and self.fields) and not self.denies and alone and self.says != other.says


_PLACES = {
    **dict.fromkeys(("start", "started", "begin", "begun", "open", "opened"), "start"),
    **dict.fromkeys(("end", "ended", "close", "closed", "finish"), "end"),
    **dict.fromkeys(("mention", "mentioned", "include", "included", "contain", "contained", "add", "say"), "among"),
}


def _claim(sentence: str) -> _Claim | None:
    """None for what says nothing definite: no quoted value, and fewer than two words that are about something."""
    found = _GROUNDS.search(sentence)
    order = sentence[: found.start()] + sentence[found.end() :] if found else sentence
    words = re.findall(r"\w+", order.lower())
    quotes = _QUOTED.findall(order)
    values = frozenset(plain or curly for plain, _, curly in quotes if plain or curly)
    says = values or salient(order) - DENIALS
    if not values and len(says) < 2:
        return None
    return _Claim(
        grounds=salient(found.group(1)) if found else frozenset(),
        fields=frozenset(field for _, field, _ in quotes if field),
        says=says,
        place=next((_PLACES[word] for word in words if word in _PLACES), ""),
        denies=not DENIALS.isdisjoint(words),
    )
