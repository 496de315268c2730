"""What a trace tells: whose output feedback is about, where a lesson matters, what moved between two runs."""

from __future__ import annotations

import pytest

from langmem_dspy.optimizers.credit import TraceCredit, blame_by_trace
from langmem_dspy.optimizers.tracing import Fields, complaint, moved, relevance, said_about
from langmem_dspy.optimizers.trajectories import Step, Trajectory


def run(*steps, feedback="", score=0.0, name="e1", **about):
    made = tuple(Step(predictor, inputs, outputs) for predictor, inputs, outputs in steps)
    return Trajectory(name, steps=made, feedback=feedback, predictor_feedback=about, score=score)


SORT = ("sort", {"ticket": "help"}, {"queue": "sales"})
WRITE = ("write", {"ticket": "help", "queue": "sales"}, {"reply": "Hello"})
CHECK = ("check", {"reply": "Hello"}, {"reply": "Hello!"})


@pytest.mark.parametrize(
    ("said", "owners"),
    [
        ("`queue` should be support.", ["sort"]),
        ("the queue is wrong", ["sort"]),
        ('Start `reply` with "Hi" when `queue` is "sales".', ["write"]),
        ("`reply` is too long.", ["write", "check"]),
        ("the ticket was fine", []),
        ("It is too long.", []),
        ("`queue` and `reply` contradict each other.", ["write"]),
        ("", []),
    ],
)
def test_feedback_is_about_the_predictor_that_writes_what_it_names(said, owners):
    assert Fields([run(SORT, WRITE, CHECK)]).owners(said) == owners


def test_backticks_tell_a_field_from_an_ordinary_word():
    fields = Fields([run(("a", {}, {"note": 1}), ("b", {}, {"reply": 2}))])
    assert fields.owners("Please note that `reply` is rude.") == ["b"]


def test_two_predictors_that_write_one_field_are_both_blamed():
    trajectory = run(SORT, WRITE, CHECK, feedback="`reply` is too long.")
    blame = TraceCredit()(named("sort", "write", "check"), [trajectory]).blame
    assert [entry.name for entry in blame] == ["write", "check"]


def named(*names):
    return [{"name": name, "prompt": "Do."} for name in names]


def test_feedback_on_one_predictor_needs_no_fields_named():
    trajectory = run(SORT, WRITE, feedback="", write="Be brief.")
    blame, unclear = blame_by_trace([trajectory], ["sort", "write"])
    assert [(entry.name, entry.reason) for entry in blame] == [("write", "Be brief.")] and not unclear


def test_where_the_trace_tells_nothing_all_that_took_part_are_blamed():
    skipped = run(SORT, feedback="Bad.")
    blame = TraceCredit()(named("sort", "write"), [skipped]).blame
    assert [entry.name for entry in blame] == ["sort"]


def test_what_went_well_blames_nobody():
    perfect = run(SORT, feedback="`queue` is right.", score=1.0)
    assert TraceCredit()(named("sort"), [perfect]).blame == []


def test_a_complaint_is_as_strong_as_its_best_sentence():
    trajectory = run(SORT, feedback="Nice. Set `queue` to support!\nBye.", write="Be brief.")
    assert said_about(trajectory) == ["Nice.", "Set `queue` to support!", "Bye.", "Be brief."]
    assert complaint("Set `queue` to support.", trajectory) == 1
    assert 0 < complaint("Set `queue` to sales.", trajectory) < 1
    assert complaint("Cite sources.", trajectory) == complaint("Cite sources.", run(SORT)) == 0


def test_a_lesson_matters_more_where_what_it_quotes_was_seen():
    lesson = 'If `ticket` mentions "help", set `queue` to "support".'
    seen, unseen = run(SORT), run(("sort", {"ticket": "hurry"}, {"queue": "sales"}))
    assert relevance(lesson, seen, seen) > relevance(lesson, unseen, unseen)


def test_only_those_that_said_something_else_moved():
    assert moved(run(SORT, WRITE), run(SORT, WRITE)) == set()
    assert moved(run(SORT, WRITE), run(SORT, (*WRITE[:2], {"reply": "Hi"}))) == {"write"}
    same_output_of_other_input = ("write", {"ticket": "other"}, WRITE[2])
    assert moved(run(SORT, WRITE), run(SORT, same_output_of_other_input)) == set()


def test_a_branch_taken_and_one_left_have_both_moved():
    assert moved(run(SORT, WRITE), run(SORT, CHECK)) == {"write", "check"}


def test_a_loop_that_ends_earlier_moves_its_predictor_alone():
    twice = run(SORT, WRITE, WRITE, CHECK)
    assert moved(twice, run(SORT, WRITE, CHECK)) == {"write"}
    assert moved(run(SORT, WRITE, CHECK), twice) == {"write"}


def test_a_step_that_failed_has_moved():
    assert moved(run(SORT), run(("sort", {}, None))) == {"sort"}
