from __future__ import annotations

import contextlib
import time

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError, LMRateLimitError, LMServerError, LMTimeoutError

from langmem_dspy import simulation
from langmem_dspy.errors import InputError
from langmem_dspy.simulation import Faults


def lm(*first, **options) -> dspy.LM:
    return simulation.offline_lm(faults=Faults(first=first, retry_after=0.01), **{"num_retries": 0, **options})


@pytest.mark.parametrize(
    ("fault", "error"),
    [("rate_limit", LMRateLimitError), ("server_error", LMServerError), ("timeout", LMTimeoutError)],
)
def test_a_fault_arrives_as_dspys_error(fault, error):
    model = lm(fault)
    with pytest.raises(error, match="simulated"):
        model("hello")
    assert model("hello") == ["hello"]


def test_three_rate_limits_are_outlived_by_three_retries():
    assert lm("rate_limit", "rate_limit", "rate_limit", num_retries=3)("hello") == ["hello"]


@pytest.mark.parametrize("fault", ["empty", "malformed", "truncated"])
def test_a_spoiled_reply_cannot_be_parsed(fault):
    model = lm(fault)
    with dspy.context(lm=model, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        ask = dspy.Predict("question -> answer, why")
        with pytest.raises(AdapterParseError):
            ask(question="what is it then, and why?")
        assert ask(question="what is it then, and why?").answer


def test_a_truncated_reply_says_so():
    engine = simulation.SimulatedEngine(faults=Faults(truncated=1.0))
    request = dspy.lm15.Request(model="m", messages=(dspy.lm15.Message.user("some words to say again"),))
    assert engine.complete(request).finish_reason == "length"


def test_a_reply_longer_than_max_tokens_is_cut_there():
    config = dspy.lm15.Config(max_tokens=3)
    request = dspy.lm15.Request(model="m", messages=(dspy.lm15.Message.user("é" * 40),), config=config)
    response = simulation.SimulatedEngine().complete(request)
    assert response.finish_reason == "length"
    assert len(response.text.encode()) <= 12
    assert response.usage.output_tokens <= 3


def test_a_cut_tool_call_is_no_tool_call():
    tool = dspy.lm15.FunctionTool(name="say", parameters={"type": "object", "properties": {"word": {"type": "string"}}})
    request = dspy.lm15.Request(model="m", messages=(dspy.lm15.Message.user("hello"),), tools=(tool,))
    whole = simulation.SimulatedEngine().complete(request)
    assert (whole.finish_reason, whole.tool_calls[0].input) == ("tool_call", {"word": "hello"})
    cut = simulation.SimulatedEngine(faults=Faults(truncated=1.0)).complete(request)
    assert (cut.finish_reason, cut.tool_calls) == ("length", [])


def test_rates_are_kept_and_a_retry_meets_new_luck():
    model = simulation.offline_lm(faults=Faults(server_error=0.3), num_retries=0)
    failed = []
    for i in range(200):
        try:
            model(f"question {i}")
        except LMServerError:
            failed.append(i)
    assert 40 < len(failed) < 80
    recovered = 0
    for i in failed:
        with contextlib.suppress(LMServerError):
            recovered += model(f"question {i}") is not None
    assert recovered > len(failed) / 2


def test_latency_is_slept_off_the_cpu():
    model = simulation.offline_lm(latency=0.05)
    wall, cpu = time.perf_counter(), time.thread_time()
    model("hello")
    assert time.perf_counter() - wall >= 0.05
    assert time.thread_time() - cpu < 0.05


def test_impossible_faults_are_refused():
    with pytest.raises(InputError, match="sum up to at most 1"):
        Faults(timeout=0.7, empty=0.7)
    with pytest.raises(InputError, match=r"no faults are named \['flood'\]; there are rate_limit"):
        Faults(first=("flood",))


def test_without_faults_nothing_is_counted():
    engine = simulation.SimulatedEngine()
    for i in range(3):
        engine.complete(dspy.lm15.Request(model="m", messages=(dspy.lm15.Message.user(f"{i}"),)))
    assert not engine._attempts._seen
