"""Where drafts come from beside a model's look at what failed: lessons set aside, and what was said before."""

from __future__ import annotations

import pytest

from langmem_dspy.optimizers.drafting import EARLIER, said_before, set_aside
from langmem_dspy.optimizers.lessons import Draft, Ledger
from langmem_dspy.optimizers.rollouts import Rollout
from langmem_dspy.optimizers.trajectories import Trajectory

SAID = "Quote the order number."


def failed(feedback, name="e1", score=0.5):
    return Rollout(name, Trajectory(name, feedback=feedback, score=score), score=score)


def ledger_with(fate):
    ledger = Ledger({"p": "Do."})
    lesson = ledger.take_up([Draft("p", SAID, evidence=("e0",))], 1)[0]
    ledger.settle(lesson.id, fate, 0.0, ("e0",))
    return ledger


@pytest.mark.parametrize("fate", ["idle", "rejected", "dropped"])
def test_a_lesson_set_aside_is_heard_again_where_it_is_asked_for(fate):
    runs = [failed(SAID), failed("Be kind."), failed(f"Be kind.\n{SAID}", "e2")]
    assert set_aside(ledger_with(fate), runs) == [Draft("p", SAID, evidence=("e1", "e2"))]


def test_nobody_hears_again_what_nobody_asks_for_or_what_is_in_force():
    assert set_aside(ledger_with("idle"), [failed("Be kind.")]) == []
    assert set_aside(ledger_with("in force"), [failed(SAID)]) == []


def test_what_was_said_before_and_is_not_now_is_looked_at_again():
    now = failed("Something is wrong.").trajectory
    runs = [failed("Something is wrong."), failed(SAID), failed("", score=0.2), failed("All well.", score=1.0)]
    assert [run.feedback for run in said_before(now, runs)] == [SAID]


def test_of_many_earlier_runs_those_that_said_most_are_looked_at_in_any_order():
    now = failed("Something is wrong.").trajectory
    runs = [failed("A."), failed("B."), failed("A. B."), failed("A. B. C.")]
    found = [run.feedback for run in said_before(now, runs)]
    assert found == ["A. B. C.", "A. B."] == [run.feedback for run in said_before(now, runs[::-1])]
    assert len(found) == EARLIER
