"""A model's answer is taken only when it is whole and can be read."""

from __future__ import annotations

import dspy
import pytest
from dspy import lm15
from dspy.utils.exceptions import LMServerError
from fakes import chat, fake_lm, response

from langmem_dspy.errors import InputError, ReplyError
from langmem_dspy.replies import Asking, ReplyAdapter, as_lm


def ask(*replies, adapter=None, asking=None, signature="question -> answer: list[str]"):
    waiting = list(replies)
    lm = fake_lm(lambda text: waiting.pop(0))
    with dspy.context(lm=lm, adapter=adapter):
        return (asking or Asking())(dspy.Predict(signature), question="why?"), lm.engine.requests


def test_an_unreadable_reply_is_asked_again_with_what_was_wrong():
    answer, requests = ask("mumble", chat(answer='["because"]'))
    assert answer.answer == ["because"] and len(requests) == 2
    assert "could not be used: the reply did not have the fields asked for" in requests[1]


@pytest.mark.parametrize("reply", ["mumble", "", chat(answer="[1, {"), response(chat(answer='["x"]'), finish="length")])
def test_a_second_unusable_reply_is_the_last(reply):
    with pytest.raises(ReplyError):
        ask(reply, reply, chat(answer='["too late"]'))


def test_one_update_spends_one_repair_wherever_it_was_needed():
    asking = Asking()
    ask("mumble", chat(answer='["because"]'), asking=asking)
    with pytest.raises(ReplyError):
        ask("mumble", chat(answer='["because"]'), asking=asking)


def test_the_models_own_faults_are_not_repaired():
    with pytest.raises(LMServerError):
        ask(lm15.ServerError("down"), chat(answer='["because"]'))


@pytest.mark.parametrize(
    "cut",
    [
        '{"answer": ["because',
        '{"answer": ["because"',
        '{"answer": ["because"], "more": {"a": 1}',
        '```json\n{"answer": ["because", "{',
        '{"answer": ["a } in a string"',
    ],
)
def test_json_that_ends_in_the_middle_is_not_repaired_into_an_answer(cut):
    with pytest.raises(ReplyError, match="ends in the middle"):
        ask(cut, adapter=dspy.JSONAdapter(), asking=Asking(repairs=0))


@pytest.mark.parametrize(
    "whole",
    [
        '{"answer": ["because"]}',
        '```json\n{"answer": ["because"]}\n```',
        '{"answer": ["because"],}',
        '{"answer": ["because"]} I hope this helps.',
        "{'answer': ['because']}",
        '{"answer": ["because"], "note": "a \\" and a { in it"}',
    ],
)
def test_json_that_is_only_untidy_is_an_answer(whole):
    answer, requests = ask(whole, adapter=dspy.JSONAdapter())
    assert answer.answer == ["because"] and len(requests) == 1


def test_the_users_adapter_is_spoken_and_ours_makes_no_hidden_requests():
    _, requests = ask('{"answer": ["x"]}', adapter=dspy.JSONAdapter())
    assert "JSON object" in requests[0]
    with pytest.raises(ReplyError):
        ask('{"answer": ["x"]}', asking=Asking(repairs=0))


def test_langchains_way_to_name_a_model_is_read():
    assert as_lm("openai:gpt-4.1-mini").model == "openai/gpt-4.1-mini"
    assert as_lm("openai/ft:gpt").model == "openai/ft:gpt"


def test_no_model_and_what_is_none_are_refused():
    with dspy.context(lm=None), pytest.raises(InputError, match=r"dspy\.configure"):
        as_lm(None)
    with pytest.raises(InputError, match="model string"):
        as_lm(3)


@pytest.mark.parametrize(
    "inputs",
    [
        {"a": "é", "b": ["x"], "c": 4, "d": {"q": 1}, "e": ["one", "two"]},
        {"a": "", "b": [], "c": 0, "d": {}, "e": []},
        {"a": "only"},
    ],
)
def test_our_adapter_asks_just_as_dspys_does(inputs):
    signature = dspy.Signature("a: str, b: list[str], c: int, d: dict[str, int], e -> f: list[int], g: bool, h")
    theirs = dspy.ChatAdapter().format(signature, [], inputs)
    assert ReplyAdapter().format(signature, [], inputs) == theirs


@pytest.mark.parametrize(
    "reply",
    [
        "[[ ## f ## ]]\n[1, 2]\n\n[[ ## g ## ]]\nTrue\n\n[[ ## h ## ]]\ntext\nof two lines\n\n[[ ## completed ## ]]",
        "I think:\n[[ ## f ## ]] [1]\n[[ ## g ## ]] yes\n[[ ## h ## ]]\n\n[[ ## completed ## ]]\n",
        "[[ ## g ## ]]\nfalse\n[[ ## f ## ]]\n[1,]\n[[ ## h ## ]]\nno end",
        "[[ ## f ## ]]\r\n['1']\r\n[[ ## g ## ]]\r\nFalse\r\n[[ ## h ## ]]\r\na\r\nb\r\n[[ ## completed ## ]]",
        "[[ ## f ## ]]\n[3]\n[[ ## g ## ]]\n1\n[[ ## h ## ]]\n5\n[[ ## h ## ]]\n6\n[[ ## completed ## ]]",
    ],
)
def test_our_adapter_reads_replies_just_as_dspys_does(reply):
    signature = dspy.Signature("a -> f: list[int], g: bool, h")
    assert ReplyAdapter().parse(signature, reply) == dspy.ChatAdapter().parse(signature, reply)


def test_a_model_string_without_a_model_is_told():
    with pytest.raises(InputError, match="no model can be meant by 'openai/'"):
        as_lm("openai/")
