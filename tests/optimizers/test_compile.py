"""What a compile promises: the student unchanged, nothing worse, exact counts, and the reason it stopped."""

from __future__ import annotations

import asyncio
import threading
import warnings

import dspy
import pytest
from dspy import lm15
from fakes import chat, fake_lm, input_field, instructions_of
from programs import LESSON, TwoSteps, examples, is_upper, model, one_step, reviewer, wants, worker

from langmem_dspy.errors import EvaluationError, InputError
from langmem_dspy.metered_lm import MeteredLM
from langmem_dspy.optimizers import (
    Blame,
    CreditAssigner,
    Gradient,
    GradientOptimizer,
    MetaPromptOptimizer,
    MultiPromptOptimizer,
    PromptMemoryOptimizer,
    PromptOptimizer,
)
from langmem_dspy.usage import Budget

OPTIMIZERS = [GradientOptimizer, MetaPromptOptimizer, PromptMemoryOptimizer, MultiPromptOptimizer]


def compiled(optimizer, student=None, *, lm=None, count=4, **compile_settings):
    lm = lm or fake_lm(model)
    data = examples(count)
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        program = optimizer.compile(student or one_step(), **{"trainset": data, "valset": data, **compile_settings})
    return program, program.detailed_results


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_finds_the_better_prompt_and_says_why_it_stopped(optimizer):
    program, results = compiled(optimizer(metric=is_upper))
    assert program.signature.instructions == f"Say it.\n{LESSON}"
    assert (results.baseline.score, results.best.score, results.improvement) == (0, 1, 1)
    assert results.stop_reason == "perfect score on the valset"
    assert results.changed == ["self"] and f"+{LESSON}" in results.diff()


def test_the_student_is_never_changed():
    student = TwoSteps()
    before = student.dump_state(), student.first, student.second, student.first.signature, student.first.callbacks
    program, _ = compiled(MultiPromptOptimizer(metric=is_upper, credit=None), student)
    assert program is not student and "Say it." in {p.signature.instructions for p in student.predictors()}
    assert {p.signature.instructions for p in program.predictors()} != {"Say it."}
    assert (
        student.dump_state(),
        student.first,
        student.second,
        student.first.signature,
        student.first.callbacks,
    ) == before
    assert student.history == [] and not student._compiled


def test_two_predictors_of_one_signature_are_told_apart():
    seen = {}

    class Watching(CreditAssigner):
        def forward(self, prompts, trajectories):
            seen["steps"] = [[s.predictor for s in t.steps] for t in trajectories]
            return dspy.Prediction(blame=[Blame("second", "it is last")])

    student = TwoSteps()
    student.second.signature = student.first.signature
    program, _ = compiled(GradientOptimizer(metric=is_upper, credit=Watching(), max_steps=1), student)
    assert seen["steps"] == [["first", "second"]] * 4
    assert program.first.signature.instructions == "Say it."
    assert program.second.signature.instructions == f"Say it.\n{LESSON}"


def test_the_compiled_program_holds_the_users_lms_and_its_state_loads_back(tmp_path):
    own = fake_lm(model)
    student = one_step()
    student.lm = own
    program, _ = compiled(GradientOptimizer(metric=is_upper), student)
    assert program.lm is own and not isinstance(program.lm, MeteredLM)
    program.lm = None
    program.save(tmp_path / "program.json")
    fresh = one_step()
    fresh.load(tmp_path / "program.json")
    assert fresh.signature.instructions == program.signature.instructions


def test_a_compiled_program_can_be_compiled_again():
    once, _ = compiled(GradientOptimizer(metric=is_upper))
    twice, results = compiled(GradientOptimizer(metric=is_upper), once)
    assert results.baseline.score == 1 and twice.signature.instructions == once.signature.instructions


def test_nothing_worse_on_the_valset_is_returned():
    def harmful(text):
        return (
            worker(text) if "answer" in wants(text) else reviewer(text, improve=lambda p: p.replace(LESSON, "Whisper."))
        )

    student = one_step()
    student.signature = student.signature.with_instructions(f"Say it.\n{LESSON}")
    data = examples(3)
    wrong = dspy.Example(text="word", answer="other").with_inputs("text")
    program, results = compiled(
        GradientOptimizer(metric=is_upper, max_steps=3),
        student,
        lm=fake_lm(harmful),
        trainset=[wrong, *data],
        valset=[wrong, *data],
    )
    assert program.signature.instructions == student.signature.instructions
    assert results.best_index == 0 and results.stop_reason == "nothing left to learn"
    assert not any(candidate.accepted for candidate in results.candidates[1:])


def test_better_on_the_minibatch_but_not_on_the_valset_is_not_taken():
    odd = [dspy.Example(text="word", answer="word").with_inputs("text")]
    program, results = compiled(
        GradientOptimizer(metric=is_upper, max_steps=1), trainset=examples(), valset=odd * 2 + examples(1)
    )
    assert results.candidates[1].minibatch_scores and results.candidates[1].reason.startswith("worse on the valset")
    assert program.signature.instructions == "Say it."


@pytest.mark.parametrize("threads", [1, 4, 16])
@pytest.mark.parametrize("limit", range(13))
def test_lm_calls_are_never_exceeded_and_the_result_depends_on_no_threads(limit, threads):
    lm = fake_lm(model)
    program, results = compiled(
        GradientOptimizer(metric=is_upper, budget=Budget(lm_calls=limit), num_threads=threads), lm=lm
    )
    assert lm.engine.calls == results.usage.lm_calls <= limit
    if limit < 9:  # 4 for the student, 1 to reflect, 4 for the candidate
        assert results.stop_reason == "budget: lm_calls" and results.usage.lm_calls == limit
        assert program.signature.instructions == "Say it."
        assert all(candidate.reason for candidate in results.candidates)
    else:
        assert results.best.score == 1


@pytest.mark.parametrize("threads", [1, 8])
def test_metric_calls_are_never_exceeded_and_no_evaluation_is_begun_in_vain(threads):
    calls = []

    def metric(gold, pred, trace=None):
        calls.append(1)
        return is_upper(gold, pred)

    lm = fake_lm(model)
    _, results = compiled(GradientOptimizer(metric=metric, budget=Budget(metric_calls=7), num_threads=threads), lm=lm)
    assert len(calls) == results.usage.metric_calls == 4
    assert results.stop_reason == "budget: metric_calls"
    assert lm.engine.calls == 5  # the candidate that could not have been judged was not run


@pytest.mark.parametrize("budget", [Budget(tokens=90), Budget(seconds=0.0)])
def test_tokens_and_seconds_are_exceeded_by_at_most_the_calls_in_flight(budget):
    lm = fake_lm(model)
    _, results = compiled(GradientOptimizer(metric=is_upper, budget=budget, num_threads=2), lm=lm)
    assert results.stop_reason.startswith("budget: ")
    assert results.usage.tokens <= (90 + 2 * 15 if budget.tokens else 0)


def test_a_program_that_swallows_the_refusal_is_not_scored_by_it():
    class Stubborn(dspy.Module):
        def __init__(self):
            super().__init__()
            self.say = dspy.Predict(dspy.Signature("text -> answer", "Say it."))

        def forward(self, text):
            try:
                return self.say(text=text)
            except Exception:  # noqa: BLE001 - the program under test is stubborn
                return dspy.Prediction(answer=text.upper())  # a perfect score, if it counted

    _, results = compiled(GradientOptimizer(metric=is_upper, budget=Budget(lm_calls=2)), Stubborn())
    assert results.stop_reason == "budget: lm_calls" and results.baseline.valset_scores == {}


def test_retries_count_as_calls():
    failing = threading.local()
    asked = {}

    def flaky(text):
        asked[text] = asked.get(text, 0) + 1
        return lm15.RateLimitError("slow", retry_after=0) if asked[text] <= 3 and "word0" in text else model(text)

    lm = fake_lm(flaky, num_retries=3)
    _, results = compiled(GradientOptimizer(metric=is_upper, max_steps=1), lm=lm)
    assert lm.engine.calls == results.usage.lm_calls > 10
    assert results.usage.total.failed_calls > 0 and results.errors == ()
    del failing


def test_an_lm_held_by_a_module_and_a_predictors_own_lm_are_counted_and_bounded():
    judge, own = fake_lm(lambda text: "fine"), fake_lm(worker)

    class Judged(dspy.Module):
        def __init__(self):
            super().__init__()
            self.say = dspy.Predict(dspy.Signature("text -> answer", "Say it."))
            self.say.lm = own
            self.judges = {"only": [judge]}

        def forward(self, text):
            self.judges["only"][0](f"is it fine? {text}")
            return self.say(text=text)

    reflection = fake_lm(reviewer)
    _, results = compiled(
        GradientOptimizer(metric=is_upper, reflection_lm=reflection, max_steps=1),
        Judged(),
        lm=fake_lm(lambda t: "unused"),
    )
    assert (judge.engine.calls, own.engine.calls) == (4, 8)  # the judge was asked the same of student and candidate
    assert results.usage.task.lm_calls == 12 and results.usage.task.cache_hits > 0
    assert results.usage.reflection.lm_calls == reflection.engine.calls == 1


def test_async_programs_are_recorded_and_counted():
    class Async(dspy.Module):
        def __init__(self):
            super().__init__()
            self.say = dspy.Predict(dspy.Signature("text -> answer", "Say it."))

        def forward(self, text):
            async def both():
                return await asyncio.gather(self.say.acall(text=text), self.say.acall(text=text))

            return asyncio.run(both())[0]

    lm = fake_lm(model)
    program, results = compiled(GradientOptimizer(metric=is_upper), Async(), lm=lm)
    assert results.best.score == 1 and results.usage.lm_calls == lm.engine.calls == 17
    assert program.say.signature.instructions.endswith(LESSON)


def test_cache_hits_are_counted_apart():
    from uuid import uuid4

    lm = fake_lm(model, cache=True)
    data = [dspy.Example(text=f"{uuid4()}", answer="x").with_inputs("text")]
    with dspy.context(lm=lm):
        one_step_twice = [dspy.Example(**data[0], n=n).with_inputs("text") for n in range(2)]
        program = GradientOptimizer(metric=is_upper, max_steps=1, num_threads=1).compile(
            one_step(), trainset=one_step_twice, valset=one_step_twice
        )
    usage = program.detailed_results.usage
    assert usage.task.cache_hits > 0 and usage.lm_calls == lm.engine.calls


def test_a_module_that_cannot_be_copied_is_shared_only_where_it_must_be():
    class Holding(dspy.Module):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()
            self.parts = [dspy.Predict(dspy.Signature("text -> answer", "Say it.")), threading.Lock()]
            self.judge = [fake_lm(lambda text: "fine")]

        def forward(self, text):
            with self.lock:
                self.judge[0]("fine?")
                return self.parts[0](text=text)

    student = Holding()
    program, results = compiled(GradientOptimizer(metric=is_upper), student)
    assert program.lock is student.lock and program.parts[0] is not student.parts[0]
    assert student.parts[0].signature.instructions == "Say it." and results.best.score == 1
    assert results.usage.task.lm_calls == 9  # its judge is asked the same every time


def test_an_iterator_the_student_holds_is_not_consumed():
    class Holding(dspy.Predict):
        def __init__(self):
            super().__init__(dspy.Signature("text -> answer", "Say it."))
            self.lines = iter([1, 2, 3])

    student = Holding()
    compiled(GradientOptimizer(metric=is_upper, max_steps=1), student)
    assert list(student.lines) == [1, 2, 3]


def test_callbacks_on_modules_report_to_the_users_object():
    class Count(dspy.utils.callback.BaseCallback):
        calls = 0

        def on_module_start(self, call_id, instance, inputs):
            self.calls += 1

    mine = Count()
    student = TwoSteps()
    student.callbacks.append(mine)
    student.first.callbacks.append(mine)
    program, _ = compiled(GradientOptimizer(metric=is_upper, max_steps=1), student)
    assert mine.calls > 0 and program.callbacks == [mine] and program.first.callbacks == [mine]


def test_past_calls_are_not_carried_into_every_rollout():
    student = one_step()
    with dspy.context(lm=fake_lm(model)):
        student(text="x")
    program, _ = compiled(GradientOptimizer(metric=is_upper, max_steps=1), student)
    assert len(student.history) == 1 and program.history == []


def test_compile_callbacks_of_dspy_fire_once():
    seen = []

    class Watch(dspy.utils.callback.BaseCallback):
        def on_compile_start(self, call_id, instance, inputs):
            seen.append(type(instance).__name__)

        def on_compile_end(self, call_id, outputs, exception=None):
            seen.append(outputs.detailed_results.stop_reason)

    compiled(GradientOptimizer(metric=is_upper, callbacks=[Watch()]))
    assert seen == ["GradientOptimizer", "perfect score on the valset"]


def test_get_params_is_a_copy_that_others_may_write_into():
    optimizer = GradientOptimizer(metric=is_upper, guidance={"self": {"when_to_update": "x"}})
    params = optimizer.get_params()
    params["guidance"]["self"]["when_to_update"] = "changed"
    params["_mlflow"] = 1
    assert optimizer.get_params()["guidance"]["self"]["when_to_update"] == "x"
    assert "_mlflow" not in vars(optimizer) and "_mlflow" not in optimizer.get_params()


def test_settings_name_functions_without_addresses():
    optimizer = GradientOptimizer(
        metric=is_upper, acceptance=lambda *a: None, credit=lambda prompts, trajectories: None
    )
    assert "0x" not in repr(optimizer.get_params())


# --- input ---


@pytest.mark.parametrize("empty", [[], (), None, iter(())])
def test_an_empty_trainset_is_refused(empty):
    with pytest.raises(ValueError, match="trainset is empty"):
        compiled(GradientOptimizer(metric=is_upper), trainset=empty)


def test_an_empty_valset_and_what_is_no_example_are_refused():
    with pytest.raises(InputError, match="valset is empty"):
        compiled(GradientOptimizer(metric=is_upper), valset=[])
    with pytest.raises(InputError, match=r"dspy\.Example.*dict"):
        compiled(GradientOptimizer(metric=is_upper), trainset=[{"text": "x"}])


def test_any_iterable_of_examples_will_do():
    assert (
        compiled(GradientOptimizer(metric=is_upper), trainset=iter(examples()), valset=iter(examples()))[1].best.score
        == 1
    )


def test_no_valset_is_warned_about_at_the_callers_line():
    with pytest.warns(UserWarning, match="no valset") as caught:
        compiled(GradientOptimizer(metric=is_upper), valset=None)
    assert caught[0].filename == __file__


def test_a_valset_brings_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled(GradientOptimizer(metric=is_upper))


def test_a_student_without_predictors_is_refused():
    with pytest.raises(ValueError, match="no predictors"):
        compiled(GradientOptimizer(metric=is_upper), dspy.Module())


def test_guidance_about_no_predictor_is_refused():
    with pytest.raises(InputError, match="predictors are"):
        compiled(GradientOptimizer(metric=is_upper, guidance={"nobody": {"when_to_update": "x"}}))
    with pytest.raises(InputError, match="unknown keys"):
        compiled(GradientOptimizer(metric=is_upper, guidance={"self": {"when": "x"}}))


@pytest.mark.parametrize("setting", [{"minibatch_size": 0}, {"max_steps": 1.5}, {"num_threads": True}, {"budget": 3}])
def test_settings_that_make_no_sense_are_refused_by_name(setting):
    with pytest.raises(InputError, match=next(iter(setting))):
        GradientOptimizer(metric=is_upper, **setting)


def test_a_teacher_would_have_no_effect_and_is_refused():
    with pytest.raises(InputError, match="teacher"):
        compiled(GradientOptimizer(metric=is_upper), teacher=one_step())


def test_no_model_at_all_is_an_error_that_says_what_to_do():
    with dspy.context(lm=None), pytest.raises(InputError, match=r"dspy\.configure"):
        GradientOptimizer(metric=is_upper).compile(one_step(), trainset=examples(), valset=examples())


# --- prompts ---


def test_frozen_prompts_stay_and_nothing_is_run_in_vain():
    lm = fake_lm(model)
    guidance = {"self": {"when_to_update": "never"}}
    program, results = compiled(GradientOptimizer(metric=is_upper, guidance=guidance), lm=lm)
    assert results.stop_reason == "every prompt is frozen" and lm.engine.calls == 4
    assert program.signature.instructions == "Say it."


def test_only_the_open_prompts_of_a_system_are_revised():
    guidance = {"first": {"when_to_update": "never"}}
    program, results = compiled(GradientOptimizer(metric=is_upper, guidance=guidance), TwoSteps())
    assert results.changed == ["second"] and program.first.signature.instructions == "Say it."


def test_credit_may_not_open_a_frozen_prompt():
    guidance = {"first": {"when_to_update": "never"}}

    def stubborn(prompts, trajectories):
        return dspy.Prediction(blame=[Blame("first", "I insist"), Blame("nobody", "who?")])

    program, results = compiled(
        GradientOptimizer(metric=is_upper, credit=stubborn, guidance=guidance, max_steps=2), TwoSteps()
    )
    assert program.first.signature.instructions == "Say it."
    assert {fault.message for fault in results.errors} == {"'first' may not change", "'nobody' may not change"}


def test_a_users_own_proposer_is_checked_like_ours():
    class Careless(dspy.Module):
        def forward(self, prompt, trajectories):
            return dspy.Prediction(prompt="Say it without the variable.")

    student = dspy.Predict(dspy.Signature("text -> answer", "Say it to {name}."))
    program, results = compiled(PromptOptimizer(Careless(), metric=is_upper, max_steps=1), student)
    assert program.signature.instructions == "Say it to {name}."
    assert "{name} is missing" in results.candidates[1].reason


def test_a_users_own_proposer_that_works_is_taken_up():
    class Direct(dspy.Module):
        def forward(self, prompt, trajectories):
            return dspy.Prediction(prompt=f"{prompt['prompt']}\n{LESSON}", rationale="because")

    _, results = compiled(PromptOptimizer(Direct(), metric=is_upper))
    assert results.best.score == 1 and results.usage.reflection.lm_calls == 0


def test_a_proposers_own_lm_is_counted_as_reflection():
    proposer = Gradient()
    proposer.set_lm(fake_lm(reviewer))
    _, results = compiled(PromptOptimizer(proposer, metric=is_upper), lm=fake_lm(worker))
    assert results.best.score == 1 and results.usage.reflection.lm_calls == 1


def test_json_braces_and_markers_in_the_students_prompt_survive():
    instructions = 'Answer like {"answer": {"text": "..."}} under [[ ## answer ## ]] for {name}.'
    student = dspy.Predict(dspy.Signature("text -> answer", instructions))
    program, results = compiled(GradientOptimizer(metric=is_upper), student)
    assert program.signature.instructions == f"{instructions}\n{LESSON}" or results.best_index == 0
    assert program.signature.instructions.startswith(instructions)


# --- no metric ---


def recorded(**extra):
    return dspy.Example(trajectory=[("user", "hi"), ("assistant", "hello")], feedback=LESSON, **extra)


def test_without_a_metric_recorded_feedback_is_learned_from_and_no_improvement_is_claimed():
    program, results = compiled(GradientOptimizer(), trainset=[recorded()], valset=None)
    assert program.signature.instructions.endswith(LESSON)
    assert results.stop_reason == "no metric" and results.improvement is None and results.best.score is None


def test_without_a_metric_or_trajectories_nothing_is_spent():
    lm = fake_lm(model)
    with pytest.raises(InputError, match="trajectory"):
        compiled(GradientOptimizer(), trainset=[recorded(n=1)] * 8 + examples(1), valset=None, lm=lm)
    assert lm.engine.calls == 0


def test_no_feedback_at_all_is_fine():
    quiet = dspy.Example(trajectory=[("user", "hi"), ("assistant", "hello")])
    assert compiled(PromptMemoryOptimizer(), trainset=[quiet], valset=None)[1].stop_reason == "no metric"


def test_without_a_metric_a_dead_model_is_an_error_and_not_a_lack_of_ideas():
    with pytest.raises(dspy.LMError, match="gone"):
        compiled(
            GradientOptimizer(), trainset=[recorded()], valset=None, lm=fake_lm(lambda text: lm15.ServerError("gone"))
        )


# --- faults ---


def test_a_model_that_is_dead_from_the_start_is_an_error_with_its_first_cause():
    with pytest.raises(EvaluationError, match="on fire") as raised:
        compiled(GradientOptimizer(metric=is_upper), lm=fake_lm(lambda text: lm15.ServerError("on fire")))
    assert isinstance(raised.value.__cause__, dspy.LMError)
    assert raised.value.detailed_results.stop_reason == "error"


@pytest.mark.parametrize("calls", [4, 5, 9, 10])
def test_a_model_that_dies_in_the_middle_leaves_what_was_found(calls):
    left = [calls]

    def mortal(text):
        left[0] -= 1
        return model(text).replace("WORD0", "oops") if left[0] >= 0 else lm15.ServerError("gone for good")

    with pytest.raises((dspy.LMError, EvaluationError), match="gone for good") as raised:
        compiled(GradientOptimizer(metric=is_upper, num_threads=1, max_steps=8), lm=fake_lm(mortal))
    results = raised.value.detailed_results
    assert results.stop_reason == "error" and results.baseline.score == 0
    assert all(candidate.reason for candidate in results.candidates)


def test_a_fault_that_passes_costs_one_step_and_is_written_down():
    once = []

    def hiccup(text):
        if "answer" not in wants(text) and not once:
            once.append(1)
            return lm15.ServerError("hiccup")
        return model(text)

    _, results = compiled(GradientOptimizer(metric=is_upper), lm=fake_lm(hiccup))
    assert results.best.score == 1
    assert any("hiccup" in fault.message for fault in results.errors)


def test_one_example_the_model_refuses_costs_that_example_only():
    def picky(text):
        return lm15.InvalidRequestError("forbidden") if "word1" in text and "answer" in wants(text) else model(text)

    _, results = compiled(GradientOptimizer(metric=is_upper, minibatch_size=1, max_steps=6), lm=fake_lm(picky))
    assert results.best.score == 1 and len(results.best.valset_scores) == 3


def test_what_a_passing_fault_left_unscored_is_tried_again_before_a_verdict():
    failed = []

    def flaky(text):
        if "word3" in text and "answer" in wants(text) and not failed:
            failed.append(1)
            return lm15.ServerError("hiccup")
        return model(text)

    _, results = compiled(GradientOptimizer(metric=is_upper), lm=fake_lm(flaky))
    assert len(results.baseline.valset_scores) == len(results.best.valset_scores) == 4


def test_an_unparsable_answer_of_the_program_is_a_bad_score_and_no_fault():
    def mumbling(text):
        return model(text) if "word1" not in text or "answer" not in wants(text) else "mumble"

    _, results = compiled(GradientOptimizer(metric=is_upper, max_steps=2), lm=fake_lm(mumbling))
    assert results.best.score == 0.75 and len(results.best.valset_scores) == 4


def test_a_program_that_fails_on_every_example_is_an_error_with_its_cause():
    class Broken(dspy.Predict):
        def forward(self, **kwargs):
            raise KeyError("no such thing")

    with pytest.raises(EvaluationError, match="no such thing") as raised:
        compiled(GradientOptimizer(metric=is_upper), Broken(dspy.Signature("text -> answer", "Say it.")))
    assert isinstance(raised.value.__cause__, KeyError)


def test_a_program_that_raises_our_own_input_error_is_a_bad_run_and_not_a_bad_metric():
    class Picky(dspy.Predict):
        def forward(self, **kwargs):
            if kwargs["text"] == "word0":
                raise InputError("not that one")
            return super().forward(**kwargs)

    _, results = compiled(
        GradientOptimizer(metric=is_upper, max_steps=2), Picky(dspy.Signature("text -> answer", "Say it."))
    )
    assert results.best.score == 0.75


def test_an_interrupted_compile_carries_what_was_found():
    def metric(gold, pred, trace=None):
        if LESSON.upper() and pred.answer.isupper():
            raise KeyboardInterrupt
        return 0.0

    heard = []
    with pytest.raises(KeyboardInterrupt) as raised:
        compiled(GradientOptimizer(metric=metric, num_threads=2, callbacks=[heard.append]))
    assert raised.value.detailed_results.baseline.score == 0
    assert heard[-1].error == "KeyboardInterrupt"


def test_a_listener_that_fails_does_not_end_the_run():
    def broken(event):
        raise RuntimeError("I am broken")

    assert compiled(GradientOptimizer(metric=is_upper, callbacks=[broken]))[1].best.score == 1


def test_sync_results_do_not_depend_on_threads():
    def outcome(threads):
        program, results = compiled(
            MultiPromptOptimizer(metric=is_upper, credit=None, num_threads=threads), TwoSteps(), count=9
        )
        plain = results.to_dict()
        for key in ("run_id", "usage", "settings"):
            del plain[key]
        return program.dump_state()["first"]["signature"], plain

    assert outcome(1) == outcome(2) == outcome(8)


def test_reports_show_prompts_with_brackets_as_they_are():
    from rich.console import Console

    def odd(text):
        return model(text) if "answer" in wants(text) else reviewer(text, improve=lambda p: p + " {x} [/bold] [red]")

    _, results = compiled(PromptMemoryOptimizer(metric=is_upper, max_steps=1), lm=fake_lm(odd))
    console = Console(record=True, width=200, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(results)
    assert "{x} was not in the prompt" in console.export_text()
    assert "{x}" in results._repr_html_() and "<script" not in results._repr_html_()


def test_the_prompt_is_the_only_thing_that_differs():
    student = dspy.Predict(dspy.Signature("text -> answer", "Say it."), temperature=0.7)
    student.demos = [dspy.Example(text="a", answer="A").with_inputs("text")]
    program, _ = compiled(GradientOptimizer(metric=is_upper), student)
    before, after = student.dump_state(), program.dump_state()
    assert after["signature"].pop("instructions") != before["signature"].pop("instructions")
    assert before == after and program.config == student.config


def test_input_field_reads_the_last_message():
    assert input_field("[[ ## text ## ]]\nhello\n\nRespond with", "text") == "hello"
    assert instructions_of("your objective is: \n  Say it.\n\n[[ ## text ## ]]") == "Say it."
    assert chat(answer="x").startswith("[[ ## answer ## ]]\nx")


def test_a_model_that_is_not_there_is_noticed_by_the_first_few_examples():
    lm = fake_lm(lambda text: lm15.ServerError("nobody home"))
    with pytest.raises(EvaluationError, match="none of 8 examples"):
        compiled(GradientOptimizer(metric=is_upper, num_threads=4), lm=lm, count=40)
    assert lm.engine.calls == 8
