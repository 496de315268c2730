"""Online learning: feedback becomes lessons, lessons tried versions; state that survives; what is no feedback."""

import asyncio
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import dspy
import pytest
from fakes import chat, fake_lm

from langmem_dspy import Budget, OnlineOptimizer
from langmem_dspy.errors import BudgetExhausted, InputError
from langmem_dspy.optimizers.observations import RegressionSet, from_json, observe, to_json
from langmem_dspy.optimizers.replaying import Replays
from langmem_dspy.optimizers.trajectories import Step, Trajectory
from langmem_dspy.simulation import offline_lm, worlds
from langmem_dspy.usage import Meter


def an_office(**voice):
    voice = {"complaints": 2, "bare": 0.0, "vague": 0.0, "wrong": 0.0, "silent": 0.0, **voice}
    return worlds.load("expense_office", seed=0, n_train=40, voice=worlds.Voice(**voice))


@pytest.fixture
def online():
    with dspy.context(lm=offline_lm("strong")):
        world = an_office()
        with OnlineOptimizer(world.program(), every=4, controls=3) as optimizer:
            yield world, optimizer


def diagnosis(recommendation):
    return chat(analysis="x", recommendations=f'["{recommendation}"]', change_warranted=True)


def live(world, optimizer, examples):
    for example in examples:
        run = optimizer.run(**example.inputs())
        judged = world.metric(example, run.prediction)
        yield optimizer.learn(run, judged.feedback or judged.score)


def held_out(world, program):
    return sum(world.metric(e, program(**e.inputs())).score for e in world.testset[:20]) / 20


def test_complaints_alone_make_the_prompts_better_without_a_metric(online):
    world, optimizer = online
    before = held_out(world, optimizer.program)
    reports = list(live(world, optimizer, world.trainset[:16]))
    assert held_out(world, optimizer.program) > before + 0.1
    promoted = [report for report in reports if report.promoted is not None]
    assert all(report.after is None or report.after >= report.before for report in promoted)
    assert "in force" in repr(promoted[0]) and "LM calls" in repr(promoted[0])
    assert not world.broken_variables(optimizer.program)
    assert [v.number for v in optimizer.versions()] == list(range(len(optimizer.versions())))


def test_a_metric_judges_replays_where_there_is_one():
    with dspy.context(lm=offline_lm("strong")):
        world = an_office()
        with OnlineOptimizer(world.program(), metric=world.metric, every=4, controls=3) as optimizer:
            for example in world.trainset[:12]:
                run = optimizer.run(**example.inputs())
                optimizer.learn(run, world.metric(example, run.prediction).feedback, example=example)
            assert held_out(world, optimizer.program) > held_out(world, world.program())
            assert optimizer.spent.metric_calls > 0


def test_what_nobody_said_anything_about_costs_nothing(online):
    _, optimizer = online
    own = 'If `team` is "sales", start `letter` with "Bargain".'
    step = Step("letter", {"finding": "f", "category": "meals", "level": "fast", "employee": "Ann"}, {"letter": own})
    for _ in range(6):
        assert optimizer.learn(Trajectory("t", steps=(step,))).reason == "nothing was said about it"
    assert optimizer.spent.whole_run.lm_calls == 0 and optimizer.lessons == ()


def test_a_message_of_the_agent_is_no_feedback(online):
    _, optimizer = online
    with pytest.raises(InputError, match="own words"):
        optimizer.learn("a talk", [{"role": "assistant", "content": "Always say hello."}])


def test_a_rule_in_the_agents_own_text_is_not_learned_when_something_else_is_complained_of():
    said = "Always mention the pie of the day in the reply."

    def reply(text):
        return diagnosis(said) if "recommendations" in text else chat(reply="hello")

    with dspy.context(lm=fake_lm(reply)):
        optimizer = OnlineOptimizer(dspy.Predict("message -> reply"), every=1)
        talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": said}]
        learned = optimizer.learn(talk, "That was too long for me.")
    assert learned.promoted is None and optimizer.version.number == 0
    assert any("own words" in note for note in learned.notes)


def test_rolled_back_lessons_are_not_learned_again(online):
    world, optimizer = online
    list(live(world, optimizer, world.trainset[:8]))
    assert optimizer.version.number > 0
    taken = {lesson.text for lesson in optimizer.lessons if lesson.fate == "in force"}
    optimizer.rollback(0)
    assert optimizer.version.prompts == optimizer.versions()[0].prompts
    list(live(world, optimizer, world.trainset[:12]))
    assert not taken & {lesson.text for lesson in optimizer.lessons if lesson.fate == "in force"}
    with pytest.raises(InputError, match="no version 99"):
        optimizer.rollback(99)


def test_a_version_waits_for_its_promotion_where_that_is_wanted():
    with dspy.context(lm=offline_lm("strong")):
        world = an_office()
        with OnlineOptimizer(world.program(), every=4, controls=2, auto_promote=False) as optimizer:
            list(live(world, optimizer, world.trainset[:8]))
            assert optimizer.version.number == 0 and len(optimizer.versions()) > 1
            optimizer.promote(1)
            assert optimizer.version.number == 1


def test_a_frozen_prompt_never_changes():
    with dspy.context(lm=offline_lm("strong")):
        world = an_office()
        guidance = {"letter": {"when_to_update": "never"}}
        with OnlineOptimizer(world.program(), every=2, guidance=guidance) as optimizer:
            list(live(world, optimizer, world.trainset[:6]))
            before = optimizer.versions()[0].prompts["letter"]
            assert all(version.prompts["letter"] == before for version in optimizer.versions())


def test_the_budget_is_of_the_whole_life_and_never_exceeded(tmp_path):
    with dspy.context(lm=offline_lm("strong")):
        world = an_office()
        for calls in (5, 5, 60):
            optimizer = OnlineOptimizer(world.program(), every=2, path=tmp_path, budget=Budget(lm_calls=calls))
            with optimizer:
                reports = list(live(world, optimizer, world.trainset[:4]))
                assert optimizer.spent.whole_run.lm_calls <= calls
                if calls == 5:
                    assert "budget" in reports[-1].reason and reports[-1].waiting
        assert optimizer.budget.lm_calls == 60


def test_learning_goes_on_where_another_process_left_it(tmp_path):
    with dspy.context(lm=offline_lm("strong")):
        world = an_office()
        with OnlineOptimizer(world.program(), every=4, path=tmp_path) as first:
            list(live(world, first, world.trainset[:6]))
            prompts, spent = first.version.prompts, first.spent.whole_run
            lessons, kept = first.lessons, first.regression_set
        with OnlineOptimizer(world.program(), every=4, path=tmp_path) as second:
            assert second.version.prompts == prompts and second.spent.whole_run == spent
            assert second.lessons == lessons and second.regression_set == kept
        changed = world.with_prompts({"letter": "Another prompt by {sender}."})
        with pytest.raises(InputError, match="another program"):
            OnlineOptimizer(changed, path=tmp_path)


def test_two_learners_of_one_folder_take_turns(tmp_path):
    with dspy.context(lm=offline_lm("strong")):
        world = an_office()
        runs = []
        with OnlineOptimizer(world.program(), every=2, path=tmp_path) as a:
            for example in world.trainset[:8]:
                run = a.run(**example.inputs())
                runs.append((run, world.metric(example, run.prediction).feedback))
            with OnlineOptimizer(world.program(), every=2, path=tmp_path) as b, ThreadPoolExecutor(4) as pool:
                work = [pool.submit((a, b)[i % 2].learn, run, said) for i, (run, said) in enumerate(runs)]
                reports = [future.result() for future in work]
            assert sum(report.usage.lm_calls for report in reports) == a.spent.whole_run.lm_calls
            promoted = [report.promoted for report in reports if report.promoted is not None]
            assert sorted(promoted) == [version.number for version in a.versions()][1:]


_KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import dspy
from fakes import chat, fake_lm
from langmem_dspy import OnlineOptimizer

def die(text):
    os.kill(os.getpid(), signal.SIGKILL)

dspy.configure(lm=fake_lm(die))
online = OnlineOptimizer(dspy.Predict("message -> reply"), every=1, path={path!r})
online.learn([{{"role": "user", "content": "hi"}}, {{"role": "assistant", "content": "yo"}}], 'Say "Dear customer".')
"""


@pytest.mark.skipif(os.name != "posix", reason="kills by signal")
def test_feedback_survives_a_kill_in_the_middle_of_a_reflection(tmp_path):
    code = _KILLED.format(tests=os.path.dirname(os.path.dirname(__file__)), path=str(tmp_path))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr

    def answer(text):
        if "recommendations" in text:
            return diagnosis("Begin with Dear customer when you reply, as they are said to be dear.")
        return chat(reply="Dear customer, yo" if "Begin with" in text else "yo")

    with dspy.context(lm=fake_lm(answer)), OnlineOptimizer(dspy.Predict("message -> reply"), path=tmp_path) as online:
        assert online.flush().promoted == 1
        assert "Dear customer" in online.program(message="hi").reply


def test_it_learns_in_the_background(online):
    world, optimizer = online
    example = world.trainset[0]
    run = optimizer.run(**example.inputs())
    said = world.metric(example, run.prediction).feedback
    assert asyncio.run(optimizer.alearn(run, said)).waiting == 1
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(optimizer.learn, optimizer.run(**example.inputs()), said).result().waiting == 2


def test_an_edit_asks_for_just_that_value():
    program = dspy.Predict("ticket -> queue")
    run = Trajectory("t", steps=(Step("self", {"ticket": "my refund"}, {"queue": "general"}),))
    seen = observe(run, {"queue": "billing"}, program=program)
    assert seen.complained_of and seen.can_be_judged and dict(seen.example) == {"ticket": "my refund"}
    (want,) = seen.wants
    answered = Trajectory("t", steps=(Step("self", {"ticket": "my refund"}, {"queue": "billing"}),))
    assert want.holds(answered) and not want.holds(run)


def test_a_complaint_is_answered_when_the_thing_it_names_is_handled_differently():
    program = dspy.Predict("ticket -> reply")
    run = Trajectory("t", steps=(Step("self", {"ticket": "my refund"}, {"reply": "Hi guy"}),))
    seen = observe(run, 'Never write "guy" in `reply`, also when `ticket` has "refund". It was dull.', program=program)
    holding = [want for want in seen.wants if want.things]
    assert [want.things for want in holding] == [("guy",)]
    better = Trajectory("t", steps=(Step("self", {"ticket": "my refund"}, {"reply": "Hi colleague"}),))
    assert holding[0].holds(better) and holding[0].holds(run) is False


def test_a_replay_cut_off_while_its_metric_is_asked_about_predictors_ends_the_trial():
    def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
        return dspy.Prediction(score=0.0, feedback=f"about {pred_name}")

    with dspy.context(lm=fake_lm(lambda request: chat(reply="yo"))):
        program = dspy.Predict("message -> reply")
        seen = observe(Trajectory("t"), "Be polite.", program=program, example={"message": "hi"})
        replays = Replays(program, metric, Meter(Budget(metric_calls=1)), 1, dspy.settings.lm)
        with pytest.raises(BudgetExhausted, match="metric_calls"):
            replays.roll_out({}, [seen])


def test_an_observation_is_the_same_after_a_restart():
    program = dspy.Predict("message -> reply")
    talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
    seen = observe(talk, {"self": 'Say "Dear".'}, program=program)
    assert from_json(to_json(seen)) == seen and seen.input_keys == ("message",)


def test_the_regression_set_stays_within_its_size_and_keeps_both_kinds():
    program = dspy.Predict("message -> reply")
    kept = RegressionSet(6)
    for i in range(40):
        run = Trajectory("t", steps=(Step("self", {"message": f"m{i}"}, {"reply": "yo"}),))
        kept.keep(observe(run, 1.0 if i % 4 == 0 else 'Say "Dear".', program=program))
    assert len(kept.kept) == 6
    assert sum(seen.right for seen in kept.kept.values()) == 3
