from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langmem_dspy.simulation.effects import carry_out, satisfied, without_contradictions
from langmem_dspy.simulation.parsing import Said, find_rules, find_said
from langmem_dspy.simulation.phrasing import ORDERS, correct, phrase
from langmem_dspy.simulation.rules import Condition, Rule

MENTIONS = Condition("ticket", "mentions", ("refund", "money back"))
REFUND = Rule("queue", "set", "billing", when=(MENTIONS,))
ENDING = Rule("reply", "end", "Best regards, the team")

names = st.sampled_from(["ticket", "plan", "order_id", "queue"])
words = st.sampled_from(["refund", "money back", "Yours, A. Smith", "50% off; today only", "don't", "C++", "straße"])
conditions = st.builds(
    Condition,
    names,
    st.sampled_from(["mentions", "is"]),
    st.lists(words, min_size=1, max_size=3).map(tuple),
    st.booleans(),
)


@st.composite
def rules(draw):
    effect = draw(st.sampled_from(sorted(ORDERS)))
    value = {"limit": "40", "case": "upper", "language": "French", "quote": ""}.get(effect, draw(words))
    source = {"replace": "user", "quote": "order_id"}.get(effect, "")
    return Rule("reply", effect, value, source, tuple(draw(st.lists(conditions, max_size=2))))


@settings(max_examples=200, deadline=None)
@given(rules(), st.integers(0, 40))
def test_a_rule_is_read_back_from_each_of_its_wordings(rule, style):
    assert find_rules(f"Some words first. - {phrase(rule, style)} Some words after it.") == (rule,)


@settings(max_examples=100, deadline=None)
@given(rules())
def test_a_correction_is_read_as_one_and_with_its_grounds_only_if_it_gives_them(rule):
    assert find_said(correct(rule, why=True)) == [Said(rule, correction=True)]
    assert find_said(correct(rule, why=False)) == [Said(rule.general, correction=True)]


@pytest.mark.parametrize(
    "frame",
    [
        "{}",
        "1. {}",
        "* {}",
        "user: {}",
        "<feedback>{}</feedback>",
        "Feedback: {}",
        "**Please note:** {}",
    ],
)
def test_rules_are_found_in_any_frame(frame):
    assert find_rules(frame.format(f"{phrase(REFUND)} {phrase(ENDING)}")) == (REFUND, ENDING)


@pytest.mark.parametrize(
    "dump", [json.dumps, lambda v: json.dumps(v, indent=2), repr, lambda v: json.dumps(json.dumps(v))]
)
def test_rules_are_found_in_serialized_text(dump):
    assert set(find_rules(dump([{"Feedback": f"{phrase(REFUND)} {phrase(ENDING)}"}]))) == {REFUND, ENDING}


@pytest.mark.parametrize(
    "text",
    [
        'When the ticket contains “refund” or "money back", the queue should be "billing"!',
        'Please set the queue to "billing" if ticket mentions "refund" or "money back".',
        "If the ticket mentions 'refund' or 'money back', then label the queue as 'billing'.",
        'Make sure that `queue` is always "billing" whenever `ticket` talks about "refund" or "money back"',
    ],
)
def test_wordings_that_are_not_ours_are_understood(text):
    assert find_rules(text) == (REFUND,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I said 'no' in 'English' and went home.",
        'He wrote "hello" to the team, then `rm -rf` it.',
        "Please answer in good style, with at most some words.",
        'The customer said: "If only the queue were shorter".',
        "{" * 2000,
        '"' * 2000,
        "`a` must be " * 500,
    ],
)
def test_prose_holds_no_rule(text):
    assert find_rules(text) == ()


@settings(max_examples=150, deadline=None)
@given(st.lists(rules(), min_size=1, max_size=4, unique=True), st.sampled_from(["", "the user said hello", "a " * 90]))
def test_what_is_carried_out_is_satisfied(wanted, text):
    wanted = [rule.general for rule in wanted]
    compatible = [
        r for r in without_contradictions(wanted) if r.effect not in ("set", "avoid", "replace", "limit", "case")
    ]
    compatible = [r for r in compatible if r.value.lower() not in {"user"}]
    done = carry_out(compatible, text, {"order_id": "A17"})
    assert all(satisfied(rule, done, {"order_id": "A17"}) for rule in compatible)


def test_of_contradicting_rules_the_more_specific_wins_and_then_the_later():
    general, late = Rule("queue", "set", "a"), Rule("queue", "set", "b")
    assert without_contradictions([REFUND, general, late]) == [REFUND]
    assert without_contradictions([general, late]) == [late]
    assert general.contradicts(late) and not general.contradicts(REFUND)


def test_a_limit_holds_whatever_is_added():
    rules = [
        Rule("reply", "limit", "12"),
        ENDING,
        Rule("reply", "mention", "five days"),
        Rule("reply", "quote", source="n"),
    ]
    done = carry_out(rules, "word " * 50, {"n": "A17"})
    assert all(satisfied(rule, done, {"n": "A17"}) for rule in rules)
