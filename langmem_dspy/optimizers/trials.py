"""Trying lessons: all new ones at once, then each by what happens without it.

The counterfactual is cheap. A rollout without one lesson repeats only the changed predictor and what follows it; all
other requests have been answered before. It is also what credits a lesson: a lesson that changes nothing where it was
asked for stands in the wrong prompt, or is not so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from langmem_dspy.optimizers.acceptance import Acceptance, Effect
from langmem_dspy.optimizers.lessons import Ledger, Lesson
from langmem_dspy.optimizers.parts import predictor_of
from langmem_dspy.optimizers.rollouts import Board, in_threads
from langmem_dspy.optimizers.tracing import complaint, moved, ran, relevance

ASKING, CONTROLS = 3, 2  # examples to try a lesson on: that ask for it, and that do not
FURTHER = 2  # examples to look at where the first ones told nothing
ELSEWHERE = 2  # further examples for a late lesson to stand on, of those it matters to most, and of those least

RollOut = Callable[[Mapping[str, str], Sequence[str]], Board]  # prompts, examples -> rollouts


@dataclass(frozen=True)
class Trial:
    """The outcome: the rollouts with all lessons on trial, and each one's effect."""

    after: Board
    effects: tuple[Effect, ...]


def try_lessons(
    ledger: Ledger, fresh: Sequence[Lesson], before: Board, roll_out: RollOut, num_threads: int, helps: Acceptance
) -> Trial:
    """Roll out with all `fresh` lessons on the examples of `before`, then without each of them where it shows.

    Lessons that stand in for one another all look idle so; of these, those that help beside the rest are found last.
    """
    everything = (*ledger.in_force, *(lesson.id for lesson in fresh))
    after = roll_out(ledger.prompts(everything), _telling(fresh, before))
    changed = {name: moved(before[name].trajectory, after[name].trajectory) for name in after}

    def effect(lesson: Lesson) -> Effect:
        first, further = _spots(lesson, before, after, changed)
        prompts = ledger.prompts(i for i in everything if i != lesson.id)
        without = dict(roll_out(prompts, first)) if first else {}
        for name in further:
            if without and effect_of(lesson, after, without).gain != 0:
                break
            without |= roll_out(prompts, [name])
        return effect_of(lesson, after, without)

    effects = in_threads(effect, fresh, num_threads)
    effects = [replace(effect, flat=_tells_nothing(effect, after)) for effect in effects]
    return Trial(after, tuple(_without_stand_ins(ledger, effects, before, after, roll_out, helps)))


def _without_stand_ins(
    ledger: Ledger, effects: list[Effect], before: Board, after: Board, roll_out: RollOut, helps: Acceptance
) -> list[Effect]:
    """The effects, with those looked at again that may hide one another: each idle only because of the others."""
    idle = [e for e in effects if e.examples and not helps(e) and abs(e.gain) <= max(e.error, 1e-9)]
    kept = [effect.lesson.id for effect in effects if effect not in idle]
    names = [*dict.fromkeys(name for effect in idle for name in effect.examples if gain_on(before, after, name) > 1e-9)]
    if len(idle) < 2 or not names:
        return effects
    bare = roll_out(ledger.prompts((*ledger.in_force, *kept)), names)
    felt = [name for name in names if name in bare and gain_on(bare, after, name) > 1e-9]
    if not felt:
        return effects
    found = _one_by_one(ledger, idle, kept, felt[:2], roll_out, helps)
    return [found.get(effect.lesson.id, effect) for effect in effects]


def _tells_nothing(effect: Effect, after: Board) -> bool:
    """Whether the score was at its lowest with and without the lesson: then it hides any effect."""
    return effect.gain == 0 and all(after[name].score == 0 for name in effect.examples)


def _one_by_one(
    ledger: Ledger,
    effects: Sequence[Effect],
    beside: Sequence[int],
    names: Sequence[str],
    roll_out: RollOut,
    helps: Acceptance,
) -> dict[int, Effect]:
    """Take the lessons out one after the other, and keep each whose absence is felt once the earlier ones are gone."""
    kept = [effect.lesson.id for effect in effects]
    found = {}
    for effect in effects:
        others = [lesson_id for lesson_id in kept if lesson_id != effect.lesson.id]
        boards = (roll_out(ledger.prompts((*ledger.in_force, *beside, *ids)), names) for ids in (kept, others))
        found[effect.lesson.id] = effect_of(effect.lesson, *boards)
        kept = kept if helps(found[effect.lesson.id]) else others
    return found


def effect_of(lesson: Lesson, with_it: Board, without: Board) -> Effect:
    """The effect of a lesson by the examples that were run both ways."""
    both = [name for name in without if name in with_it]
    pairs = [(with_it[name], without[name]) for name in both]
    return Effect(
        lesson,
        gain=sum((a.score or 0.0) - (b.score or 0.0) for a, b in pairs),
        quiet=sum(complaint(lesson.text, b.trajectory) - complaint(lesson.text, a.trajectory) for a, b in pairs),
        asked=max((complaint(lesson.text, a.trajectory) for a, _ in pairs), default=0.0),
        moved=any(moved(b.trajectory, a.trajectory) for a, b in pairs),
        examples=tuple(both),
        without=without,
        error=math.sqrt(sum(a.doubt**2 + b.doubt**2 for a, b in pairs if a.score != b.score)),
    )


def seen_elsewhere(
    ledger: Ledger, effects: Sequence[Effect], known: Board, roll_out: RollOut, num_threads: int, helps: Acceptance
) -> tuple[Effect, ...]:
    """The effects; those of lessons that help are seen on further examples too."""
    kept = [effect.lesson.id for effect in effects if helps(effect)]

    def seen(effect: Effect) -> Effect:
        return elsewhere(ledger, effect, kept, known, roll_out) if effect.lesson.id in kept else effect

    return tuple(in_threads(seen, effects, num_threads))


def elsewhere(ledger: Ledger, effect: Effect, beside: Sequence[int], known: Board, roll_out: RollOut) -> Effect:
    """The effect, seen also on further examples that the lesson may matter to; `beside`: what else is on trial."""
    lesson, text = effect.lesson, effect.lesson.text or effect.lesson.replaces
    names = [n for n, r in known.items() if n not in effect.examples and ran(lesson.predictor, r.trajectory)]
    names.sort(key=lambda n: -relevance(text, known[n].trajectory, known[n].trajectory))
    ids = (*ledger.in_force, *beside)
    names = [*dict.fromkeys((*effect.examples, *names[:ELSEWHERE], *names[-ELSEWHERE:]))]
    with_it = roll_out(ledger.prompts({*ids, lesson.id}), names)
    without = roll_out(ledger.prompts(i for i in ids if i != lesson.id), names)
    return replace(effect_of(lesson, with_it, without), flat=effect.flat)


def _telling(fresh: Sequence[Lesson], before: Board) -> list[str]:
    """Where to try them: the examples that most ask for each, and a few that do not, for what they might spoil."""
    wanted = [name for lesson in fresh for name in _asking(lesson, before)[:ASKING]]
    others = [name for name in before if name not in wanted]
    return [*dict.fromkeys(wanted), *others[:CONTROLS]]


def _asking(lesson: Lesson, before: Board) -> list[str]:
    evidence = [name for name in lesson.evidence if name in before] or list(before)
    text = lesson.text or lesson.replaces
    return sorted(evidence, key=lambda n: -relevance(text, before[n].trajectory, before[n].trajectory))


def _spots(lesson: Lesson, before: Board, after: Board, changed: Mapping[str, set[str]]) -> tuple[list[str], list[str]]:
    """Where to look without the lesson: the example it most likely mended, and one that got worse, if any did.

    And where to look further should the score there be the same: at its lowest, it hides what other faults hide.
    """
    touched = [name for name, predictors in changed.items() if predictor_of(lesson.predictor) in predictors]
    text = lesson.text or lesson.replaces

    def likely(name: str) -> float:
        better = gain_on(before, after, name) > 0
        return relevance(text, before[name].trajectory, after[name].trajectory) + 0.3 * better

    touched.sort(key=likely, reverse=True)
    spots = touched[:1]
    worse = [name for name in touched if gain_on(before, after, name) < -1e-9]
    if worse and spots[0] not in worse:
        spots.append(worse[0])
    further = [name for name in touched if name not in spots] if spots and after[spots[0]].score == 0 else []
    return spots, further[:FURTHER]


def gain_on(before: Board, after: Board, name: str) -> float:
    """How much higher the example scored in the second of two boards that hold it."""
    return (after[name].score or 0.0) - (before[name].score or 0.0)
