"""Lessons that say too much give way to narrower ones, where those do as well."""

from __future__ import annotations

import dspy
import pytest
from fakes import fake_lm

from langmem_dspy.optimizers.acceptance import Helps
from langmem_dspy.optimizers.credit import TraceCredit
from langmem_dspy.optimizers.lesson_search import LessonSearch
from langmem_dspy.optimizers.lessons import Draft, Ledger
from langmem_dspy.optimizers.narrowing import in_its_place, needed, saying_least
from langmem_dspy.optimizers.prompts import Prompt
from langmem_dspy.optimizers.rollouts import Rollout
from langmem_dspy.optimizers.run import Run, Task
from langmem_dspy.optimizers.trajectories import Step, Trajectory
from langmem_dspy.usage import Budget, Meter

WIDE = 'Set `tone` to "warm".'
NARROW = 'When `guest` is "old", set `tone` to "warm".'
OTHER = 'When `guest` is "new", set `tone` to "brisk".'
NAMES = ("old 1", "old 2", "plain 1", "plain 2")


def rolled_out(prompts, names):
    """Warm is right for old guests alone; a narrow line overrules nothing elsewhere."""
    lines = prompts["greet"].splitlines()
    return {name: greeted(name, WIDE in lines or (NARROW in lines and "old" in name)) for name in names}


def greeted(name, warm):
    right = warm == ("old" in name)
    said = "" if right else f"{NARROW}" if "old" in name else "Something is not right."
    step = Step("greet", {"guest": name}, {"tone": "warm" if warm else "plain"})
    return Rollout(name, Trajectory(name, steps=(step,), feedback=said, score=float(right)), score=float(right))


class Repeats(dspy.Module):
    """A proposer that adds what the feedback says."""

    def forward(self, prompt, trajectories):
        said = [line for t in trajectories for line in t.feedback.split("\n") if line.startswith("When")]
        return dspy.Prediction(prompt="\n".join([prompt["prompt"], *dict.fromkeys(said)]))


@pytest.fixture
def search():
    """A search after its first round: the wide lesson is in force, helps old guests, and spoils the others."""
    prompts = {"greet": "Greet.", "bill": "Write the bill."}
    task = Task("any", {}, dict.fromkeys(NAMES), {}, prompts, {})
    run = Run(task, Meter(Budget(lm_calls=1000)), lambda event: None, None)
    guided = [Prompt(name=name, prompt=text) for name, text in prompts.items()]
    made = LessonSearch(run, Repeats(), TraceCredit(), Helps(), fake_lm(str), 4, guided, None, 1)
    made._roll_out, made.validation.affordable = rolled_out, lambda step: False
    for lesson in made.ledger.take_up([Draft("greet", WIDE), Draft("greet", OTHER)], 1):
        made.ledger.settle(lesson.id, "in force", 1.0, ("old 1",))
    run.best = run.candidates[0]
    made.board = rolled_out(made.ledger.prompts(), NAMES)
    made.rounds = 1
    return made


def narrowed(search):
    failing = {name: r for name, r in search.board.items() if not r.score}
    return search._narrowed(2, NAMES, failing, [])


def fates(search):
    return {lesson.text: lesson.fate for lesson in search.ledger.lessons}


def test_what_says_too_much_gives_way_to_what_its_cases_ask_for_without_it(search):
    candidate, verdict = narrowed(search)
    assert verdict.accepted and candidate is not None
    assert fates(search) == {WIDE: "replaced", OTHER: "in force", NARROW: "in force"}
    assert candidate.prompts["greet"].splitlines() == ["Greet.", OTHER, NARROW]
    assert all(rollout.score == 1 for name, rollout in search.board.items())
    assert search.learned


def test_a_narrower_lesson_that_does_not_do_as_well_is_not_taken(search):
    search._roll_out = lambda prompts, names: {n: greeted(n, "plain" in n or WIDE in prompts["greet"]) for n in names}
    _, verdict = narrowed(search)
    assert not verdict.accepted
    assert fates(search)[WIDE] == "in force" and fates(search)[NARROW] == "rejected"


def test_each_lesson_is_looked_at_once(search):
    search.proposer.forward = lambda prompt, trajectories: dspy.Prediction(prompt=prompt["prompt"])
    narrowed(search)
    search._roll_out = None
    assert narrowed(search)[0] is None


def test_a_step_that_learns_nothing_after_the_first_round_narrows(search):
    failing = {name: r for name, r in search.board.items() if not r.score}
    _, verdict = search._doubted(2, NAMES, failing)
    assert verdict.accepted and "narrowed" in verdict.reason
    search.narrowing.looks.clear()
    search.rounds = 0
    assert search._doubted(3, NAMES, failing)[0] is None


@pytest.mark.parametrize("rounds", [0, 1])
def test_a_narrower_lesson_that_shows_no_effect_beside_the_wide_one_takes_its_place_after_the_first_round(
    search, rounds
):
    search.rounds = rounds
    failing = {"old 1": search.board["old 1"]}
    search._roll_out = lambda prompts, names: {n: greeted(n, WIDE in prompts["greet"] or "old" in n) for n in names}
    drafts = [Draft("greet", NARROW, evidence=("old 1",))]
    _, verdict = search._tried(2, search.ledger.take_up(drafts, 2), NAMES, failing, {})
    assert verdict.accepted == bool(rounds)
    assert fates(search)[WIDE] == ("replaced" if rounds else "in force")


@pytest.mark.parametrize("rounds", [0, 1])
def test_after_the_first_round_a_lesson_that_others_need_more_is_not_dropped(search, rounds):
    search.rounds, search.dry = rounds, 1
    search.proposer.forward = lambda prompt, trajectories: dspy.Prediction(prompt=prompt["prompt"])
    search.ledger.settle(0, "in force", 1.0, ("old 1", "old 2"))
    search._doubted(2, NAMES, {"plain 1": search.board["plain 1"]})
    assert fates(search)[WIDE] == ("in force" if rounds else "dropped")


@pytest.mark.parametrize("rounds", [0, 1])
def test_after_the_first_round_a_lesson_has_to_help_where_it_was_not_asked_for_too(search, rounds):
    search.rounds = rounds
    search.ledger.settle(0, "dropped", 0.0, ())
    search.board = rolled_out(search.ledger.prompts(), ("old 1", "plain 1", "plain 2"))
    fresh = search.ledger.take_up([Draft("greet", WIDE, evidence=("old 1",))], 2)
    _, verdict = search._tried(2, fresh, NAMES, {"old 1": search.board["old 1"]}, {})
    assert verdict.accepted == (rounds == 0)


def ledger_with(*texts):
    ledger = Ledger({"greet": "Greet.", "bill": "Write the bill."})
    for lesson in ledger.take_up([Draft("greet", text) for text in texts], 1):
        ledger.settle(lesson.id, "in force", 1.0, ())
    return ledger


def test_those_that_say_least_come_first_and_what_stands_alone_is_left():
    ledger = ledger_with(OTHER, WIDE, "Keep `bill` within 9 words.")
    assert [lesson.text for lesson in saying_least(ledger)] == [WIDE]
    assert saying_least(ledger_with(WIDE)) == []


def test_a_lesson_is_needed_where_it_went_well_with_it_alone():
    ledger = ledger_with(WIDE)
    board = rolled_out(ledger.prompts(), NAMES)
    cases = needed(ledger, ledger.lessons[0], board, rolled_out)
    assert set(cases) == {"old 1", "old 2"}
    assert all(rollout.score == 0 for rollout in cases.values())


def test_in_its_place_comes_only_what_says_more_about_the_same():
    lesson = ledger_with(WIDE).lessons[0]
    drafts = [Draft("bill", NARROW), Draft("greet", WIDE), Draft("greet", OTHER), Draft("greet", "")]
    assert in_its_place(drafts, lesson, WIDE, ("e",)) == [Draft("greet", NARROW, WIDE, ("e",))]
