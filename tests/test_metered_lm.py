"""Every request that reaches an engine is counted once: retries, threads, async, copies and caches included."""

from __future__ import annotations

import asyncio
import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import dspy
import pytest
from dspy import lm15
from dspy.utils.dummies import DummyLM
from dspy.utils.exceptions import LMRateLimitError, LMTimeoutError
from fakes import FakeEngine, chat, fake_lm, response
from loopback import Endpoint

from langmem_dspy.errors import BudgetExhausted, InputError, TruncatedReply
from langmem_dspy.metered_lm import MeteredLM
from langmem_dspy.usage import Budget, Meter


def metered(answer, budget=None, **settings):
    lm = fake_lm(answer, **{key: value for key, value in settings.items() if key != "whole"})
    meter = Meter(budget)
    return MeteredLM(lm, meter, "task", whole=settings.get("whole", False)), meter, lm.engine


def script(*replies):
    waiting = list(replies)
    return lambda text: waiting.pop(0)


def rate_limited() -> lm15.RateLimitError:
    return lm15.RateLimitError("slow down", retry_after=0)


def test_a_call_is_counted_with_its_tokens():
    lm, meter, _ = metered(lambda text: "hello")
    assert lm("hi") == ["hello"]
    report = meter.report()
    assert (report.task.lm_calls, report.task.prompt_tokens, report.task.completion_tokens) == (1, 10, 5)
    assert report.reflection.lm_calls == 0


def test_three_refusals_and_an_answer_are_four_calls():
    lm, meter, engine = metered(script(rate_limited(), rate_limited(), rate_limited(), "hello"), num_retries=3)
    assert lm("hi") == ["hello"]
    assert engine.calls == meter.report().lm_calls == 4
    assert meter.report().task.failed_calls == 3


def test_retries_are_bounded_and_the_first_true_error_comes_out():
    lm, meter, engine = metered(lambda text: rate_limited(), num_retries=2)
    with pytest.raises(LMRateLimitError, match="slow down"):
        lm("hi")
    assert engine.calls == meter.report().lm_calls == 3


def test_retries_stop_at_the_budget():
    lm, _, engine = metered(lambda text: rate_limited(), Budget(lm_calls=2), num_retries=5)
    with pytest.raises(BudgetExhausted):
        lm("hi")
    assert engine.calls == 2


def test_a_timeout_arrives_as_one():
    lm, *_ = metered(lambda text: lm15.TimeoutError("too slow"))
    with pytest.raises(LMTimeoutError):
        lm("hi")


def test_many_threads_are_counted_exactly_and_never_exceed_the_budget():
    lm, meter, engine = metered(lambda text: "hello", Budget(lm_calls=100))

    def ask(i):
        try:
            lm(f"hi {i}")
        except BudgetExhausted:
            return 0
        return 1

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(ask, range(150))) == 100
    assert engine.calls == meter.report().lm_calls == 100


def test_async_calls_are_counted_too():
    lm, meter, engine = metered(lambda text: "hello")

    async def ask():
        return await asyncio.gather(*(lm.acall(f"hi {i}") for i in range(5)))

    assert asyncio.run(ask()) == [["hello"]] * 5
    assert engine.calls == meter.report().lm_calls == 5


def test_async_retries_are_counted_too():
    lm, meter, _ = metered(script(rate_limited(), "hello"), num_retries=1)
    assert asyncio.run(lm.acall("hi")) == ["hello"]
    assert meter.report().lm_calls == 2


def test_hits_of_the_response_cache_are_counted_apart():
    lm, meter, engine = metered(lambda text: "hello", cache=True)
    question = f"a question nobody asked before {uuid4()}"
    assert lm(question) == lm(question)
    assert engine.calls == meter.report().lm_calls == 1
    assert meter.report().task.cache_hits == 1


def test_copies_report_to_the_same_meter():
    lm, meter, _ = metered(lambda text: "hello")
    lm.copy(rollout_id=1, temperature=1.0)("hi")
    copy.deepcopy(lm)("hi")
    assert meter.report().lm_calls == 2 and copy.deepcopy(lm) is lm


def test_a_reply_cut_off_at_max_tokens_is_no_answer():
    lm, meter, _ = metered(lambda text: response("half an ans", finish="length"), whole=True)
    with pytest.raises(TruncatedReply, match="max_tokens"):
        lm("hi")
    assert meter.report().lm_calls == 1


def test_the_program_may_take_a_cut_off_reply():
    lm, *_ = metered(lambda text: response("half an ans", finish="length"))
    assert lm("hi") == ["half an ans"]


def test_the_history_stays_with_the_lm_the_user_holds():
    inner = fake_lm(lambda text: "hello")
    MeteredLM(inner, Meter(), "task")("hi")
    assert len(inner.history) == 1


def test_dspys_own_usage_tracker_and_callbacks_see_one_call():
    seen = []

    class Watch(dspy.utils.callback.BaseCallback):
        def on_lm_start(self, call_id, instance, inputs):
            seen.append(call_id)

    lm, meter, _ = metered(lambda text: "hello")
    with dspy.context(callbacks=[Watch()]), dspy.track_usage() as tracker:
        lm("hi")
    assert len(seen) == meter.report().lm_calls == 1
    assert tracker.get_total_tokens()["fake/model"]["prompt_tokens"] == 10


def test_an_lm_of_another_class_is_counted_and_keeps_its_state():
    inner = DummyLM([{"answer": "one"}, {"answer": "two"}])
    meter = Meter()
    with dspy.context(lm=MeteredLM(inner, meter, "task"), adapter=dspy.ChatAdapter()):
        predict = dspy.Predict("question -> answer")
        assert [predict(question="a").answer, predict(question="b").answer] == ["one", "two"]
    assert meter.report().lm_calls == 2


def test_a_legacy_lm_with_forward_alone_is_counted():
    class Legacy(dspy.BaseLM):
        def forward(self, prompt=None, messages=None, **kwargs):
            from litellm import ModelResponse

            return ModelResponse(
                choices=[{"message": {"content": "hello"}}], usage={"prompt_tokens": 3, "completion_tokens": 2}
            )

    meter = Meter()
    assert MeteredLM(Legacy("legacy/model", cache=False), meter, "task")("hi") == ["hello"]
    assert meter.report().tokens == 5


def test_something_else_than_an_lm_is_refused():
    with pytest.raises(InputError, match="openai/gpt"):
        MeteredLM("openai/gpt-4.1-mini", Meter(), "task")


def essence(body):
    """A request but for two spellings that differ between DSPy's own routes."""
    limit = body.pop("max_tokens", None) or body.pop("max_completion_tokens", None)
    return {**body, "n": 1, "limit": limit}


@pytest.mark.parametrize("engine", ["auto", "litellm"])
def test_a_hosted_model_is_asked_the_same_metered_or_not(engine):
    with Endpoint(lambda body: chat(answer="hello")) as endpoint:
        lm = dspy.LM(
            "openai/some-model",
            engine=engine,
            api_base=endpoint.url,
            api_key="x",
            temperature=0.3,
            max_tokens=77,
            timeout=10,
            extra_body={"chat_template_kwargs": {"thinking": False}},
            cache=False,
            num_retries=0,
        )
        meter = Meter()
        with dspy.context(adapter=dspy.ChatAdapter()):
            predict = dspy.Predict("question -> answer")
            assert predict(question="x", lm=lm).answer == "hello"
            assert predict(question="x", lm=MeteredLM(lm, meter, "task")).answer == "hello"
    plain, counted = map(essence, endpoint.bodies)
    assert counted == plain
    assert counted["temperature"] == 0.3 and counted["chat_template_kwargs"] == {"thinking": False}
    assert meter.report().tokens == 15


def test_the_engine_may_be_shared_and_needs_no_async_half():
    engine = FakeEngine(lambda text: "hello")
    lm = MeteredLM(dspy.LM("fake/model", engine=engine, cache=False), Meter(), "task")
    assert asyncio.run(lm.acall("hi")) == ["hello"]


@pytest.mark.parametrize("asked_as", ["sync", "async", "beside"])
def test_no_more_requests_are_under_way_than_at_once_says(asked_as):
    under_way, most = set(), []

    def answer(text):
        under_way.add(text)
        most.append(len(under_way))
        three.wait(10)
        under_way.discard(text)
        return "hello"

    three = threading.Barrier(3)
    meter = Meter()
    lm = MeteredLM(fake_lm(answer), meter, "task", at_once=3)
    if asked_as == "beside":
        lm = lm.beside(fake_lm(answer))
    if asked_as == "async":

        async def all_of_them():
            return await asyncio.gather(*(lm.acall(f"question {i}") for i in range(12)))

        asyncio.run(all_of_them())
    else:
        with ThreadPoolExecutor(12) as pool:
            list(pool.map(lambda i: lm(f"question {i}"), range(12)))
    assert max(most) <= 3 and meter.report().lm_calls == 12
