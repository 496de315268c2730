"""The trial of new prompts on the regression set: what was right, and what was complained of, must not get worse.

An observation is compared with how it was when it was last seen, under the prompts of that time; those steps are
remembered, so only the new side costs calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from langmem_dspy.optimizers.lessons import Ledger, Lesson
from langmem_dspy.optimizers.observations import Observation
from langmem_dspy.optimizers.replaying import Replays, asks
from langmem_dspy.optimizers.rollouts import Board, Rollout
from langmem_dspy.optimizers.tracing import relevance
from langmem_dspy.optimizers.trials import effect_of, gain_on

WITNESSES = 3  # observations that may outweigh one that got worse
RIGHT_WEIGHS = 2.0  # complaints: a run said to be right is given up for more than these
ASKED_FOR = 0.4  # likeness of a complaint and a lesson from which on it is taken to ask for it


@dataclass
class RegressionTest:
    """`known`: what there is to try on. `texts`: the prompts of every version. `controls`: observations a trial."""

    ledger: Ledger
    replays: Replays
    known: Mapping[str, Observation]
    texts: Mapping[int, Mapping[str, str]]
    controls: int
    before: dict[str, Rollout] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def standing(
        self, found: Sequence[Lesson], in_force: Sequence[int], dropped: Sequence[Lesson]
    ) -> tuple[list[Lesson], dict[str, Rollout]]:
        """The lessons that stand, and the rollouts with them; those that make something worse are settled."""
        lessons = list(found)
        tested = self._chosen([*found, *dropped])
        for observation in tested:
            self.before |= self.replays.roll_out(self.texts[observation.version], [observation])
        while True:
            ids = (*in_force, *(lesson.id for lesson in lessons))
            board = dict(self.replays.roll_out(self.ledger.prompts(ids), tested))
            culprit = self._culprit(lessons, ids, board)
            if culprit is None:
                return lessons, board
            lessons.remove(culprit)

    def scores(self, board: Board) -> tuple[float, float] | None:
        """The mean score before and on this board, of what is on both."""
        both = [name for name in board if name in self.before]
        if not both:
            return None
        return _mean(self.before, both), _mean(board, both)

    def _chosen(self, lessons: Sequence[Lesson]) -> list[Observation]:
        """For each lesson the run said to be right that is most about the same, then whatever else is.

        Of right runs up to twice `controls` are taken: they are what one wrong complaint is told by.
        """
        tried_on = {name for lesson in lessons for name in lesson.tried_on}
        others = [o for o in self.known.values() if self.replays.can_judge(o) and o.id not in tried_on]
        right = [o for o in others if o.right]
        chosen: dict[str, Observation] = {}
        for lesson in lessons:
            nearest = max(right, key=lambda o, of=lesson: _about(of, o), default=None)  # type: ignore[misc]
            if nearest is not None and len(chosen) < 2 * self.controls:
                chosen[nearest.id] = nearest
        orders = [sorted(others, key=lambda o, of=lesson: -_about(of, o)) for lesson in lessons]  # type: ignore[misc]
        for nth in range(len(others)):
            for order in orders:
                if len(chosen) < self.controls:
                    chosen.setdefault(order[nth].id, order[nth])
        return list(chosen.values())

    def _culprit(self, lessons: Sequence[Lesson], ids: Sequence[int], board: Board) -> Lesson | None:
        """A lesson that makes something worse and is not outweighed by those who asked for it; settled as such."""
        for name in (name for name in board if name in self.before):
            for lesson in lessons:
                loss = self._loss(lesson, name, ids, board)
                if not loss:
                    continue
                if self._for_it(lesson, ids) > loss + 1e-9:
                    self.notes.append(f"feedback contradicts itself: {name} was better without {lesson.text!r}")
                    continue
                tried_on = (*lesson.tried_on, name)
                note = f"worse on {name}, which was better before"
                self.ledger.settle(lesson.id, "rejected", lesson.gain - loss, tried_on, note)
                return lesson
        return None

    def _loss(self, lesson: Lesson, name: str, ids: Sequence[int], board: Board) -> float:
        """How much worse a lesson makes an observation; that it applies to a run said to be right is enough."""
        observation, old, new = self.known[name], self.before[name], board[name]
        if self.replays.metric is None and observation.right:
            return RIGHT_WEIGHS if self.replays.applies(lesson, old.trajectory, new.trajectory) else 0.0
        if gain_on(self.before, board, name) > -1e-9:
            return 0.0
        without_it = self.ledger.prompts(i for i in ids if i != lesson.id)
        effect = effect_of(lesson, board, self.replays.roll_out(without_it, [observation]))
        return max(0.0, -effect.gain) if effect.moved else 0.0

    def _for_it(self, lesson: Lesson, ids: Sequence[int]) -> float:
        """What it adds to the score of those who asked for it."""
        without_it = self.ledger.prompts(i for i in ids if i != lesson.id)
        judged = [o for o in self.known.values() if self.replays.can_judge(o)]
        witnesses = [o for o in judged if asks(lesson, o) > ASKED_FOR][-WITNESSES:]
        new = self.replays.roll_out(self.ledger.prompts(ids), witnesses)
        old = self.replays.roll_out(without_it, witnesses)
        return sum(gain_on(old, new, name) for name in old.keys() & new.keys())


def _about(lesson: Lesson, observation: Observation) -> float:
    return relevance(lesson.text or lesson.replaces, observation.trajectory, observation.trajectory)


def _mean(board: Board, names: Sequence[str]) -> float:
    return sum(board[name].score or 0.0 for name in names) / len(names)
