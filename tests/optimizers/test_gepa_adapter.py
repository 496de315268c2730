"""Our proposers and credit inside dspy.GEPA: variables stay, frozen prompts stay, the guilty prompt is chosen."""

import types

import dspy
import pytest
from fakes import chat, fake_lm

from langmem_dspy import Budget, Gradient, GradientOptimizer, as_gepa_proposer, as_gepa_selector
from langmem_dspy.errors import InputError
from langmem_dspy.optimizers.peers import GEPA
from langmem_dspy.simulation import offline_lm, worlds


def record(feedback, **inputs):
    return {"Inputs": inputs, "Generated Outputs": {"queue": "general"}, "Feedback": feedback}


def test_a_proposal_keeps_variables_and_takes_up_the_feedback():
    with dspy.context(lm=offline_lm("strong")):
        propose = as_gepa_proposer(Gradient())
        before = {"triage": "You sort tickets of {company}.\nRead `ticket`, fill `queue`.", "other": "Leave me."}
        said = 'If `ticket` mentions "refund", set `queue` to "billing".'
        after = propose(before, {"triage": [record(said, ticket="a refund, please")]}, ["triage"])
    assert set(after) == {"triage"} and "{company}" in after["triage"] and "billing" in after["triage"]


def test_a_frozen_prompt_and_one_without_evidence_are_handed_back():
    propose = as_gepa_proposer(Gradient(), guidance={"triage": {"when_to_update": "never"}})
    before = {"triage": "Sort.", "draft": "Write."}
    assert propose(before, {"triage": [record("wrong", ticket="x")]}, ["triage", "draft"]) == before
    with pytest.raises(InputError, match="Gradient"):
        as_gepa_proposer("gradient")


def test_a_proposer_that_loses_a_variable_is_not_followed():
    class Careless(dspy.Module):
        def forward(self, prompt, trajectories):
            return dspy.Prediction(prompt="Sort the tickets.")

    before = {"triage": "Sort the tickets of {company}."}
    assert as_gepa_proposer(Careless())(before, {"triage": [record("wrong", ticket="x")]}, ["triage"]) == before


def test_the_prompt_whose_output_was_wrong_is_chosen():
    with dspy.context(lm=offline_lm("strong")):
        world = worlds.load("support_desk", seed=0)
        program = world.program()
        candidate = {name: p.signature.instructions for name, p in program.named_predictors()}
        with dspy.context(trace=[]):
            program(**world.trainset[0].inputs())
            trace = list(dspy.settings.trace)
    judged = dspy.Prediction(score=0.3, feedback='`draft` should have mentioned "release notes".')
    state = types.SimpleNamespace(
        named_predictor_id_to_update_next_for_program_candidate=[0], list_of_named_predictors=list(candidate)
    )
    select = as_gepa_selector()
    assert select(state, [{"trace": trace, "score": judged}], [0.3], 0, candidate) == ["draft"]
    perfect = [{"trace": trace, "score": 1.0}]
    assert [select(state, perfect, [1.0], 0, candidate) for _ in range(2)] == [["triage"], ["draft"]]


class Twins(dspy.Module):
    """Two predictors that begin with the same instructions; the second one listed runs first."""

    def __init__(self) -> None:
        super().__init__()
        self.one = dspy.Predict(dspy.Signature("question -> answer", "Answer."))
        self.two = dspy.Predict(dspy.Signature("question -> idea", "Answer."))

    def forward(self, question):
        return self.one(question=self.two(question=question).idea)


def traces_of(program: dspy.Module) -> list[dict]:
    """What GEPA captures: runs of one copy of the program."""
    copied = program.deepcopy()
    lm = fake_lm(lambda text: chat(answer="poor") if "`answer`" in text else chat(idea="fine"))
    found = []
    for question in ("a", "b"):
        with dspy.context(lm=lm, trace=[]):
            copied(question=question)
            found.append({"trace": list(dspy.settings.trace), "score": dspy.Prediction(score=0.0, feedback="Poor.")})
    return found


@pytest.mark.parametrize("known", [True, False])
def test_predictors_with_the_same_instructions_are_told_apart(known):
    seen = []

    def credit(prompts, trajectories):
        seen.extend(trajectories)
        return dspy.Prediction(blame=[])

    program = Twins()
    state = types.SimpleNamespace(
        named_predictor_id_to_update_next_for_program_candidate=[0], list_of_named_predictors=["one", "two"]
    )
    select = as_gepa_selector(credit, student=program if known else None)
    select(state, traces_of(program), [0.0, 0.0], 0, {"one": "Answer.", "two": "Answer."})
    steps = [[(step.predictor, *(step.outputs or {})) for step in trajectory.steps] for trajectory in seen]
    first, second = ("two", "one") if known else ("one", "two")
    assert steps == [[(first, "idea"), (second, "answer")]] * 2


def test_gepa_runs_with_both():
    lm = offline_lm("strong")
    with dspy.context(lm=lm):
        world = worlds.load("expense_office", seed=0, n_train=12, n_val=8, n_test=12)
        program = world.program()
        optimizer = GEPA(
            metric=world.metric,
            reflection_lm=lm,
            budget=Budget(lm_calls=260),
            num_threads=1,
            instruction_proposer=as_gepa_proposer(Gradient(), guidance=world.guidance),
            component_selector=as_gepa_selector(guidance=world.guidance, student=program),
        )
        compiled = optimizer.compile(program, trainset=world.trainset, valset=world.valset)
    assert not world.broken_variables(compiled)
    assert compiled.detailed_results.best.score >= compiled.detailed_results.baseline.score


def test_budgets_of_gepa_and_of_ours_are_logged_alike():
    settings = {"metric": lambda gold, pred, trace=None: 1.0, "budget": Budget(lm_calls=9)}
    assert GEPA(**settings).get_params()["budget"] == GradientOptimizer(**settings).get_params()["budget"]
