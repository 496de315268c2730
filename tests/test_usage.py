"""What was spent is counted exactly, and bounded."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from langmem_dspy.errors import BudgetExhausted, InputError
from langmem_dspy.usage import Budget, Meter, Usage


@pytest.mark.parametrize("wrong", [{"lm_calls": -1}, {"cost": float("nan")}, {"seconds": "3"}, {"tokens": True}])
def test_a_budget_that_is_no_number_is_refused_by_name(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Budget(**wrong)


@pytest.mark.parametrize("reserve", ["reserve_call", "reserve_metric_call"])
def test_many_threads_never_take_more_than_the_budget_holds(reserve):
    meter = Meter(Budget(lm_calls=50, metric_calls=50))
    start = threading.Barrier(16)

    def take(_):
        start.wait()
        taken = 0
        for _ in range(20):
            try:
                getattr(meter, reserve)()
                taken += 1
            except BudgetExhausted:
                pass
        return taken

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(take, range(16))) == 50
    assert meter.refused == {"reserve_call": "lm_calls", "reserve_metric_call": "metric_calls"}[reserve]


def test_used_up_metric_calls_do_not_stop_the_model_and_the_other_way_round():
    meter = Meter(Budget(lm_calls=1, metric_calls=1))
    meter.reserve_metric_call()
    meter.reserve_call()
    with pytest.raises(BudgetExhausted, match="lm_calls"):
        meter.reserve_call()
    with pytest.raises(BudgetExhausted, match="metric_calls"):
        meter.reserve_metric_call()


@pytest.mark.parametrize(
    ("budget", "limit"), [({"tokens": 10}, "tokens"), ({"cost": 0.5}, "cost"), ({"seconds": 0}, "seconds")]
)
def test_tokens_cost_and_seconds_stop_the_next_call(budget, limit):
    meter = Meter(Budget(**budget))
    if limit != "seconds":
        meter.reserve_call()
        meter.record("task", Usage(lm_calls=1, prompt_tokens=8, completion_tokens=2, cost=0.5))
    assert meter.spent() == limit
    with pytest.raises(BudgetExhausted) as refused:
        meter.reserve_call()
    assert refused.value.limit == limit


def test_a_journalled_reply_is_let_through_again_whatever_it_had_cost():
    meter = Meter(Budget(tokens=10, lm_calls=2))
    meter.record("task", Usage(lm_calls=1, prompt_tokens=10), replayed=True)
    meter.reserve_call(answered=True)
    meter.reserve_call(answered=True)
    with pytest.raises(BudgetExhausted, match="lm_calls"):
        meter.reserve_call(answered=True)


def test_an_evaluation_that_does_not_fit_is_not_begun():
    meter = Meter(Budget(metric_calls=3))
    meter.require_metric_calls(3)
    with pytest.raises(BudgetExhausted):
        meter.require_metric_calls(4)
    assert meter.report().metric_calls == 0


def test_replayed_calls_are_counted_apart_and_the_whole_run_adds_up():
    meter = Meter()
    meter.record("task", Usage(lm_calls=1, prompt_tokens=7))
    meter.record("reflection", Usage(lm_calls=1, prompt_tokens=5, cost=0.1), replayed=True)
    report = meter.report()
    assert (report.lm_calls, report.tokens, report.total.journal_hits) == (1, 7, 1)
    assert (report.whole_run.lm_calls, report.whole_run.tokens, report.whole_run.cost) == (2, 12, 0.1)


def test_a_copy_of_a_meter_is_the_same_meter():
    meter = Meter()
    assert copy.deepcopy({"m": meter})["m"] is meter
