"""What a prompt is, and what no revision may break."""

from __future__ import annotations

import copy

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langmem_dspy.errors import PromptError
from langmem_dspy.optimizers.prompts import (
    as_prompts,
    broken_by,
    is_frozen,
    literals,
    unwrapped,
    variables,
    with_prompts,
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Greet {name}.", {"{name}"}),
        ("{a.b} {c[0]} {d!r} {e:>10} {}", {"{a.b}", "{c[0]}", "{d!r}", "{e:>10}", "{}"}),
        ('{"json": "text", "n": 1}', set()),
        ('{"q": "{user}", "deep": {"a": "{b}"}}', {"{user}", "{b}"}),
        ("{{literal}} {var}", {"{var}"}),
        ("a stray } and {name}", {"{name}"}),
        ("a stray { and {name}", {"{name}"}),
        ("regex a{1,2} and {not a name}", set()),
        ("", set()),
    ],
)
def test_variables_are_told_from_json_and_prose(text, found):
    assert variables(text) == found


def test_literals_are_kept_verbatim():
    assert literals("{{ user }} and {{x}}") == {"{{ user }}", "{{x}}"}


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("Hi {a}", "Hi {a}, friend", None),
        ("Hi {a}", "Hi a", "{a} is missing"),
        ("Hi {a}", "Hi {a} {b}", "{b} was not"),
        ("Hi {a!r}", "Hi {a}", "{a!r} is missing"),
        ("Hi", 'Hi, answer {"like": "this"}', None),
        ("Hi {a}", "Hi {a} and a stray {", "unbalanced"),
        ("Hi", "Hi and a stray {", None),
        ("Hi {{a}}", "Hi {a}", "{{a}} is missing"),
        ("Hi", "None", "empty"),
        ("", "null", "empty"),
        ("None", "None", None),
        ("Hi", "Hi \ud800", "half a character"),
    ],
)
def test_what_breaks_a_prompt_is_said_in_words(before, after, problem):
    problems = broken_by(before, after)
    assert not problems if problem is None else problem in " ".join(problems)


@given(st.text(alphabet='ab{}:!" .\n', max_size=40))
def test_no_prompt_breaks_itself(text):
    assert broken_by(text, text) == []
    assert unwrapped(text, text) == text.strip()


@pytest.mark.parametrize(
    ("when", "frozen"),
    [
        ("never", True),
        ("Never.", True),
        ("  NEVER change this if you can", True),
        ("never, unless it is rude", False),
        ("never except on request", False),
        ("nevertheless often", False),
        ("when asked; never otherwise", False),
        (None, False),
        ("", False),
    ],
)
def test_never_freezes_a_prompt(when, frozen):
    assert is_frozen({"name": "a", "prompt": "x", "when_to_update": when}) is frozen


def test_names_are_given_and_must_differ():
    assert [p["name"] for p in as_prompts(["x", {"prompt": "y"}, {"name": "z", "prompt": "z"}])] == [
        "prompt_1",
        "prompt_2",
        "z",
    ]
    with pytest.raises(PromptError, match="given twice: z"):
        as_prompts([{"name": "z", "prompt": "1"}, {"name": "z", "prompt": "2"}])


def test_deepcopy_shares_signature_classes_and_we_do_not_write_into_them():
    program = dspy.Predict("question -> answer")
    assert copy.deepcopy(program).signature is program.signature  # the trap
    copied = with_prompts(program, {"self": "Be brief."})
    assert copied.signature.instructions == "Be brief." != program.signature.instructions


def test_deepcopy_forks_lms_and_we_share_them():
    program = dspy.Predict("question -> answer")
    program.lm = dspy.LM("openai/x")
    assert copy.deepcopy(program).lm is not program.lm  # the trap
    assert with_prompts(program, {}).lm is program.lm


def test_a_predictor_under_two_names_stays_one_predictor():
    class Twice(dspy.Module):
        def __init__(self):
            super().__init__()
            self.a = self.b = dspy.Predict("question -> answer")

    copied = with_prompts(Twice(), {"a": "Be brief."})
    assert copied.a is copied.b and copied.a.signature.instructions == "Be brief."
