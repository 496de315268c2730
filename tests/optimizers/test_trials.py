"""Trying lessons: what each does is told by what happens without it."""

from __future__ import annotations

from langmem_dspy.optimizers.acceptance import Effect, Helps
from langmem_dspy.optimizers.doubts import doubtful
from langmem_dspy.optimizers.lessons import Draft, Ledger, Lesson
from langmem_dspy.optimizers.rollouts import Rollout
from langmem_dspy.optimizers.trajectories import Step, Trajectory
from langmem_dspy.optimizers.trials import effect_of, elsewhere, try_lessons

NAMES = ["e1", "e2", "e3"]


def rolled_out(name, said, score, feedback=""):
    steps = (Step("p", {"text": name}, {"answer": said}),)
    return Rollout(name, Trajectory(name, steps=steps, feedback=feedback, score=score), score=score)


class World:
    """Scores a prompt by its lines: `worth` is what each adds where it says so; needed ones are complained about."""

    def __init__(self, score, feedback=lambda lines: ""):
        self.score, self.feedback, self.asked = score, feedback, []

    def __call__(self, prompts, names):
        lines = frozenset(prompts["p"].splitlines()[1:])
        self.asked += [(lines, name) for name in names]
        return {n: rolled_out(n, sorted(lines), self.score(lines, n), self.feedback(lines)) for n in names}


def tried(world, *texts, ledger=None):
    ledger = ledger or Ledger({"p": "Do."})
    fresh = ledger.take_up([Draft("p", text, evidence=tuple(NAMES)) for text in texts], 1)
    trial = try_lessons(ledger, fresh, world(ledger.prompts(), NAMES), world, 1, Helps())
    return {effect.lesson.text: effect for effect in trial.effects}


def kept(effects):
    return [text for text, effect in effects.items() if Helps()(effect)]


def test_each_of_several_lessons_is_credited_with_its_own_part():
    worth = {"good": 0.3, "bad": -0.2, "idle": 0.0}
    effects = tried(World(lambda lines, _: 0.5 + sum(worth[line] for line in lines)), *worth)
    assert kept(effects) == ["good"]
    assert effects["good"].gain > 0.29 and effects["bad"].gain < -0.19 and effects["idle"].gain == 0


def test_of_two_lessons_that_stand_in_for_each_other_one_is_kept():
    effects = tried(World(lambda lines, _: 1.0 if lines & {"one", "other"} else 0.4), "one", "other")
    assert len(kept(effects)) == 1


def test_two_lessons_that_help_only_together_are_both_kept():
    effects = tried(World(lambda lines, _: 1.0 if {"one", "other"} <= lines else 0.4), "one", "other")
    assert kept(effects) == ["one", "other"]


def test_where_every_score_is_at_its_lowest_the_complaint_decides():
    """An exact-match metric until the last fault is mended."""

    def feedback(lines):
        return "Write capitals." if "Write capitals." not in lines else "Cite sources."

    effects = tried(World(lambda *_: 0.0, feedback), "Write capitals.", "Cite sources.")
    assert effects["Write capitals."].flat and kept(effects) == ["Write capitals."]


def test_a_right_lesson_that_lets_more_be_judged_may_cost_a_little_score():
    def feedback(lines):
        return "It is late." if "Write capitals." in lines else "Write capitals."

    assert kept(tried(World(lambda lines, _: 0.5 - 0.02 * len(lines), feedback), "Write capitals."))
    assert not kept(tried(World(lambda lines, _: 0.5 - 0.4 * len(lines), feedback), "Write capitals."))


def test_a_lesson_is_tried_on_few_examples_however_many_there_are():
    names = [f"e{i}" for i in range(100)]
    world = World(lambda lines, _: 0.5)
    ledger = Ledger({"p": "Do."})
    fresh = ledger.take_up([Draft("p", "Be kind.", evidence=tuple(names))], 1)
    before = world(ledger.prompts(), names)
    world.asked.clear()
    try_lessons(ledger, fresh, before, world, 1, Helps())
    assert len(world.asked) < 10


def test_an_example_that_could_not_be_run_says_nothing():
    class Faulty(World):
        def __call__(self, prompts, names):
            return {n: r for n, r in super().__call__(prompts, names).items() if n == "e1"}

    world = Faulty(lambda lines, _: 0.5 + 0.3 * len(lines))
    ledger = Ledger({"p": "Do."})
    fresh = ledger.take_up([Draft("p", "Be kind.", evidence=("e1",))], 1)
    board = World(lambda *_: 0.5)(ledger.prompts(), NAMES)
    (effect,) = try_lessons(ledger, fresh, board, world, 1, Helps()).effects
    assert effect.examples == ("e1",) and effect.gain > 0


def effect(gain=0.0, quiet=0.0, asked=0.0, moved=True, flat=False):
    return Effect(Lesson("p", "x"), gain, quiet, asked, moved, ("e1",), {}, flat)


def test_what_helps_and_what_hurts():
    helps = Helps()
    assert helps(effect(gain=0.1)) and not helps(effect(gain=-0.1)) and not helps(effect(gain=1e-12))
    assert helps(effect(quiet=0.9)) and not helps(effect(quiet=0.9, moved=False))
    assert helps(effect(flat=True)) and not helps(effect(flat=True, asked=0.9))
    assert helps.hurts(effect(gain=-0.2), gain=-0.1) and not helps.hurts(effect(gain=-0.2), gain=0.3)
    assert helps.hurts(effect(quiet=-0.9), gain=0.3) and not helps.hurts(effect(), gain=0.0)


def test_lessons_are_doubted_where_the_feedback_still_speaks_of_them():
    ledger = Ledger({"p": "Do.", "other": "Do."})
    said = [("p", "Write capitals."), ("p", "Cite it."), ("other", "Write capitals.")]
    for lesson in ledger.take_up([Draft(*draft) for draft in said], 1):
        ledger.settle(lesson.id, "in force", 0.1, ["e2"])
    board = {name: rolled_out(name, "x", 0.5, "Write capitals, not always.") for name in ("e1", "e2")}
    assert [(lesson.text, name) for lesson, name in doubtful(ledger, board, board)] == [("Write capitals.", "e1")]


def test_a_late_lesson_is_seen_where_it_matters_least_too():
    world = World(lambda lines, name: 0.5 + ("wide" in lines) * (0.3 if name == "e1" else -0.3))
    ledger = Ledger({"p": "Do."})
    lesson = ledger.take_up([Draft("p", "wide", evidence=("e1",))], 1)[0]
    board = world(ledger.prompts(), NAMES)
    at_first = effect_of(lesson, world(ledger.prompts([lesson.id]), ["e1"]), {"e1": board["e1"]})
    seen = elsewhere(ledger, at_first, [lesson.id], board, world)
    assert Helps()(at_first) and not Helps()(seen)
    assert set(seen.examples) == set(NAMES)
