"""A noisy metric is noticed by itself, and its scores are made as sure as they have to be."""

from __future__ import annotations

import random
import threading
from collections import Counter

import dspy

from langmem_dspy import GradientOptimizer
from langmem_dspy.optimizers.metrics import Metric
from langmem_dspy.optimizers.noise import MOST_REPEATS, Scores
from langmem_dspy.optimizers.rollouts import RolloutRunner
from langmem_dspy.simulation import offline_lm
from langmem_dspy.usage import Budget, Meter


class Constant(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.say = dspy.Predict("question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer=question)


class Noisy:
    def __init__(self, deviation: float) -> None:
        self.deviation, self.calls, self._random = deviation, Counter(), random.Random(1)
        self._lock = threading.Lock()

    def __call__(self, gold, pred, trace=None) -> float:
        with self._lock:
            self.calls[pred.answer] += 1
            return min(1.0, max(0.0, self._random.gauss(0.5, self.deviation)))


def runner(metric: Noisy, budget: Budget | None = None) -> RolloutRunner:
    return RolloutRunner(Constant(), Metric(metric), Meter(budget or Budget()), 1, task_lm=None)


EXAMPLES = {f"e{i}": dspy.Example(question=f"q{i}").with_inputs("question") for i in range(12)}


def test_a_metric_that_never_differs_is_asked_once_for_each_rollout():
    metric = Noisy(0.0)
    runs = runner(metric)
    runs.run({"say": "one"}, EXAMPLES)
    runs.run({"say": "other"}, EXAMPLES)
    assert set(metric.calls.values()) == {2}
    assert runs.scores.noise() == 0


def test_a_noisy_metric_is_asked_again_once_it_has_shown_itself_noisy():
    metric = Noisy(0.15)
    runs = runner(metric)
    runs.run({"say": "one"}, EXAMPLES)
    assert set(metric.calls.values()) == {1}
    rollouts = runs.run({"say": "other"}, EXAMPLES)
    assert all(4 < calls <= MOST_REPEATS + 1 for calls in metric.calls.values())
    assert all(abs(rollout.score - 0.5) < 0.15 for rollout in rollouts)
    assert all(0.01 < rollout.doubt < 0.08 for rollout in rollouts)


def test_metric_calls_under_a_budget_are_not_spent_on_repeats():
    metric = Noisy(0.15)
    runs = runner(metric, Budget(metric_calls=100))
    runs.run({"say": "one"}, EXAMPLES)
    runs.run({"say": "other"}, EXAMPLES)
    assert sum(metric.calls.values()) == 24


def test_the_same_prediction_has_the_same_score_under_other_prompts():
    runs = runner(Noisy(0.1))
    for prompt in ("one", "other", "third"):
        runs.run({"say": prompt}, EXAMPLES)
    first, second = (runs.run({"say": prompt}, EXAMPLES) for prompt in ("one", "third"))
    assert [r.score for r in first] == [r.score for r in second]


def test_the_noise_is_that_of_repeats_alone():
    scores = Scores()
    scores.add(("e1", "a"), 0.2)
    scores.add(("e2", "a"), 0.9)
    assert scores.noise() == 0
    scores.add(("e1", "a"), 0.4)
    assert abs(scores.noise() - 0.1414) < 1e-3


def test_a_compile_tells_how_noisy_its_metric_was():
    examples = [EXAMPLES[name] for name in EXAMPLES]
    found = {}
    for deviation in (0.0, 0.1):
        noisy = Noisy(deviation)

        def metric(gold, pred, trace=None, noisy=noisy):
            return dspy.Prediction(score=noisy(gold, pred), feedback='If `question` is "q1", set `answer` to "x".')

        optimizer = GradientOptimizer(metric=metric, num_threads=1, max_steps=2)
        with dspy.context(lm=offline_lm()):
            compiled = optimizer.compile(Asking(), trainset=examples[:6], valset=examples[6:])
        found[deviation] = compiled.detailed_results.noise
    assert found[0.0] == 0 and 0.05 < found[0.1] < 0.2


class Asking(Constant):
    """Asks its predictor, and answers the same whatever that says."""

    def forward(self, question: str) -> dspy.Prediction:
        self.say(question=question)
        return dspy.Prediction(answer=question)
