"""What was answered is not asked again, also not by two threads at once; what failed is."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import dspy
import pytest
from fakes import chat, fake_lm

from langmem_dspy.memo import Memo
from langmem_dspy.metered_lm import MeteredLM, counting_repeats
from langmem_dspy.usage import Budget, Meter


def metered(answer=lambda text: chat(answer="x"), budget=None):
    lm = fake_lm(answer)
    return MeteredLM(lm, Meter(budget), "task", memo=True), lm.engine


def test_a_request_answered_before_is_not_sent_again_and_counts_as_a_hit():
    lm, engine = metered(budget=Budget(lm_calls=1))
    assert lm("hello") == lm("hello")
    assert engine.calls == 1 and lm._meter.report().total.cache_hits == 1


def test_a_repeat_within_one_rollout_asks_for_another_sample():
    lm, engine = metered()
    for _ in range(2):  # the second rollout finds both samples of the first
        with counting_repeats():
            lm("hello")
            lm("hello")
    assert engine.calls == 2


def test_another_rollout_id_asks_for_another_sample():
    lm, engine = metered()
    for rollout_id in (1, 2, 1):
        lm("hello", rollout_id=rollout_id, temperature=1.0)
    assert engine.calls == 2


def test_what_is_forgotten_is_asked_again():
    lm, engine = metered()
    lm("hello")
    lm.forget()
    lm("hello")
    assert engine.calls == 2


def test_a_failure_is_not_remembered():
    replies = iter([dspy.LMError("down"), chat(answer="x")])
    lm, engine = metered(lambda text: next(replies))
    with pytest.raises(dspy.LMError):
        lm("hello")
    assert lm("hello") and engine.calls == 2


def test_two_threads_with_one_question_ask_once():
    asked, waiting = [], threading.Barrier(4)
    memo: Memo[int] = Memo()

    def question(_):
        waiting.wait(5)
        return memo.get("question", lambda: asked.append(1) or 42)

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(question, range(4)))
    assert len(asked) == 1 and sorted(answers) == [(42, False), (42, True), (42, True), (42, True)]


def test_a_question_that_failed_may_be_asked_again():
    memo: Memo[int] = Memo()
    with pytest.raises(ValueError, match="no"):
        memo.get("question", lambda: (_ for _ in ()).throw(ValueError("no")))
    assert memo.get("question", lambda: 1) == (1, False)
