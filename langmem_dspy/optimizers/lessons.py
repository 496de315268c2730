"""Lessons: atomic, evidenced changes of prompts; and the ledger that knows every one of them and renders the prompts.

A prompt is its base text and the lessons in force. So edits are minimal, variables survive, each line can say why it is
there, a lesson can be taken out again, and none is tried twice for the same reason.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from langmem_dspy.optimizers.prompts import broken_by

MAX_TRIES = 2  # of one lesson
MAX_IDLE_TRIES = 4  # of one that changed nothing: what it waits for may come to pass when other prompts are right


@dataclass(frozen=True)
class Draft:
    """A proposed change: a line to add, or to put in the place of the line `replaces`; "" there takes that line out.

    `evidence`: ids of the trajectories that asked for it.
    """

    predictor: str
    text: str
    replaces: str = ""
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lesson(Draft):
    """A draft that was taken up. `gain`: what it was measured to add to the score of the examples it was tried on.

    `fate`: "trial", "in force", "idle" (changed nothing where it was tried), "rejected" or "dropped" (later evidence).
    """

    id: int = 0
    step: int = 0
    fate: str = "trial"
    gain: float = 0.0
    tried_on: tuple[str, ...] = ()
    note: str = ""


class Ledger:
    """All lessons of a run by id, in the order they came up, on top of the base prompts by predictor."""

    def __init__(self, base: Mapping[str, str]) -> None:
        self.base = dict(base)
        self.lessons: list[Lesson] = []
        self.in_force: tuple[int, ...] = ()
        self._tries: Counter[tuple[str, frozenset[str], str]] = Counter()
        self._idle: Counter[tuple[str, frozenset[str], str]] = Counter()

    def prompts(self, ids: Iterable[int] | None = None) -> dict[str, str]:
        """The prompts with these lessons; with those in force if None."""
        chosen = set(self.in_force if ids is None else ids)
        texts = dict(self.base)
        for lesson in self.lessons:
            if lesson.id in chosen:
                texts[lesson.predictor] = applied(texts[lesson.predictor], lesson)
        return texts

    def take_up(self, drafts: Iterable[Draft], step: int) -> list[Lesson]:
        """The drafts that are new and not yet tried too often, as lessons: on trial, or refused if they break a prompt.

        Why one is refused stands in its `note`.
        """
        current = self.prompts()
        fresh: list[Lesson] = []
        for draft in drafts:
            if draft.predictor not in current or self._known(draft, current[draft.predictor], fresh):
                continue
            text = current[draft.predictor]
            changed = applied(text, draft)
            if changed == text:
                continue
            problems = " ".join(broken_by(text, changed))
            self._tries[_identity(draft)] += 1
            lesson = Lesson(draft.predictor, draft.text, draft.replaces, draft.evidence, len(self.lessons), step)
            fresh.append(replace(lesson, fate="refused", note=problems) if problems else lesson)
            self.lessons.append(fresh[-1])
        return fresh

    def settle(self, lesson_id: int, fate: str, gain: float, tried_on: Iterable[str]) -> None:
        """Write down what became of a lesson; those "in force" are part of the prompts from now on."""
        lesson = self.lessons[lesson_id]
        self.lessons[lesson_id] = replace(lesson, fate=fate, gain=gain, tried_on=tuple(tried_on))
        if fate == "idle" and self._idle[_identity(lesson)] < MAX_IDLE_TRIES:
            self._idle[_identity(lesson)] += 1
            self._tries[_identity(lesson)] -= 1
        kept = [known for known in self.in_force if known != lesson_id]
        self.in_force = (*kept, lesson_id) if fate == "in force" else tuple(kept)

    def reconsider(self, predictor: str) -> None:
        """Let lessons of this predictor be tried again: what stood against them has gone."""
        for identity in self._tries:
            if identity[0] == predictor:
                self._tries[identity] = 0

    def _known(self, draft: Draft, text: str, fresh: Iterable[Lesson]) -> bool:
        identity = _identity(draft)
        if self._tries[identity] >= MAX_TRIES or any(_identity(lesson) == identity for lesson in fresh):
            return True
        return not draft.replaces and any(salient(line) == identity[1] for line in text.splitlines() if line.strip())


def applied(text: str, change: Draft) -> str:
    """`text` with the change made: a line added at the end, put in another's place, or taken out."""
    lines = text.splitlines()
    line = " ".join(change.text.split())
    if change.replaces:
        at = next((i for i, old in enumerate(lines) if old.strip() == change.replaces.strip()), None)
        if at is None:
            return text
        return "\n".join(lines[:at] + ([line] if line else []) + lines[at + 1 :])
    if not line:
        return text
    listed = any(old.startswith(("- ", "* ")) for old in lines)
    bullet = "- " if listed and not line.startswith(("- ", "* ")) else ""
    return f"{text}\n{bullet}{line}" if text.strip() else line


def drafts_of_rewrite(predictor: str, before: str, after: str, evidence: tuple[str, ...]) -> list[Draft]:
    """A whole rewrite taken apart into its changed lines; an added line that resembles a removed one replaces it."""
    old, new = before.splitlines(), after.splitlines()
    drafts: list[Draft] = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        removed = [line for line in old[i1:i2] if line.strip()]
        for line in filter(str.strip, new[j1:j2]):
            near = difflib.get_close_matches(line, removed, n=1, cutoff=0.6)
            if near:
                removed.remove(near[0])
            drafts.append(Draft(predictor, line, near[0] if near else "", evidence))
        drafts += [Draft(predictor, "", line, evidence) for line in removed]
    return drafts


_SMALL = """a an and are as at be by for from in is it of on or the this that to when whenever where which with if then
must should always use set has have your you its was were will"""
_STOP = frozenset(_SMALL.split())


def salient(text: str) -> frozenset[str]:
    """What a line is about: its quoted parts where it has two or more, else its words, without the small ones.

    Two lines with the same salient parts say the same in other words, as far as can be told without a model.
    """
    quoted = frozenset(a or b for a, b in re.findall(r"\"([^\"]+)\"|`([^`]+)`", text))
    if len(quoted) > 1:
        return quoted
    return quoted | frozenset(re.findall(r"\w+", text.lower())) - _STOP


def _identity(draft: Draft) -> tuple[str, frozenset[str], str]:
    return draft.predictor, salient(draft.text), draft.replaces.strip()
