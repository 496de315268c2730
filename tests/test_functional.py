"""LangMem's functions: every form of trajectory, feedback and prompt, sync and async, nothing touched in vain."""

from __future__ import annotations

import asyncio
import json

import dspy
import numpy as np
import pytest
from fakes import fake_lm, input_field
from programs import LESSON, reviewer, wants

from langmem_dspy.errors import InputError, MessagesError, PromptError
from langmem_dspy.functional import create_multi_prompt_optimizer, create_prompt_optimizer
from langmem_dspy.optimizers.trajectories import Step, Trajectory

KINDS = ["gradient", "metaprompt", "prompt_memory"]
CALLS = dict(zip(KINDS, (2, 1, 1), strict=True))
TALK = [{"role": "user", "content": "SAID-MARK"}, {"role": "assistant", "content": "hello"}]


def blaming(*names):
    blame = json.dumps([{"prompt_name": name, "reason": "it is", "trajectory_ids": ["t1"]} for name in names])
    return lambda text: reviewer(text, blame=blame)


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_takes_the_calls_of_its_kind(kind):
    lm = fake_lm(reviewer)
    optimize = create_prompt_optimizer(lm, kind=kind)
    assert optimize([(TALK, "FEEDBACK-MARK")], "Say it.") == f"Say it.\n{LESSON}"
    assert lm.engine.calls == optimize.last_usage.lm_calls == CALLS[kind]
    assert optimize.last_usage.reflection.lm_calls == CALLS[kind]


@pytest.mark.parametrize(
    "form",
    [
        "SAID-MARK",
        ["SAID-MARK"],
        TALK,
        [TALK],
        [(TALK, None)],
        [[TALK, ""]],
        (TALK, None),
        [{"messages": TALK}],
        {"messages": TALK},
        [{"messages": TALK, "feedback": None, "score": 0.3, "id": "x"}],
        [{"trajectory": TALK}],
        [{"conversation": "SAID-MARK"}],
        [dspy.History(messages=TALK)],
        [dspy.Example(messages=TALK, feedback="x")],
        [dspy.Example(trajectory=TALK, feedback="x").with_inputs("trajectory")],
        [Trajectory("x", steps=(Step("p", {"text": "SAID-MARK"}, {"answer": "hello"}),))],
        [(Trajectory("x", steps=(Step("p", {"text": "SAID-MARK"}, {"answer": "hello"}),)), "x")],
        [({"messages": TALK}, "x")],
        [[("user", "SAID-MARK"), ("assistant", "hello")]],
        [("User", "SAID-MARK"), ("Assistant", "hello")],
        iter([TALK]),
    ],
)
def test_every_form_of_trajectory_reaches_the_model_as_one(form):
    lm = fake_lm(reviewer)
    create_prompt_optimizer(lm)(form, "Say it.")
    shown = input_field(lm.engine.requests[0], "trajectories")
    assert "SAID-MARK" in shown and shown.count("<trajectory ") == 1


@pytest.mark.parametrize(
    ("feedback", "shown"),
    [
        ("too long", "too long"),
        (0.2, "score: 0.2"),
        (np.float32(0.5), "score: 0.5"),
        (True, "score: True"),
        (85, "score: 85"),
        ({"score": 0.2, "comment": "too long", "none": None}, "comment: too long"),
        ({"revised": "Shorter."}, "revised: Shorter."),
        (["too long", {"comment": "rude"}], "comment: rude"),
        ({"role": "user", "content": "too long"}, "user: too long"),
        ({"prompt": "for this prompt"}, '<feedback for="prompt">for this prompt'),
    ],
)
def test_every_form_of_feedback_reaches_the_model(feedback, shown):
    lm = fake_lm(reviewer)
    create_prompt_optimizer(lm)([(TALK, feedback)], "Say it.")
    assert shown in input_field(lm.engine.requests[0], "trajectories")


def test_feedback_inside_and_around_a_trajectory_is_all_kept():
    inner = Trajectory("x", steps=(Step("p", {}, {}),), feedback="INNER", score=0.25)
    for form in ([(inner, "OUTER")], [({"messages": TALK, "feedback": "INNER", "score": 0.25}, "OUTER")]):
        lm = fake_lm(reviewer)
        create_prompt_optimizer(lm)(form, "Say it.")
        shown = input_field(lm.engine.requests[0], "trajectories")
        assert "INNER" in shown and "OUTER" in shown and 'score="0.25"' in shown


def test_a_score_on_no_known_scale_is_still_said():
    lm = fake_lm(reviewer)
    create_prompt_optimizer(lm)([{"messages": TALK, "score": 85}], "Say it.")
    assert "score: 85" in lm.engine.requests[0]


@pytest.mark.parametrize(
    "unreadable",
    [
        3,
        [3],
        [{"talk": TALK}],
        [{"messages": TALK, "feedbak": "x"}],
        [(TALK, object())],
        [TALK, 7],
        [{"messages": TALK, "conversation": TALK}],
    ],
)
def test_what_no_one_can_read_is_refused_before_any_call(unreadable):
    lm = fake_lm(reviewer)
    with pytest.raises(MessagesError):
        create_prompt_optimizer(lm)(unreadable, "Say it.")
    assert lm.engine.calls == 0


@pytest.mark.parametrize(
    "prompt", ["Say it.", {"prompt": "Say it."}, {"name": "a", "prompt": "Say it.", "when_to_update": None}]
)
def test_every_form_of_prompt_gives_text(prompt):
    assert create_prompt_optimizer(fake_lm(reviewer))(TALK, prompt) == f"Say it.\n{LESSON}"


@pytest.mark.parametrize(
    "prompt", [3, None, {"name": "a"}, {"prompt": 3}, {"prompt": "x", "text": "y"}, {"prompt": "x", "name": 3}]
)
def test_what_is_no_prompt_is_refused(prompt):
    with pytest.raises(PromptError):
        create_prompt_optimizer(fake_lm(reviewer))(TALK, prompt)


@pytest.mark.parametrize("kind", KINDS)
def test_all_four_ways_to_call_give_the_same(kind):
    optimize = create_prompt_optimizer(fake_lm(reviewer), kind=kind)
    given = {"trajectories": [(TALK, "bad")], "prompt": "Say it."}
    expected = optimize(**given)
    assert (
        optimize.invoke(given)
        == asyncio.run(optimize.acall(**given))
        == asyncio.run(optimize.ainvoke(given))
        == expected
    )


@pytest.mark.parametrize(
    "given", [{}, {"trajectories": [], "prompts": []}, {"trajectories": [], "prompt": "x", "more": 1}, [], "x"]
)
def test_invoke_with_other_keys_names_the_right_ones(given):
    optimize = create_prompt_optimizer(fake_lm(reviewer))
    with pytest.raises(InputError, match="trajectories, prompt"):
        optimize.invoke(given)
    with pytest.raises(InputError, match="trajectories, prompt"):
        asyncio.run(optimize.ainvoke(given))


def test_an_unknown_kind_or_setting_is_refused():
    with pytest.raises(InputError, match="gradient, metaprompt, prompt_memory"):
        create_prompt_optimizer(fake_lm(reviewer), kind="magic")
    with pytest.raises(InputError, match="max_reflection_steps"):
        create_prompt_optimizer(fake_lm(reviewer), config={"steps": 3})
    with pytest.raises(InputError, match="model string"):
        create_prompt_optimizer(3)


def test_the_configured_model_is_looked_up_when_called():
    optimize = create_prompt_optimizer()
    with dspy.context(lm=None), pytest.raises(InputError, match="no language model"):
        optimize(TALK, "Say it.")
    with dspy.context(lm=fake_lm(reviewer)):
        assert optimize(TALK, "Say it.").endswith(LESSON)


def test_reflection_steps_are_taken_from_the_config():
    lm = fake_lm(reviewer)
    create_prompt_optimizer(lm, kind="metaprompt", config={"max_reflection_steps": 3, "min_reflection_steps": 2})(
        TALK, "Say it."
    )
    assert lm.engine.calls == 3


# --- several prompts ---


def prompts():
    return [
        {"name": "a", "prompt": "Say {a}.", "when_to_update": "WHEN-A", "update_instructions": "HOW-A"},
        {"name": "b", "prompt": "Say {b}.", "when_to_update": "never", "update_instructions": None},
        {"name": "c", "prompt": "Say {c}."},
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["sync", "async", "invoke"])
def test_blamed_prompts_are_revised_and_the_others_are_the_objects_given(kind, way):
    given, lm = prompts(), fake_lm(blaming("c", "b", "nobody"))
    optimize = create_multi_prompt_optimizer(lm, kind=kind)
    call = {"trajectories": [(TALK, "bad")], "prompts": given}
    if way == "sync":
        result = optimize(**call)
    else:
        result = asyncio.run(optimize.acall(**call)) if way == "async" else optimize.invoke(call)
    assert result[0] is given[0] and result[1] is given[1]
    assert result[2] == {"name": "c", "prompt": f"Say {{c}}.\n{LESSON}"}
    assert given == prompts()
    assert lm.engine.calls == 1 + CALLS[kind]


def test_no_blame_touches_nothing():
    given = prompts()
    result = create_multi_prompt_optimizer(fake_lm(blaming()))(TALK, given)
    assert all(after is before for after, before in zip(result, given, strict=True))


def test_feedback_on_one_prompt_blames_it_whatever_the_model_says():
    lm = fake_lm(blaming())
    result = create_multi_prompt_optimizer(lm)([(TALK, {"a": "too long"})], prompts())
    assert result[0]["prompt"].endswith(LESSON)


def test_guidance_reaches_credit_and_the_last_rewriting_step():
    for kind in KINDS:
        lm = fake_lm(blaming("a"))
        create_multi_prompt_optimizer(lm, kind=kind)([(TALK, "bad")], prompts())
        assert "WHEN-A" in lm.engine.requests[0] and "HOW-A" in lm.engine.requests[-1]


@pytest.mark.parametrize("nothing", [[], None, "", [[]]])
def test_without_trajectories_every_prompt_is_as_given_for_no_calls(nothing):
    given, lm = prompts(), fake_lm(reviewer)
    result = create_multi_prompt_optimizer(lm)(nothing, given)
    assert lm.engine.calls == 0 and all(after is before for after, before in zip(result, given, strict=True))


def test_only_frozen_prompts_need_no_calls():
    lm = fake_lm(reviewer)
    given = prompts()[1:2]
    assert create_multi_prompt_optimizer(lm)(TALK, given)[0] is given[0] and lm.engine.calls == 0


def test_one_prompt_alone_is_blamed_without_asking():
    lm = fake_lm(reviewer)
    assert create_multi_prompt_optimizer(lm, kind="metaprompt")(TALK, ["Say it."]) == [f"Say it.\n{LESSON}"]
    assert lm.engine.calls == 1


@pytest.mark.parametrize(
    "wrong", [[{"name": "a", "prompt": "x"}, {"name": "a", "prompt": "y"}], "just text", {"name": "a", "prompt": "x"}]
)
def test_duplicate_names_and_a_single_prompt_are_refused(wrong):
    with pytest.raises(PromptError, match=r"given twice: a|put it in a list"):
        create_multi_prompt_optimizer(fake_lm(reviewer))(TALK, wrong)


def test_credit_that_cannot_be_read_lets_every_open_prompt_decide_for_itself():
    lm = fake_lm(lambda text: "garbage" if "blamed" in wants(text) else reviewer(text))
    result = create_multi_prompt_optimizer(lm)(TALK, prompts())
    assert [p["prompt"].endswith(LESSON) for p in result] == [True, False, True]


def test_evidence_in_parts_of_a_long_talk_is_found_again():
    long = [("user", "word " * 20_000), ("assistant", "x")]
    blame = '[{"prompt_name": "a", "reason": "r", "trajectory_ids": ["t1, part 2 of 2", "t9"]}]'
    lm = fake_lm(lambda text: reviewer(text, blame=blame))
    create_multi_prompt_optimizer(lm, kind="prompt_memory", config={"max_input_tokens": 20_000})(
        [(long, "bad"), (TALK, "SECOND")], prompts()
    )
    rewriting = [request for request in lm.engine.requests if "improved_prompt" in wants(request)]
    assert rewriting and not any("SECOND" in request for request in rewriting)
