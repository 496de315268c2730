"""No rollout is made twice, and no thread decides what is remembered."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import dspy
import pytest

from langmem_dspy.optimizers.known_rollouts import KnownRollouts
from langmem_dspy.optimizers.metrics import Metric
from langmem_dspy.optimizers.rollouts import RolloutRunner
from langmem_dspy.usage import Budget, Meter


@dataclass(frozen=True)
class Made:
    score: float | None


class Slow(dspy.Module):
    """A program that is still running when the other threads come."""

    def __init__(self) -> None:
        super().__init__()
        self.say = dspy.Predict("question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        time.sleep(0.02)
        return dspy.Prediction(answer=question)


def at_once(work, times: int) -> list:
    together = threading.Barrier(times)

    def one(number: int):
        together.wait(10)
        return work(number)

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(one, range(times)))


EXAMPLES = {f"e{i}": dspy.Example(question=f"q{i}").with_inputs("question") for i in range(4)}


@pytest.mark.parametrize("budget", [Budget(), Budget(metric_calls=4)])
def test_threads_that_ask_for_the_same_rollouts_share_them(budget):
    meter = Meter(budget)
    runner = RolloutRunner(Slow(), Metric(lambda gold, pred, trace=None: 0.5), meter, 4, task_lm=None)
    found = at_once(lambda number: runner.run({"say": "one"}, EXAMPLES), 4)
    assert meter.report().metric_calls == 4
    assert all([rollout.score for rollout in rollouts] == [0.5] * 4 for rollouts in found)


def test_a_rollout_without_a_score_is_made_anew_by_who_waited_for_it():
    known, made = KnownRollouts(), []

    def make() -> Made:
        made.append(len(made))
        time.sleep(0.01)
        return Made(None if len(made) == 1 else 1.0)

    found = at_once(lambda number: known.once(("v", "e"), make), 3)
    assert len(made) == 2 and sorted(str(one.score) for one in found) == ["1.0", "1.0", "None"]


def test_who_waited_for_one_that_raised_makes_it_anew():
    known, made = KnownRollouts(), []

    def make() -> Made:
        made.append(len(made))
        time.sleep(0.01)
        if len(made) == 1:
            raise RuntimeError("broken")
        return Made(1.0)

    def asked(number: int):
        try:
            return known.once(("v", "e"), make).score
        except RuntimeError:
            return None

    assert sorted(map(str, at_once(asked, 3))) == ["1.0", "1.0", "None"]


def test_rollouts_of_an_example_are_remembered_in_an_order_of_their_own():
    orders = []
    for versions in ("abc", "cab"):
        known = KnownRollouts()
        for version in versions:
            known.once((version, "e"), lambda version=version: Made(float(ord(version))))
        orders.append([one.score for one in known.of("e")])
    assert orders[0] == orders[1] and known.of("another") == []


def test_what_is_not_kept_is_forgotten():
    known = KnownRollouts()
    for version in "ab":
        known.once((version, "e"), lambda: Made(1.0))
    known.keep({("a", "e")})
    assert known.pairs() == {("a", "e")} and ("b", "e") not in known
    assert known.unasked([("a", "e"), ("b", "e")]) == 1
