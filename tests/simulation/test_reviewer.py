from __future__ import annotations

import json

import dspy
import pydantic
import pytest

from langmem_dspy import create_multi_prompt_optimizer, create_prompt_optimizer, simulation
from langmem_dspy.optimizers.credit import AssignCredit
from langmem_dspy.optimizers.gradient import Diagnose, Revise
from langmem_dspy.optimizers.revision import MendPrompt
from langmem_dspy.simulation import worlds
from langmem_dspy.simulation.advice import find_advice
from langmem_dspy.simulation.parsing import find_rules
from langmem_dspy.simulation.phrasing import correct, phrase
from langmem_dspy.simulation.rules import Condition, Rule

ADAPTERS = [dspy.ChatAdapter(use_json_adapter_fallback=False), dspy.JSONAdapter(), dspy.XMLAdapter()]
PROMPT = "You sort tickets for {company}.\nRead `ticket` and fill `queue`.\n- Be brief."
REFUND = Rule("queue", "set", "billing", when=(Condition("ticket", "mentions", ("refund",)),))
CRASH = Rule("queue", "set", "technical", when=(Condition("ticket", "mentions", ("crash",)),))
ENDING = Rule("reply", "end", "Bye")


def trajectory(feedback: str, number: int = 1) -> str:
    return (
        f'<trajectory id="t{number}" score="0.20">\n'
        '<step predictor="sort">\n<inputs>\nticket: a refund please\n</inputs>\n<outputs>\nqueue: general\n</outputs>\n'
        "</step>\n"
        '<step predictor="write">\n<inputs>\nticket: a refund please\nqueue: general\n</inputs>\n<outputs>\nreply: hm\n'
        f"</outputs>\n</step>\n<feedback>{feedback}</feedback>\n</trajectory>"
    )


def ask(signature, *, profile="strong", seed=0, adapter=ADAPTERS[0], **inputs):
    with dspy.context(lm=simulation.offline_lm(profile, seed), adapter=adapter):
        return dspy.Predict(signature)(**inputs)


def diagnose(text: str, **options):
    defaults = {"prompt": PROMPT, "when_to_update": "", "update_instructions": "", "earlier_findings": []}
    return ask(Diagnose, trajectories=text, **{**defaults, **options})


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda a: type(a).__name__)
def test_a_diagnosis_restates_what_the_feedback_says_of_this_prompt(adapter):
    found = diagnose(trajectory(f"{phrase(REFUND)} {phrase(ENDING)}"), adapter=adapter)
    assert find_rules("\n".join(found.recommendations)) == (REFUND,)
    assert found.change_warranted is True
    assert find_rules(found.analysis) == (REFUND,)


def test_no_change_is_warranted_without_complaints():
    for said in ("", "Good.", "Something about `queue` is not right.", phrase(ENDING)):
        found = diagnose(trajectory(said))
        assert (found.recommendations, found.change_warranted) == ([], False)


def test_what_was_found_before_is_not_found_again():
    found = diagnose(trajectory(f"{phrase(REFUND)} {phrase(CRASH)}"), earlier_findings=[phrase(REFUND, 3)])
    assert find_rules("\n".join(found.recommendations)) == (CRASH,)


def test_what_the_prompt_says_already_is_not_recommended():
    assert diagnose(trajectory(phrase(REFUND)), prompt=f"{PROMPT}\n- {phrase(REFUND, 4)}").recommendations == []


def test_the_owners_word_on_when_to_change_is_heeded():
    assert diagnose(trajectory(phrase(REFUND)), when_to_update="Never change this prompt.").recommendations == []
    assert diagnose(trajectory(phrase(REFUND)), when_to_update="When `queue` is wrong.").recommendations != []


def test_of_contradicting_feedback_the_majority_is_believed():
    wrong = Rule("queue", "set", "access", when=REFUND.when)
    said = [phrase(REFUND), phrase(wrong), phrase(REFUND, 2)]
    found = diagnose("\n\n".join(trajectory(text, i) for i, text in enumerate(said)))
    assert find_rules("\n".join(found.recommendations)) == (REFUND,)


def test_weak_reviewers_generalize_from_single_cases_more_than_strong_ones():
    def share(profile):
        text = trajectory(correct(REFUND, why=False))
        return sum(bool(diagnose(text, profile=profile, seed=i).recommendations) for i in range(80)) / 80

    assert share("weak") > 0.2 > share("middle") > share("strong")


def revise(profile="strong", seed=0, signature=Revise, **inputs):
    given = {
        "prompt": PROMPT,
        "update_instructions": "",
        "keep_verbatim": "{company}",
        "recommendations": [phrase(REFUND)],
    }
    return ask(signature, profile=profile, seed=seed, **{**given, **inputs}).improved_prompt


def test_a_revision_keeps_the_lines_and_adds_the_rule():
    lines = revise().split("\n")
    assert lines[:3] == PROMPT.split("\n")
    assert find_rules(lines[3]) == (REFUND,) and lines[3].startswith("- ")


def test_a_contradicted_line_gives_way():
    old = Rule("queue", "set", "access", when=REFUND.when)
    assert find_rules(revise(prompt=f"{PROMPT}\n- {phrase(old)}")) == (REFUND,)


class Rewrite(dspy.Signature):
    """Write a better prompt by the recommendations."""

    prompt: str = dspy.InputField()
    recommendations: list[str] = dspy.InputField()
    improved_prompt: str = dspy.OutputField()


def test_variables_are_lost_now_and_then_unless_it_is_told_to_keep_them():
    def lost(signature, profile, **inputs):
        texts = (
            ask(
                signature, profile=profile, seed=i, prompt=PROMPT, recommendations=[phrase(REFUND)], **inputs
            ).improved_prompt
            for i in range(100)
        )
        return sum("{company}" not in text for text in texts)

    told = {"update_instructions": "", "keep_verbatim": "{company}"}
    assert lost(Rewrite, "weak") > lost(Rewrite, "middle") > 0
    assert lost(Rewrite, "strong") <= 5
    assert lost(Revise, "weak", **told) == lost(Revise, "middle", **told) == 0


def test_a_broken_revision_is_mended():
    broken = PROMPT.replace("{company}", "the company").replace("Be brief", "Be {brief}") + f"\n- {phrase(REFUND)}"
    mended = ask(MendPrompt, original_prompt=PROMPT, revised_prompt=broken, problems=["{company} is missing."])
    assert mended.improved_prompt == f"{PROMPT}\n- {phrase(REFUND)}"


PROMPTS = (
    f'<prompt name="sort">\n{PROMPT}\n</prompt>\n'
    '<prompt name="write">\nWrite `reply` to `ticket`.\nwhen_to_update: When `reply` is wrong.\n</prompt>'
)


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda a: type(a).__name__)
def test_blame_falls_on_the_prompt_whose_step_writes_the_field(adapter):
    text = "\n\n".join([trajectory(phrase(REFUND), 1), trajectory("Fine.", 2), trajectory(phrase(REFUND, 2), 3)])
    blamed = ask(AssignCredit, system_outline="", prompts=PROMPTS, trajectories=text, adapter=adapter).blamed
    assert [entry.prompt_name for entry in blamed] == ["sort"]
    assert blamed[0].trajectory_ids == ["t1", "t3"]
    assert find_rules(blamed[0].reason) == (REFUND,)


def test_feedback_for_a_predictor_is_taken_at_its_word():
    text = trajectory("").replace("<feedback></feedback>", f'<feedback for="write">{phrase(ENDING)}</feedback>')
    blamed = ask(AssignCredit, system_outline="", prompts=PROMPTS, trajectories=text).blamed
    assert [entry.prompt_name for entry in blamed] == ["write"]


def test_nobody_is_blamed_for_nothing():
    assert ask(AssignCredit, system_outline="", prompts=PROMPTS, trajectories=trajectory("All good.")).blamed == []


class Lesson(pydantic.BaseModel):
    prompt_name: str
    rule: str
    reason: str
    trajectory_ids: list[str] = []


class Learn(dspy.Signature):
    """Name what these prompts should learn."""

    prompts: str = dspy.InputField()
    trajectories: str = dspy.InputField()
    lessons: list[Lesson] = dspy.OutputField()


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda a: type(a).__name__)
def test_lessons_are_atomic_placed_and_evidenced(adapter):
    text = "\n\n".join([trajectory(f"{phrase(REFUND)} {phrase(ENDING)}", 1), trajectory(phrase(CRASH), 2)])
    lessons = ask(Learn, prompts=PROMPTS, trajectories=text, adapter=adapter).lessons
    found = {(lesson.prompt_name, find_rules(lesson.rule), tuple(lesson.trajectory_ids)) for lesson in lessons}
    assert found == {("sort", (REFUND,), ("t1",)), ("write", (ENDING,), ("t1",)), ("sort", (CRASH,), ("t2",))}


def test_a_worker_whose_prompt_speaks_of_rewriting_stays_a_worker():
    polish = dspy.Signature("draft, feedback -> reply", 'Improve the draft and rewrite it. End `reply` with "Bye".')
    said = ask(polish, draft="Hello there", feedback='Set `reply` to "x".')
    assert said.reply == "Hello there Bye"


class Classify(pydantic.BaseModel):
    reasoning: str
    which: list[str] = pydantic.Field(description="The prompt names that should be updated, among ['sort', 'polish']")


def test_asked_which_of_several_prompts_to_change_it_names_those_the_feedback_is_about():
    text = (
        "Decide from these trajectories which prompts to update.\n\n<session_1>\nuser: hm\n\nFeedback:\n<FEEDBACK>\n"
        'If `plan` is "pro", set `queue` to "first".\n</FEEDBACK>\n</session_1>\n\nBelow are the prompts in question:\n'
        "sort: You sort for {company}.\nFill `queue`.\npolish: The tone is {tone}.\nPolish `draft` into `reply`.\n\n"
        'Return "which", a list of names.'
    )
    lm = simulation.offline_lm("strong")
    assert json.loads(lm(text, response_format=Classify)[0])["which"] == ["sort"]


ADVICE = "Always offer to look the order up by its number."


@pytest.mark.parametrize("kind", ["gradient", "metaprompt", "prompt_memory"])
def test_advice_in_plain_words_is_restated_word_for_word(kind):
    talk = [{"role": "user", "content": "Where is my order?"}, {"role": "assistant", "content": "No idea."}]
    optimize = create_prompt_optimizer(simulation.offline_lm("strong"), kind=kind)
    better = optimize([(talk, ADVICE)], "You help customers of {shop}.")
    assert better == f"You help customers of {{shop}}.\n{ADVICE}"
    assert optimize([(talk, ADVICE)], better) == better  # it stands there


def test_what_people_ask_for_in_a_conversation_is_no_advice():
    talk = '<trajectory id="t1">\n<conversation>\nuser: Please tell me a joke.\n</conversation>\n</trajectory>'
    assert diagnose(talk).recommendations == []


def test_advice_is_not_taken_where_the_owner_says_never():
    assert diagnose(trajectory(ADVICE)).recommendations == [ADVICE]
    assert diagnose(trajectory(ADVICE), when_to_update="never").recommendations == []


def test_advice_goes_into_the_prompt_it_shares_words_with():
    prompts = [{"name": "sort", "prompt": "Sort the tickets."}, {"name": "reply", "prompt": "Answer about an order."}]
    optimize = create_multi_prompt_optimizer(simulation.offline_lm("strong"))
    sort, reply = optimize([([{"role": "user", "content": "Where is it?"}], ADVICE)], prompts)
    assert sort is prompts[0] and reply["prompt"].endswith(ADVICE)


@pytest.mark.parametrize("name", worlds.names())
def test_no_world_is_learned_by_advice_in_plain_words(name):
    world = worlds.load(name, n_train=20, n_val=1, n_test=1)
    with dspy.context(lm=simulation.offline_lm()):
        said = [world.metric(example, world.program()(**example.inputs())).feedback for example in world.trainset]
    assert any(find_rules(feedback) for feedback in said)
    assert [find_advice(feedback) for feedback in said] == [[]] * len(said)
