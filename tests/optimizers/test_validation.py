"""The valset decides in the end: whole where the budget reaches, and with doubt where it saw only a part."""

from __future__ import annotations

import pytest

from langmem_dspy.errors import BudgetExhausted
from langmem_dspy.optimizers.acceptance import Verdict
from langmem_dspy.optimizers.results import RevisedPrompt
from langmem_dspy.optimizers.rollouts import Rollout
from langmem_dspy.optimizers.run import Run, Task
from langmem_dspy.optimizers.trajectories import Trajectory
from langmem_dspy.optimizers.validation import Validation
from langmem_dspy.usage import Budget, Meter


class Scored:
    """Stands in for the runner: scores by the prompt, example by example, as long as `left` lasts."""

    def __init__(self, student, result, left=1000):
        self.scores, self.left = {"Do.": student, "Do it.": result}, left

    def run(self, prompts, examples, *, must_score=True):
        self.left -= len(examples)
        if self.left < 0:
            return [Rollout(name, Trajectory(name), cut=True) for name in examples]
        return [Rollout(n, Trajectory(n), score=self.scores[prompts["p"]][int(n)]) for n in examples]


def decided(student, result, left=1000, budget=None):
    names = {str(i): None for i in range(len(student))}
    task = Task("any", {}, {}, names, {"p": "Do."}, {})
    run = Run(task, Meter(budget or Budget(lm_calls=1000)), lambda event: None, Scored(student, result, left))
    candidate = run.add(1, [RevisedPrompt("p", "Do.", "Do it.")])
    return Validation(run).decide(candidate, 1).index, run


def test_the_better_one_is_taken_and_the_student_where_it_is_worse():
    assert decided([0.5] * 6, [0.6] * 6)[0] == 1
    assert decided([0.5] * 6, [0.4] * 6)[0] == 0
    assert decided([1, 0, 1, 0], [0, 1, 0, 0.9])[0] == 0


def test_as_good_on_the_whole_valset_is_good_enough():
    assert decided([1, 0] * 3, [0, 1] * 3)[0] == 1


def test_as_good_on_a_part_is_not():
    assert decided([0.5] * 40, [0.5] * 40, left=10)[0] == 0
    assert decided([0.5] * 40, [0.9] * 40, left=10)[0] == 1


def test_unseen_is_not_better():
    index, run = decided([0.0] * 6, [1.0] * 6, left=3)
    assert index == 0 and not run.candidates[1].valset_scores


def test_what_is_clear_early_costs_no_further_calls_where_they_are_short():
    _, run = decided([0.1] * 100, [0.9] * 100, budget=Budget(lm_calls=50))
    assert len(run.candidates[1].valset_scores) < 20
    _, run = decided([0.1] * 100, [0.9] * 100, budget=Budget())
    assert len(run.candidates[1].valset_scores) == 100


def test_a_share_held_back_is_there_afterwards():
    meter = Meter(Budget(lm_calls=10))
    with meter.holding_back(0.2):
        for _ in range(8):
            meter.reserve_call()
        with pytest.raises(BudgetExhausted):
            meter.reserve_call()
        assert meter.refused == "lm_calls"
    assert meter.refused is None
    for _ in range(2):
        meter.reserve_call()
    with pytest.raises(BudgetExhausted):
        meter.reserve_call()


def test_what_was_better_on_the_way_is_not_lost():
    index, run = decided([0.2] * 6, [0.9] * 6)
    assert index == 1
    run.settle(run.candidates[1], Verdict(True, ""))
    run.runner.scores["Do it all."] = [0.5] * 6
    later = run.add(2, [RevisedPrompt("p", "Do it.", "Do it all.")])
    assert Validation(run).decide(later, 2).index == 1
    run.runner.scores["Do it so."] = [0.88, 0.9] * 3  # as good, as far as can be told
    last = run.add(3, [RevisedPrompt("p", "Do it all.", "Do it so.")])
    assert Validation(run).decide(last, 3).index == last.index
