"""Lessons: atomic, evidenced changes of prompts; and the ledger that knows every one of them and renders the prompts.

A prompt is its base text and the lessons in force. So edits are minimal, variables survive, each line can say why it is
there, a lesson can be taken out again, and none is tried twice for the same reason.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from langmem_dspy.optimizers.prompts import broken_by

MAX_TRIES = 2  # of one lesson
MAX_IDLE_TRIES = 4  # of one that changed nothing: what it waits for may come to pass when other prompts are right


Identity = tuple[str, frozenset[str], str]  # predictor, what it is about, the line it replaces


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
    """A draft with what became of it. `gain`: what it was measured to add to the score of the examples it was tried on.

    `fate`: "trial" (not finished: a fault or the budget came between), "in force", "idle" (changed nothing where it was
    tried), "rejected", "dropped" (later evidence), "replaced" (by one that says more) or "refused" (never tried).
    `note`: why. `proposed`: how often it came up.
    """

    id: int = 0
    step: int = 0
    fate: str = "trial"
    gain: float = 0.0
    tried_on: tuple[str, ...] = ()
    note: str = ""
    proposed: int = 1


class Ledger:
    """All lessons of a run by id, in the order they came up, on top of the base prompts by predictor.

    Prompts named in `frozen` never change.
    """

    def __init__(self, base: Mapping[str, str], frozen: Iterable[str] = ()) -> None:
        self.base, self.frozen = dict(base), frozenset(frozen)
        self.lessons: list[Lesson] = []
        self.in_force: tuple[int, ...] = ()
        self._tries: Counter[Identity] = Counter()
        self._idle: Counter[Identity] = Counter()
        self._drops: Counter[Identity] = Counter()

    @classmethod
    def restored(
        cls, base: Mapping[str, str], frozen: Iterable[str], lessons: Iterable[Lesson], in_force: Iterable[int]
    ) -> Ledger:
        """The ledger that had written down these lessons, ids in order from 0; it tries none of them once too often."""
        ledger = cls(base, frozen)
        ledger.lessons, ledger.in_force = list(lessons), tuple(in_force)
        for lesson in ledger.lessons:
            identity = _identity(lesson)
            idle = lesson.fate == "idle" and ledger._idle[identity] < MAX_IDLE_TRIES
            ledger._idle[identity] += idle
            ledger._tries[identity] += lesson.fate != "refused" and not idle
            ledger._drops[identity] += lesson.fate == "dropped"
        return ledger

    def prompts(self, ids: Iterable[int] | None = None) -> dict[str, str]:
        """The prompts with these lessons; with those in force if None."""
        chosen = set(self.in_force if ids is None else ids)
        texts = dict(self.base)
        for lesson in self.lessons:
            if lesson.id in chosen:
                texts[lesson.predictor] = applied(texts[lesson.predictor], lesson)
        return texts

    def take_up(self, drafts: Iterable[Draft], step: int) -> list[Lesson]:
        """The drafts not known yet, or worth another try, as lessons: on trial, or refused with the reason in `note`.

        Of one that is known no second record is made; it counts as proposed once more.
        """
        texts = self.prompts()
        fresh: list[Lesson] = []
        for draft in map(self._narrowing, drafts):
            identity = _identity(draft)
            note = self._against(draft, texts.get(draft.predictor))
            known = self._last(identity)
            if known is not None and self._nothing_new(known, note, fresh):
                self.lessons[known.id] = replace(known, proposed=known.proposed + 1)
                continue
            lesson = Lesson(
                draft.predictor, draft.text, draft.replaces, draft.evidence, len(self.lessons), step, note=note
            )
            self.lessons.append(replace(lesson, fate="refused") if note else lesson)
            self._tries[identity] += not note
            fresh.append(self.lessons[-1])
        return fresh

    def settle(self, lesson_id: int, fate: str, gain: float, tried_on: Iterable[str], note: str = "") -> None:
        """Write down what became of a lesson; those "in force" are part of the prompts from now on."""
        lesson = self.lessons[lesson_id]
        self.lessons[lesson_id] = replace(lesson, fate=fate, gain=gain, tried_on=tuple(tried_on), note=note)
        if fate == "idle" and self._idle[_identity(lesson)] < MAX_IDLE_TRIES:
            self._idle[_identity(lesson)] += 1
            self._tries[_identity(lesson)] -= 1
        self.in_force = tuple(known for known in self.in_force if known != lesson_id)
        if fate == "in force":
            self._retire(lesson)
            self.in_force += (lesson_id,)

    def go_back(self, in_force: Iterable[int], note: str) -> None:
        """Put these lessons in force and no others; why stands in the `note` of each that this changes."""
        wanted = tuple(in_force)
        for lesson_id in sorted({*wanted} ^ {*self.in_force}):
            fate = "in force" if lesson_id in wanted else "dropped"
            self.lessons[lesson_id] = replace(self.lessons[lesson_id], fate=fate, note=note)
        self.in_force = wanted

    def line_of(self, lesson: Lesson) -> str | None:
        """The line of the prompt that comes from this lesson, as it stands there; None if there is none."""
        lines = origins(self.base[lesson.predictor], self.prompts()[lesson.predictor], self._own(lesson.predictor))
        return next((line for line, known in lines if known is not None and known.id == lesson.id), None)

    def _retire(self, lesson: Lesson) -> None:
        """Take out the lesson whose line this one stands in the place of."""
        for known in self._own(lesson.predictor):
            if lesson.replaces and _bare(_line(known)) == _bare(lesson.replaces):
                self.lessons[known.id] = replace(known, fate="replaced", note=f"by lesson {lesson.id}")
                self.in_force = tuple(other for other in self.in_force if other != known.id)

    def _own(self, predictor: str) -> list[Lesson]:
        return [self.lessons[i] for i in self.in_force if self.lessons[i].predictor == predictor]

    def reconsider(self, dropped: Lesson) -> None:
        """Let the lessons of its predictor be tried again: what stood against them has gone. Itself only once more."""
        self._drops[_identity(dropped)] += 1
        for identity in self._tries:
            if identity[0] == dropped.predictor:
                self._tries[identity] = 0 if self._drops[identity] < MAX_TRIES else MAX_TRIES

    def _narrowing(self, draft: Draft) -> Draft:
        """The draft in the place of a lesson in force that it says again with more to it, such as a condition.

        Beside the wider one it could show no effect, and the wider one would stay.
        """
        if draft.replaces or draft.predictor not in self.base:
            return draft
        about = salient(draft.text)
        own = self._own(draft.predictor)
        for line, lesson in origins(self.base[draft.predictor], self.prompts()[draft.predictor], own):
            if lesson is not None and salient(lesson.text) and salient(lesson.text) < about:
                return replace(draft, replaces=line)
        return draft

    def _against(self, draft: Draft, text: str | None) -> str:
        """Why a draft cannot be tried at all; "" if it can."""
        if text is None:
            return f"no prompt is named {draft.predictor!r}"
        if draft.predictor in self.frozen:
            return "this prompt may not change"
        lines = [line for line in text.split("\n") if line.strip()]
        if not draft.replaces and any(salient(line) == salient(draft.text) for line in lines):
            return "the prompt says so already"
        if draft.replaces and _place(lines, draft) is None:
            return "the line it would replace is not in the prompt"
        changed = applied(text, draft)
        return "it changes nothing" if changed == text else " ".join(broken_by(text, changed))

    def _last(self, identity: Identity) -> Lesson | None:
        return next((lesson for lesson in reversed(self.lessons) if _identity(lesson) == identity), None)

    def _nothing_new(self, known: Lesson, note: str, fresh: Iterable[Lesson]) -> bool:
        if note:
            return known.note == note or known.fate == "in force"
        return self._tries[_identity(known)] >= MAX_TRIES or any(lesson.id == known.id for lesson in fresh)


def applied(text: str, change: Draft) -> str:
    """`text` with the change made: a line added at the end, put in another's place, or taken out.

    A line whose place is gone, since the lesson that had brought the other in was dropped, is added.
    """
    lines = text.split("\n")  # not splitlines, which would take further characters for line ends, and change them
    line = _line(change)
    if change.replaces and (at := _place(lines, change)) is not None:
        return "\n".join(lines[:at] + ([_bulleted(line, lines[at : at + 1])] if line else []) + lines[at + 1 :])
    if not line:
        return text
    body = text.rstrip("\n")
    return f"{body}\n{_bulleted(line, lines)}{text[len(body) :]}" if text.strip() else line


def _bulleted(line: str, among: Sequence[str]) -> str:
    listed = any(old.startswith(("- ", "* ")) for old in among)
    return f"- {line}" if listed and not line.startswith(("- ", "* ")) else line


def _place(lines: Sequence[str], change: Draft) -> int | None:
    return next((i for i, old in enumerate(lines) if old.strip() == change.replaces.strip()), None)


def origins(base: str, text: str, lessons: Iterable[Lesson]) -> list[tuple[str, Lesson | None]]:
    """Each line of `text` with the lesson that it comes from; None for the lines of `base`."""
    left = Counter(base.split("\n"))
    by_line = {_bare(_line(lesson)): lesson for lesson in sorted(lessons, key=lambda known: known.fate == "in force")}
    found: list[tuple[str, Lesson | None]] = []
    for line in text.split("\n"):
        found.append((line, None if left[line] else by_line.get(_bare(line))))
        left[line] -= left[line] > 0
    return found


def _line(change: Draft) -> str:
    """The text of a change as one line; its indentation is kept."""
    parts = change.text.rstrip().splitlines()
    return parts[0] if len(parts) == 1 else " ".join(part.strip() for part in parts)


def _bare(line: str) -> str:
    return re.sub(r"^\s*[-*] ", "", line).strip()


def drafts_of_rewrite(predictor: str, before: str, after: str, evidence: tuple[str, ...]) -> list[Draft]:
    """A whole rewrite taken apart into its changed lines; an added line that resembles a removed one replaces it."""
    old, new = before.split("\n"), after.split("\n")
    drafts: list[Draft] = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        # A line that only moved is no change: order is nothing that a lesson could say.
        removed = [line for line in old[i1:i2] if line.strip() and line not in new]
        for line in (line for line in new[j1:j2] if line.strip() and line not in old):
            near = difflib.get_close_matches(line, removed, n=1, cutoff=0.6)
            if near:
                removed.remove(near[0])
            drafts.append(Draft(predictor, line, near[0] if near else "", evidence))
        drafts += [Draft(predictor, "", line, evidence) for line in removed]
    return drafts


_SMALL = """a an and are as at be by for from in is it of on or the this that to when whenever where which with if then
must should always use set has have your you its was were will"""
_STOP = frozenset(_SMALL.split())
DENIALS = frozenset(("not", "never", "no", "without", "t", "avoid"))  # "t" as in "don't"


# A quoted part, or what parts one clause from the next: grounds from what follows of them.
_PART = re.compile(
    r"\"([^\"]+)\"|`([^`]+)`|(,|\b(?:if|when|whenever|where|wherever|because|unless|while)\b)", re.IGNORECASE
)


def salient(text: str) -> frozenset[str]:
    """What a line is about: its quoted parts where it has two or more, and whether it denies; else its words.

    Parts of one clause count together too: "b" where "a" is not "a" where "b". Two lines with the same salient parts
    say the same in other words, as far as can be told without a model.
    """
    clauses: list[set[str]] = [set()]
    for double, back, cut in _PART.findall(text):
        if cut:
            clauses.append(set())
        else:
            clauses[-1].add(double or back)
    quoted = frozenset().union(*clauses)
    if len(quoted) < 2:
        return quoted | frozenset(re.findall(r"\w+", text.lower())) - _STOP
    around = re.findall(r"\w+", re.sub(r"\"[^\"]+\"|`[^`]+`", "", text.lower()))
    together = {" ".join(sorted(parts)) for parts in clauses if len(parts) > 1}
    return quoted | together | frozenset({"not"} if DENIALS.intersection(around) else ())


def _identity(draft: Draft) -> Identity:
    return draft.predictor, salient(draft.text), draft.replaces.strip()
