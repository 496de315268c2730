"""Doubting lessons in force: which of them a failing example speaks against, and what happens there without one."""

from __future__ import annotations

from collections.abc import Iterable

from langmem_dspy.optimizers.acceptance import Acceptance, Effect
from langmem_dspy.optimizers.lessons import Ledger, Lesson
from langmem_dspy.optimizers.rollouts import Board
from langmem_dspy.optimizers.tracing import complaint, ran, relevance
from langmem_dspy.optimizers.trials import RollOut, effect_of

BEFORE_IT_GOES = 3  # further examples on which a lesson in force is looked at
SPEAKS_AGAINST = 0.2  # share of a lesson's words in one sentence of feedback


def doubtful(
    ledger: Ledger, board: Board, names: Iterable[str], *, all_that_ran: bool = False
) -> list[tuple[Lesson, str]]:
    """Lessons in force that these failing examples speak against, each with the example to try it without.

    Feedback that still names what a lesson is about means that the lesson does not do there what is wanted.
    `all_that_ran`: also those it does not name. A lesson that says too much shows in what comes after it: the
    complaint is then about another field, and only running the example without the lesson can tell.
    """
    found: dict[int, tuple[float, str]] = {}
    for name in names:
        trajectory = board[name].trajectory
        for lesson_id in ledger.in_force:
            lesson = ledger.lessons[lesson_id]
            if not ran(lesson.predictor, trajectory) or name in lesson.tried_on:
                continue
            strength = complaint(lesson.text, trajectory)
            if strength > SPEAKS_AGAINST or all_that_ran:
                strength = relevance(lesson.text, trajectory, trajectory) if all_that_ran else strength
                found[lesson_id] = max(found.get(lesson_id, (0.0, "")), (strength, name))
    order = sorted(found.items(), key=lambda item: (-item[1][0], item[0]))
    return [(ledger.lessons[lesson_id], name) for lesson_id, (_, name) in order]


def doubted(
    ledger: Ledger, lesson: Lesson, name: str, board: Board, roll_out: RollOut, acceptance: Acceptance
) -> Effect:
    """The effect of a lesson in force on an example that speaks against it, and on further ones before it must go."""
    others = [known for known in ledger.in_force if known != lesson.id]
    told = lesson.tried_on if lesson.gain else ()  # where the score told nothing, it may tell something by now
    elsewhere = [other for other in board if other != name and other not in told]
    elsewhere = [other for other in elsewhere if ran(lesson.predictor, board[other].trajectory)]
    elsewhere.sort(key=lambda n: -relevance(lesson.text, board[n].trajectory, board[n].trajectory))
    seen: list[str] = []
    for spot in (name, *elsewhere[:BEFORE_IT_GOES]):
        seen.append(spot)
        effect = effect_of(lesson, roll_out(ledger.prompts(), seen), roll_out(ledger.prompts(others), seen))
        if not acceptance.hurts(effect, lesson.gain + effect.gain):
            break
    return effect
