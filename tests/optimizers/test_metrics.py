"""Every kind of metric and every form of what it says."""

from __future__ import annotations

import functools

import dspy
import numpy as np
import pytest
from fakes import fake_lm
from programs import LESSON, TwoSteps, examples, is_upper, model, one_step

from langmem_dspy.errors import EvaluationError, InputError
from langmem_dspy.optimizers import GradientOptimizer
from langmem_dspy.optimizers.metrics import Judgement, Metric, read_judgement
from langmem_dspy.usage import Budget, Meter


@pytest.mark.parametrize(
    ("said", "judgement"),
    [
        (1, Judgement(1.0)),
        (0.25, Judgement(0.25)),
        (True, Judgement(1.0)),
        (np.float32(0.5), Judgement(0.5)),
        (np.bool_(False), Judgement(0.0)),
        (np.array([0.5]), Judgement(0.5)),
        (dspy.Prediction(score=0.0), Judgement(0.0)),
        (dspy.Prediction(score=0.5, feedback="long"), Judgement(0.5, "long")),
        (dspy.Prediction(score=0.5, feedback=None), Judgement(0.5)),
        ({"score": 0.5, "feedback": {"a": "long", "b": ""}}, Judgement(0.5, predictor_feedback={"a": "long"})),
    ],
)
def test_every_form_of_a_score_is_read(said, judgement):
    assert read_judgement(said) == judgement


@pytest.mark.parametrize(
    "said",
    [
        None,
        float("nan"),
        7,
        -0.1,
        "0.5",
        "yes",
        [0.5],
        {"feedback": "x"},
        dspy.Prediction(score=None),
        np.array([1.0, 0.5]),
    ],
)
def test_what_is_no_score_is_refused_with_what_it_was(said):
    with pytest.raises(InputError, match="the metric returned"):
        read_judgement(said)


def with_five(g, p, t=None, n=None, pt=None):
    return details(t, n, pt)


def with_names(gold, pred, trace=None, pred_name=None, pred_trace=None):
    return details(trace, pred_name, pred_trace)


def with_keywords(gold, pred, *, pred_name=None, trace=None, pred_trace=None):
    return details(trace, pred_name, pred_trace)


class AsObject:
    def __call__(self, gold, pred, trace=None, pred_name=None, pred_trace=None):
        return details(trace, pred_name, pred_trace)


def details(trace, name, pred_trace):
    if name is None:
        assert trace is None and pred_trace is None
        return {"score": 0.5, "feedback": "whole"}
    assert [type(p).__name__ for p, _, _ in trace] == ["Predict", "Predict"] and len(pred_trace) == 1
    return {"score": 0.5, "feedback": f"about {name}: {pred_trace[0][2].answer}"}


@pytest.mark.parametrize("metric", [with_five, with_names, with_keywords, AsObject(), functools.partial(with_names)])
def test_gepa_metrics_are_asked_about_each_predictor(metric):
    seen = []

    class Watching(dspy.Module):
        def forward(self, prompts, trajectories):
            seen.extend(trajectories)
            return dspy.Prediction(blame=[])

    with dspy.context(lm=fake_lm(model)):
        GradientOptimizer(metric=metric, credit=Watching(), max_steps=1).compile(
            TwoSteps(), trainset=examples(1), valset=examples(1)
        )
    assert seen[0].feedback == "whole" and seen[0].score == 0.5
    assert seen[0].predictor_feedback == {"first": "about first: word0", "second": "about second: word0"}


def two(gold, pred):
    return 0.5


def with_setting(gold, pred, trace=None, weight=0.5):
    return weight


def wrapped(*args, **kwargs):
    assert len(args) == 2
    return 0.5


@pytest.mark.parametrize("metric", [two, with_setting, wrapped])
def test_other_metrics_are_called_once_with_what_they_take(metric):
    meter = Meter()
    judged = Metric(metric)
    assert not judged.judges_predictors
    assert judged(examples(1)[0], dspy.Prediction(answer="x"), meter=meter) == Judgement(0.5)
    assert meter.report().metric_calls == 1


def compiled(metric, **settings):
    with dspy.context(lm=fake_lm(model)):
        return (
            GradientOptimizer(metric=metric, **settings)
            .compile(one_step(), trainset=examples(), valset=examples())
            .detailed_results
        )


def test_a_metric_that_always_raises_is_an_error_with_its_first_cause():
    def broken(gold, pred, trace=None):
        raise KeyError("no field named total")

    with pytest.raises(EvaluationError, match=r"KeyError.*no field named total") as raised:
        compiled(broken)
    assert isinstance(raised.value.__cause__, KeyError)


def test_a_metric_that_raises_sometimes_costs_those_scores_and_is_written_down():
    def flaky(gold, pred, trace=None):
        if gold.text == "word1":
            raise ValueError("not this one")
        return is_upper(gold, pred)

    results = compiled(flaky, minibatch_size=1, max_steps=6)
    assert results.best.score == 1 and len(results.best.valset_scores) == 3
    assert any("not this one" in fault.message for fault in results.errors)


@pytest.mark.parametrize("bad", [None, float("nan"), 7, "good"])
@pytest.mark.parametrize("threads", [1, 4])
def test_a_metric_whose_result_is_no_score_ends_the_run_at_once(bad, threads):
    calls = []

    def metric(gold, pred, trace=None):
        calls.append(1)
        return bad

    with dspy.context(lm=fake_lm(model)), pytest.raises(InputError, match="from 0 to 1"):
        GradientOptimizer(metric=metric, num_threads=threads).compile(
            one_step(), trainset=examples(100), valset=examples(100)
        )
    assert len(calls) < 30


def test_a_score_of_zero_is_a_score():
    results = compiled(lambda gold, pred, trace=None: dspy.Prediction(score=0.0, feedback="no"), max_steps=1)
    assert results.baseline.score == 0 and results.errors == ()


def test_a_judge_that_asks_the_configured_model_is_counted_and_bounded():
    def judge(gold, pred, trace=None):
        dspy.Predict(dspy.Signature("text -> answer", "Judge it."))(text=pred.answer)
        return is_upper(gold, pred)

    assert compiled(judge).usage.task.lm_calls == 16
    assert compiled(judge, budget=Budget(lm_calls=5)).stop_reason == "budget: lm_calls"


def test_feedback_by_predictor_reaches_the_prompt_it_is_about():
    def metric(gold, pred, trace=None):
        right = pred.answer.isupper()
        return dspy.Prediction(score=float(right), feedback={} if right else {"second": LESSON})

    from programs import reviewer, wants, worker

    from langmem_dspy.optimizers import MultiPromptOptimizer

    lm = fake_lm(lambda text: worker(text) if "answer" in wants(text) else reviewer(text))
    with dspy.context(lm=lm):
        program = MultiPromptOptimizer(metric=metric).compile(TwoSteps(), trainset=examples(), valset=examples())
    assert program.detailed_results.changed == ["second"]
