"""The search by lessons on a world: bounded, the same for any threads, and open about all it did."""

from __future__ import annotations

import json

import dspy
import pytest
from fakes import fake_lm
from programs import LESSON, TwoSteps, examples, is_upper, model, one_step

from langmem_dspy.optimizers import GradientOptimizer, MultiPromptOptimizer, Proposer
from langmem_dspy.optimizers.lessons import Draft
from langmem_dspy.simulation import offline_lm, worlds
from langmem_dspy.usage import Budget


def compiled_world(calls, *, threads=2, log_dir=None, valset=True):
    world = worlds.load("expense_office", seed=3, n_train=12, n_val=8)
    optimizer = MultiPromptOptimizer(
        metric=world.metric,
        guidance=world.guidance,
        budget=Budget(lm_calls=calls),
        num_threads=threads,
        log_dir=log_dir,
        callbacks=[lambda event: None],
    )
    judged_on = world.valset if valset else world.trainset
    with dspy.context(lm=offline_lm()):
        return world, optimizer.compile(world.program(), trainset=world.trainset, valset=judged_on)


def outcome(program):
    results = program.detailed_results.to_dict()
    return json.dumps([results["candidates"], results["lessons"], results["stop_reason"]], sort_keys=True)


@pytest.mark.parametrize(("calls", "valset"), [(70, True), (70, False), (150, True)])
def test_the_result_is_the_same_for_any_number_of_threads(calls, valset):
    outcomes = {outcome(compiled_world(calls, threads=threads, valset=valset)[1]) for threads in (1, 2, 8)}
    assert len(outcomes) == 1


def test_a_run_on_a_world_started_again_asks_nothing_and_ends_the_same(tmp_path):
    _, first = compiled_world(120, log_dir=tmp_path)
    journal = next(path for path in tmp_path.iterdir() if path.suffix == ".jsonl")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[: len(lines) // 2]))  # as a kill in the middle leaves it
    _, again = compiled_world(120, log_dir=tmp_path, threads=8)
    assert outcome(again) == outcome(first)
    assert again.detailed_results.usage.total.journal_hits == len(lines) // 2 - 1


@pytest.mark.parametrize("calls", [0, 5, 20, 40, 60, 100])
def test_under_no_budget_is_it_exceeded_or_the_result_worse_than_the_student_where_both_were_seen(calls):
    _, program = compiled_world(calls)
    results = program.detailed_results
    assert results.usage.whole_run.lm_calls <= calls
    assert (results.improvement or 0) >= 0
    if not results.best.valset_scores:
        assert results.best_index == 0


def test_prompts_that_are_right_and_variables_stay_as_they_are():
    world, program = compiled_world(200)
    assert world.broken_variables(program) == {}
    assert program.detailed_results.changed == ["letter"]


def test_every_line_of_the_result_says_where_it_comes_from():
    _, program = compiled_world(200)
    results = program.detailed_results
    text = program.letter.signature.instructions
    origins = results.why("letter")
    assert "\n".join(origin.line for origin in origins) == text
    learned = [origin for origin in origins if origin.step]
    assert learned and all(o.lesson.fate == "in force" and o.lesson.evidence and o.lesson.tried_on for o in learned)
    assert {o.line for o in origins if not o.step} == set(results.baseline.prompts["letter"].splitlines())
    assert all(o.step == 0 for o in results.why("sort"))
    assert "asked for by" in str(learned[0])
    with pytest.raises(KeyError):
        results.why("nobody")


def test_lessons_go_with_the_results_into_events_and_reports():
    seen = []
    optimizer = GradientOptimizer(metric=is_upper, callbacks=[seen.append])
    with dspy.context(lm=fake_lm(model)):
        program = optimizer.compile(one_step(), trainset=examples(), valset=examples())
    (lesson,) = program.detailed_results.lessons
    assert (lesson.predictor, lesson.text, lesson.fate) == ("self", LESSON, "in force")
    assert json.loads(json.dumps(seen[-1].to_dict()["result"]["lessons"]))[0]["text"] == LESSON
    assert LESSON in program.detailed_results._repr_html_()


class Says(Proposer):
    """Proposes the same drafts whatever it is shown."""

    def __init__(self, *drafts):
        super().__init__()
        self.said = drafts

    def drafts(self, prompt, trajectories, known):
        return [draft for draft in self.said if draft not in known]


def compiled_two_steps(*drafts, **settings):
    optimizer = MultiPromptOptimizer(
        metric=is_upper, credit=None, callbacks=[lambda event: None], max_steps=9, **settings
    )
    optimizer.proposer, optimizer.credit = Says(*drafts), None
    with dspy.context(lm=fake_lm(model)):
        return optimizer.compile(TwoSteps(), trainset=examples(), valset=examples())


def test_a_lesson_for_a_frozen_prompt_is_not_taken_and_says_so():
    program = compiled_two_steps(Draft("first", LESSON), guidance={"first": {"when_to_update": "never"}})
    (lesson,) = program.detailed_results.lessons
    assert (lesson.fate, lesson.note) == ("refused", "this prompt may not change")
    assert program.first.signature.instructions == "Say it."
    assert any("may not change" in candidate.reason for candidate in program.detailed_results.candidates)


def test_of_all_that_was_proposed_each_is_told_with_its_fate():
    program = compiled_two_steps(
        Draft("second", LESSON), Draft("second", "Whisper."), Draft("second", "Use {x}."), Draft("third", "Sing.")
    )
    fates = {(lesson.predictor, lesson.text): lesson.fate for lesson in program.detailed_results.lessons}
    assert fates == {
        ("second", LESSON): "in force",
        ("second", "Whisper."): "idle",
        ("second", "Use {x}."): "refused",
        ("third", "Sing."): "refused",
    }
    assert program.detailed_results.best.score == 1


def test_of_two_prompts_that_could_both_say_it_one_does():
    program = compiled_two_steps(Draft("first", LESSON), Draft("second", LESSON))
    assert program.detailed_results.best.score == 1
    assert len(program.detailed_results.changed) == 1
