"""Narrowing lessons that say too much: in their place goes what the examples that need them ask for without them.

While a lesson is in force, nobody complains where it is right, and so nobody says on what grounds. What a case of need
says without it has the grounds; where that does as well, it stands, since a line with grounds spoils less elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from langmem_dspy.optimizers.acceptance import Effect
from langmem_dspy.optimizers.lessons import Draft, Ledger, Lesson, salient
from langmem_dspy.optimizers.rollouts import Board, Rollout
from langmem_dspy.optimizers.tracing import ran, relevance
from langmem_dspy.optimizers.trajectories import Trajectory
from langmem_dspy.optimizers.trials import RollOut, gain_on

CASES_OF_NEED = 4  # examples to run without a lesson, for what it was needed
CONTROLS = 6  # further examples on which what takes its place must do as well

Look = Callable[[str, Mapping[str, str], Sequence[Trajectory]], list[Draft]]  # predictor, prompts, evidence


@dataclass(frozen=True)
class Narrower:
    """Lessons on trial that say more than another, what they are to stand in for, and the examples to try it on."""

    wide: Lesson
    lessons: tuple[Lesson, ...]
    examples: tuple[str, ...]


@dataclass
class Narrowing:
    """Looks at each lesson in force that may say too much once a round, at fewer cases of need each time.

    Asked in the same words, a model says the same again.
    """

    ledger: Ledger
    looks: Counter[int] = field(default_factory=Counter)  # by lesson

    def proposed(
        self,
        step: int,
        rounds: int,
        failing: Board,
        board: Board,
        effects: Iterable[Effect],
        roll_out: RollOut,
        look: Look,
    ) -> Narrower | None:
        """The first lesson that something narrower was found for; first those that an effect shows to do harm."""
        for lesson in [*harmed(effects, failing), *saying_least(self.ledger)]:
            looks = self.looks[lesson.id]
            if looks >= rounds or not any(ran(lesson.predictor, r.trajectory) for r in failing.values()):
                continue
            self.looks[lesson.id] += 1
            cases = dict(list(needed(self.ledger, lesson, board, roll_out).items())[looks:])
            if cases and (fresh := self._lessons(step, lesson, cases, look)):
                others = [name for name in dict.fromkeys((*failing, *board)) if name not in cases]
                return Narrower(lesson, fresh, (*cases, *others[:CONTROLS]))
        return None

    def put_in_place(self, idle: Iterable[Lesson], board: Board, roll_out: RollOut) -> list[Board]:
        """Put each of these that did nothing only because a wider one said as much in its place; the runs with it."""
        found: list[Board] = []
        for lesson in idle:
            now = {name: run for runs in (board, *found) for name, run in runs.items()}
            if (wide := self._wider(lesson)) is not None:
                cases = needed(self.ledger, wide, now, roll_out)
                others = [name for name in dict.fromkeys((*lesson.evidence, *now)) if name in now and name not in cases]
                runs = self.settled(Narrower(wide, (lesson,), (*cases, *others[:CONTROLS])), now, roll_out)
                found += [runs] if runs else []
        return found

    def _wider(self, lesson: Lesson) -> Lesson | None:
        """The lesson in force whose line this one is to replace, and that it says more than."""
        own = [self.ledger.lessons[i] for i in self.ledger.in_force]
        wider = [o for o in own if o.predictor == lesson.predictor and salient(o.text) < salient(lesson.text)]
        return next((o for o in wider if self.ledger.line_of(o) == lesson.replaces), None)

    def _lessons(self, step: int, wide: Lesson, cases: Board, look: Look) -> tuple[Lesson, ...]:
        others = self.ledger.prompts(i for i in self.ledger.in_force if i != wide.id)
        found = look(wide.predictor, others, [rollout.trajectory for rollout in cases.values()])
        drafts = in_its_place(found, wide, self.ledger.line_of(wide) or "", tuple(cases))
        return tuple(known for known in self.ledger.take_up(drafts, step) if known.fate == "trial")

    def settled(self, narrower: Narrower, board: Board, roll_out: RollOut) -> dict[str, Rollout]:
        """The runs with the narrower lessons, which are in force then; none if they do not do as well."""
        fresh = [lesson.id for lesson in narrower.lessons]
        others = [i for i in self.ledger.in_force if i != narrower.wide.id]
        instead = dict(roll_out(self.ledger.prompts((*others, *fresh)), narrower.examples))
        gain = sum(gain_on(board, instead, name) for name in instead)
        kept = bool(instead) and gain > -1e-9
        for lesson_id in fresh:
            self.ledger.settle(lesson_id, "in force" if kept else "rejected", gain, instead)
        return instead if kept else {}


def harmed(effects: Iterable[Effect], board: Board) -> list[Lesson]:
    """Lessons without which one of the examples went better."""
    return [e.lesson for e in effects if any(n in board and gain_on(board, e.without, n) > 0 for n in e.examples[:1])]


def saying_least(ledger: Ledger) -> list[Lesson]:
    """Lessons in force that say less than another line about the same in their prompt, those that say least first."""
    own = [ledger.lessons[i] for i in ledger.in_force]
    about = {lesson.id: salient(lesson.text) for lesson in own}

    def says_less(lesson: Lesson) -> bool:
        mine = about[lesson.id]
        alike = [about[o.id] for o in own if o.predictor == lesson.predictor and mine & about[o.id]]
        return any(len(mine) < len(other) for other in alike)

    return sorted(filter(says_less, own), key=lambda lesson: len(about[lesson.id]))


def needed(ledger: Ledger, lesson: Lesson, board: Board, roll_out: RollOut) -> dict[str, Rollout]:
    """Runs without the lesson of examples that went well with it and do not go well without."""
    well = [n for n, r in board.items() if (r.score or 0.0) > 0 and ran(lesson.predictor, r.trajectory)]
    well.sort(key=lambda n: -relevance(lesson.text, board[n].trajectory, board[n].trajectory))
    without = roll_out(ledger.prompts(i for i in ledger.in_force if i != lesson.id), well[:CASES_OF_NEED])
    return {n: r for n, r in without.items() if (r.score or 0.0) < (board[n].score or 0.0) - board[n].doubt}


def in_its_place(drafts: Iterable[Draft], lesson: Lesson, line: str, evidence: tuple[str, ...]) -> list[Draft]:
    """Those of the drafts that say more than the lesson about the same, to be put in the place of its line."""
    about = salient(lesson.text)
    more = [d for d in drafts if d.text and about < salient(d.text)]
    return [replace(d, predictor=lesson.predictor, replaces=line, evidence=evidence) for d in more]


def needed_more(ledger: Ledger, effect: Effect, board: Board, roll_out: RollOut) -> bool:
    """Whether other examples would lose more by going without the lesson than those of its effect would gain."""
    cases = needed(ledger, effect.lesson, board, roll_out)
    return sum(gain_on(cases, board, name) for name in cases) >= max(-effect.gain, 1e-9)
