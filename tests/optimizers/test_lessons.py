"""The ledger: prompts are the base text and the lessons in force, and nothing that was proposed is forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langmem_dspy.optimizers.lessons import MAX_TRIES, Draft, Ledger, applied, drafts_of_rewrite, origins, salient

BASE = {"first": "Greet {name}.\n- Be kind.", "second": "Sum it up."}


def taken_up(ledger, *texts, predictor="second", step=1):
    return ledger.take_up([Draft(predictor, text, evidence=("e1",)) for text in texts], step)


def in_force(ledger, *texts, predictor="second"):
    lessons = taken_up(ledger, *texts, predictor=predictor)
    for lesson in lessons:
        ledger.settle(lesson.id, "in force", 0.5, ["e1"])
    return lessons


def test_a_prompt_is_its_base_and_the_lessons_in_force():
    ledger = Ledger(BASE)
    in_force(ledger, "Use capitals.")
    assert ledger.prompts() == {**BASE, "second": "Sum it up.\nUse capitals."}


def test_a_lesson_on_trial_is_in_no_prompt_unless_asked_for():
    ledger = Ledger(BASE)
    (lesson,) = taken_up(ledger, "Use capitals.")
    assert ledger.prompts() == BASE
    assert ledger.prompts([lesson.id])["second"] == "Sum it up.\nUse capitals."


def test_a_lesson_taken_back_leaves_the_prompt_as_if_it_had_never_been():
    ledger = Ledger(BASE)
    first, _ = in_force(ledger, "Use capitals.", "Write one line.")
    ledger.settle(first.id, "dropped", -0.5, ["e1"], "hurt on e2")
    assert ledger.prompts()["second"] == "Sum it up.\nWrite one line."
    assert (ledger.lessons[first.id].fate, ledger.lessons[first.id].note) == ("dropped", "hurt on e2")


def test_a_line_joins_a_list_as_a_bullet():
    assert applied(BASE["first"], Draft("first", "Be brief.")) == "Greet {name}.\n- Be kind.\n- Be brief."


@pytest.mark.parametrize("text", ["One.\n", "One.\r\nTwo.", "One.\u2028Two.", "One.\x0cTwo.\n\n"])
def test_a_lesson_changes_no_other_character(text):
    changed = applied(text, Draft("p", "New."))
    assert changed.replace("\nNew.", "", 1) == text
    assert applied(text, Draft("p", "New.", replaces="nowhere")) == changed


def test_replacing_keeps_the_place_the_bullet_and_what_stands_around():
    text = "One.\n- Two.\n\n  three {x}\n"
    assert applied(text, Draft("p", "Zwei.", "- Two.")) == "One.\n- Zwei.\n\n  three {x}\n"
    assert applied(text, Draft("p", "", "- Two.")) == "One.\n\n  three {x}\n"


def test_the_same_in_other_words_is_not_tried_beside_itself():
    ledger = Ledger(BASE)
    (first,) = in_force(ledger, 'Start `reply` with "Hi".')
    (again,) = taken_up(ledger, '`reply` must start with "Hi".', 'Always start `reply` with "Hi".') or [first]
    assert again.id == first.id and len(ledger.lessons) == 1
    assert ledger.lessons[0].proposed == 3


def test_what_the_base_prompt_says_already_is_refused_with_that_reason():
    ledger = Ledger(BASE)
    (lesson,) = taken_up(ledger, "sum it up")
    assert (lesson.fate, lesson.note) == ("refused", "the prompt says so already")


def test_a_denial_is_not_the_same_as_what_it_denies():
    assert salient('Say "a" in `b`.') != salient('Never say "a" in `b`.')
    assert salient('Avoid "a" in `b`.') == salient('Do not write "a" in `b`.')
    assert salient('Say "no clue" in `b`.') == salient('Use "no clue" in `b`.')


def test_grounds_and_what_follows_of_them_do_not_change_places():
    ledger = Ledger({"p": 'When `a` is "red", `b` must be "blue".'})
    turned = ledger.take_up([Draft("p", 'When `a` is "blue", `b` must be "red".')], 1)[0]
    assert turned.fate == "trial"
    again = ledger.take_up([Draft("p", 'Set `b` to "blue" if `a` is "red".')], 1)[0]
    assert again.note == "the prompt says so already"
    assert salient('If `t` has "when you can", use "low" as `b`.') == salient(
        'Use "low" as `b` if "when you can" in `t`.'
    )


@pytest.mark.parametrize(
    ("draft", "reason"),
    [
        (Draft("first", "", "Greet {name}."), "{name} is missing"),
        (Draft("first", "Ask for {mail}."), "{mail} was not in the prompt"),
        (Draft("third", "Be."), "no prompt is named 'third'"),
        (Draft("first", "Be.", "Not there."), "the line it would replace is not in the prompt"),
        (Draft("first", " "), "it changes nothing"),
        (Draft("second", "Be quick."), "this prompt may not change"),
        (Draft("first", "half \ud800"), "lone surrogate"),
    ],
)
def test_what_cannot_be_tried_is_refused_and_kept_with_the_reason(draft, reason):
    ledger = Ledger(BASE, frozen=["second"])
    (lesson,) = ledger.take_up([draft], 3)
    assert lesson.fate == "refused" and reason in lesson.note and ledger.lessons == [lesson]
    assert ledger.take_up([draft], 4) == [] and ledger.lessons[0].proposed == 2
    assert ledger.prompts() == BASE


def test_a_rejected_lesson_is_tried_again_only_so_often():
    ledger = Ledger(BASE)
    tries = 0
    for _ in range(10):
        for lesson in taken_up(ledger, "Use capitals."):
            ledger.settle(lesson.id, "rejected", -0.1, ["e1"])
            tries += 1
    assert tries == MAX_TRIES
    assert sum(lesson.proposed for lesson in ledger.lessons) == 10


def test_dropping_a_lesson_opens_the_way_for_its_rivals_but_no_endless_circle():
    ledger = Ledger(BASE)
    for _ in range(MAX_TRIES):
        for lesson in taken_up(ledger, "Whisper."):
            ledger.settle(lesson.id, "rejected", 0, [])
    assert taken_up(ledger, "Whisper.") == []
    drops = 0
    for _ in range(10):
        for lesson in in_force(ledger, "Use capitals."):
            ledger.settle(lesson.id, "dropped", -1, [])
            ledger.reconsider(lesson)
            drops += 1
        if drops == 1:
            assert taken_up(ledger, "Whisper.")
    assert drops <= 2 * MAX_TRIES


def test_a_lesson_that_says_more_takes_the_place_of_the_one_that_says_less():
    ledger = Ledger({"p": "Answer.\n- Be kind."})
    (wide,) = in_force(ledger, 'End `reply` with "Bye".', predictor="p")
    (narrow,) = taken_up(ledger, 'If `queue` is "sales", end `reply` with "Bye".', predictor="p")
    assert ledger.prompts([wide.id, narrow.id])["p"].endswith('kind.\n- If `queue` is "sales", end `reply` with "Bye".')
    ledger.settle(narrow.id, "in force", 0.1, [])
    assert ledger.lessons[wide.id].fate == "replaced" and ledger.in_force == (narrow.id,)
    assert "End `reply`" not in ledger.prompts()["p"] and 'is "sales"' in ledger.prompts()["p"]


def test_a_line_put_in_the_place_of_one_that_is_dropped_stays():
    ledger = Ledger(BASE)
    (first,) = in_force(ledger, "Use capitals.")
    (second,) = ledger.take_up([Draft("second", "Use small letters.", "Use capitals.")], 2)
    both = [first.id, second.id]
    assert ledger.prompts(both)["second"] == ledger.prompts([second.id])["second"] == "Sum it up.\nUse small letters."


def test_a_rewrite_is_taken_apart_into_its_changed_lines():
    before, after = "Greet.\n- Be kind.\n- Be quick.\nEnd.", "Greet.\n- Be very kind.\nEnd.\n- Cite sources."
    assert drafts_of_rewrite("p", before, after, ("e1",)) == [
        Draft("p", "- Be very kind.", "- Be kind.", ("e1",)),
        Draft("p", "", "- Be quick.", ("e1",)),
        Draft("p", "- Cite sources.", "", ("e1",)),
    ]


def test_a_line_that_only_moved_is_no_change():
    assert drafts_of_rewrite("p", "One.\nTwo.\nThree.", "Three.\nOne.\n\nTwo.", ()) == []


def test_each_line_knows_its_lesson():
    ledger = Ledger(BASE)
    (kind,) = in_force(ledger, "Be brief.", predictor="first")
    lines = origins(BASE["first"], ledger.prompts()["first"], ledger.lessons)
    assert [(line, lesson and lesson.id) for line, lesson in lines] == [
        ("Greet {name}.", None),
        ("- Be kind.", None),
        ("- Be brief.", kind.id),
    ]


LINES = st.sampled_from(["Be kind.", "Be brief.", "Use {name}.", "Use capitals.", "", "- Be kind.", "Say {{x}}."])


@given(st.lists(st.tuples(LINES, LINES, st.sampled_from(["in force", "rejected", "idle", "dropped"])), max_size=12))
def test_whatever_is_proposed_variables_survive_and_all_of_it_is_on_record(history):
    ledger = Ledger({"p": "Greet {name}.\n- Be kind.\n{{x}}"})
    for text, place, fate in history:
        for lesson in ledger.take_up([Draft("p", text, place)], 1):
            if lesson.fate == "trial":
                ledger.settle(lesson.id, fate, 0.0, [])
    assert "{name}" in ledger.prompts()["p"] and "{{x}}" in ledger.prompts()["p"]
    assert sum(lesson.proposed for lesson in ledger.lessons) == len(history)
    assert ledger.prompts([]) == ledger.base
