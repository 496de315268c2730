"""How often the training examples are gone through, and what ends it."""

from __future__ import annotations

import dspy
import pytest
from fakes import fake_lm

from langmem_dspy.optimizers.acceptance import Effect, Helps
from langmem_dspy.optimizers.credit import TraceCredit
from langmem_dspy.optimizers.lesson_search import PATIENCE, SHOWN_AT_ONCE, LessonSearch
from langmem_dspy.optimizers.lessons import Draft
from langmem_dspy.optimizers.prompts import Prompt
from langmem_dspy.optimizers.rollouts import Rollout
from langmem_dspy.optimizers.run import Run, Task
from langmem_dspy.optimizers.trajectories import Trajectory
from langmem_dspy.usage import Meter

NAMES = ("e1", "e2", "e3", "e4", "e5")
ENOUGH = 50  # steps


@pytest.fixture
def search():
    run = Run(Task("any", {}, dict.fromkeys(NAMES), {}, {"p": "Do."}, {}), Meter(), lambda event: None, None)
    guided = [Prompt(name="p", prompt="Do.")]
    return LessonSearch(run, dspy.Module(), TraceCredit(), Helps(), fake_lm(str), 2, guided, None, 1)


def gone_through(search, scores, teaches=lambda step: None):
    """The waves of a search whose examples score so; `teaches(step)` names what a step learns, if anything."""
    waves = []
    for step, (wave, shown) in enumerate(search._waves(), 1):
        assert step < ENOUGH
        waves.append((wave, shown))
        search.board |= {n: Rollout(n, Trajectory(n, score=scores[n]), score=scores[n]) for n in wave}
        search.learned = bool(text := teaches(step))
        for lesson in search.ledger.take_up([Draft("p", text)] if text else [], step):
            search.ledger.settle(lesson.id, "in force", 0.1, ())
    return waves


def names_of(waves):
    return sorted(name for wave, _ in waves for name in wave)


def test_where_nothing_fails_one_round_is_all(search):
    assert names_of(gone_through(search, dict.fromkeys(NAMES, 1.0))) == sorted(NAMES)


def test_what_fails_is_gone_through_again_in_ever_smaller_groups_before_it_is_given_up(search):
    waves = gone_through(search, {**dict.fromkeys(NAMES, 1.0), "e2": 0.0})
    assert names_of(waves) == sorted(NAMES * (1 + PATIENCE))
    assert [shown for _, shown in waves] == [shown for shown in SHOWN_AT_ONCE for _ in range(3)]


def test_what_teaches_something_is_looked_at_again_at_once(search):
    waves = gone_through(search, dict.fromkeys(NAMES, 1.0), lambda step: "Do it well." if step == 1 else None)
    assert waves[0] == waves[1]


def test_a_round_that_teaches_starts_the_patience_anew_and_looks_at_what_failed_alone(search):
    scores = {**dict.fromkeys(NAMES, 1.0), "e2": 0.0}
    waves = gone_through(search, scores, lambda step: "Do it well." if step == 1 else None)
    assert [wave for wave, _ in waves[4:5]] == [["e2"]]  # nothing else is shown after the round that taught
    assert search.dry == PATIENCE + 1 and search.rounds == PATIENCE + 2


def effect(gain, quiet=0.8):
    return Effect(Draft("p", "Do it."), gain, quiet, 0.0, True, ("e1",), {})


def test_a_gone_complaint_may_cost_score_in_the_first_round_alone(search):
    assert search._is_kept(effect(-0.1)) and search._is_kept(effect(0.1))
    search.rounds = 1
    assert not search._is_kept(effect(-0.1))
    assert search._is_kept(effect(0.0)) and search._is_kept(effect(0.1))


class Remembers:
    """Stands in for the runner: earlier runs of every example, in which this was said."""

    def __init__(self, said):
        self.said = said

    def remembered(self, name):
        return [Rollout(name, Trajectory(name, feedback=self.said, score=0.2), score=0.2)]


class Hears(dspy.Module):
    """A proposer that changes nothing, and notes what it was shown."""

    def __init__(self):
        super().__init__()
        self.shown = []

    def forward(self, prompt, trajectories):
        self.shown += [trajectory.feedback for trajectory in trajectories]
        return dspy.Prediction(prompt=prompt["prompt"])


def heard(search, **state):
    """What a step drafts and shows its proposer, with one example failing."""
    search.proposer, search.run.runner = Hears(), Remembers("Be kind.")
    for name, value in state.items():
        setattr(search, name, value)
    lesson = search.ledger.take_up([Draft("p", "Quote the order number.")], 1)[0]
    search.ledger.settle(lesson.id, "idle", 0.0, ("e0",))
    failing = {"e1": Rollout("e1", Trajectory("e1", feedback="Quote the order number.", score=0.5), score=0.5)}
    drafts, _ = search._drafts(2, failing, 6)
    return [draft.text for draft in drafts], search.proposer.shown


@pytest.mark.parametrize(("rounds", "drafts"), [(0, []), (1, ["Quote the order number."])])
def test_lessons_set_aside_are_heard_again_after_the_first_round(search, rounds, drafts):
    assert heard(search, rounds=rounds)[0] == drafts


@pytest.mark.parametrize(("dry", "earlier"), [(0, []), (1, ["Be kind."])])
def test_earlier_complaints_are_shown_again_where_a_round_taught_nothing(search, dry, earlier):
    assert heard(search, rounds=1, dry=dry)[1] == ["Quote the order number.", *earlier]
