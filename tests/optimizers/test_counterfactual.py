"""Credit by intervention: whose corrected answer raises the score is to blame, whatever the feedback says."""

from __future__ import annotations

import re
from dataclasses import replace

import dspy
import pytest
from fakes import chat, fake_lm

from langmem_dspy import Budget
from langmem_dspy.errors import InputError
from langmem_dspy.events import Announcer
from langmem_dspy.optimizers.choosing_credit import ChosenCredit, credit_by
from langmem_dspy.optimizers.counterfactual import CounterfactualCredit
from langmem_dspy.optimizers.credit import CreditAssigner, TraceCredit
from langmem_dspy.optimizers.interventions import RunInterventions
from langmem_dspy.optimizers.metrics import Metric
from langmem_dspy.optimizers.rollouts import RolloutRunner, by_id
from langmem_dspy.optimizers.run import Run, Task
from langmem_dspy.usage import Meter


class Chain(dspy.Module):
    """k steps; each writes "right" if its prompt says so, else "wrong"; the answer is what all of them wrote."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.steps = [dspy.Predict(dspy.Signature(f"question, before{i} -> field{i}", f"Step {i}.")) for i in range(k)]

    def forward(self, question: str) -> dspy.Prediction:
        said: dict[str, str] = {}
        before = ""
        for i, step in enumerate(self.steps):
            said[f"field{i}"] = before = step(question=question, **{f"before{i}": before})[f"field{i}"]
        return dspy.Prediction(**said)


def lm_for(guilty: int) -> dspy.LM:
    def answer(text: str) -> str:
        number = int(re.search(r"Step (\d+)\.", text).group(1))
        return chat(**{f"field{number}": "wrong" if number == guilty else "right"})

    return fake_lm(answer)


def all_right(gold, pred, trace=None):
    said = list(dict(pred).values())
    return dspy.Prediction(score=said.count("right") / len(said), feedback="The outcome is poor.")


def interventions_in(k: int, guilty: int, *, labels: bool) -> tuple[RunInterventions, Run, list]:
    known = {"gold": {f"field{i}": "right" for i in range(k)}} if labels else {}
    examples = [dspy.Example(question=f"q{n}", **known).with_inputs("question") for n in range(2)]
    train = by_id(examples)
    program, meter = Chain(k), Meter(Budget())
    prompts = {name: p.signature.instructions for name, p in program.named_predictors()}
    task = Task("test", {}, train, train, prompts, {})
    runner = RolloutRunner(program, Metric(all_right), meter, 1, task_lm=lm_for(guilty))
    run = Run(task, meter, Announcer(), runner)
    return RunInterventions(run), run, [r.trajectory for r in run.roll_out(prompts, "minibatch", list(train))]


@pytest.mark.parametrize("k", [2, 4, 8, 16])
def test_the_guilty_step_alone_is_blamed_where_its_right_answer_is_known(k):
    guilty = k // 2
    interventions, run, trajectories = interventions_in(k, guilty, labels=True)
    before = interventions.lm_calls()
    blame = CounterfactualCredit()(prompts_of(run), trajectories, interventions).blame
    assert [entry.name for entry in blame] == [f"steps[{guilty}]"]
    assert blame[0].evidence == tuple(t.id for t in trajectories)
    # An answer that is right already needs no replay; of the wrong one, only what follows it is asked again.
    assert interventions.lm_calls() - before <= k * len(trajectories)


def test_everyone_who_took_part_is_blamed_where_no_correction_is_known():
    interventions, run, trajectories = interventions_in(3, 1, labels=False)
    answer = CounterfactualCredit()(prompts_of(run), trajectories, interventions)
    assert len(answer.blame) == 3
    assert answer.undecided == [t.id for t in trajectories]


def test_an_intervention_does_not_ask_for_the_answer_it_gives():
    interventions, _, trajectories = interventions_in(3, 2, labels=False)
    before = interventions.lm_calls()
    assert interventions.score_with(trajectories[0].id, "steps[2]", {"field2": "right"}) == 1.0
    assert interventions.lm_calls() == before


def test_the_choice_is_for_what_tells_more_for_a_call():
    interventions, run, trajectories = interventions_in(4, 1, labels=True)
    credit = ChosenCredit()
    blame = credit(prompts_of(run), trajectories, "", interventions).blame
    assert [entry.name for entry in blame] == ["steps[1]"]
    replays, model = credit._ways
    assert replays.told == 2 and model.asked == 0


def test_what_the_trace_tells_is_not_replayed():
    interventions, run, trajectories = interventions_in(3, 1, labels=True)
    told = [replace(t, feedback="`field1` should be right.") for t in trajectories]
    before = interventions.lm_calls()
    blame = CounterfactualCredit()(prompts_of(run), told, interventions).blame
    assert [entry.name for entry in blame] == ["steps[1]"]
    assert interventions.lm_calls() == before


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("trace", TraceCredit),
        ("model", CreditAssigner),
        ("counterfactual", CounterfactualCredit),
        ("auto", ChosenCredit),
    ],
)
def test_credit_is_told_by_name(name, way):
    assert isinstance(credit_by(name), way)


def test_an_unknown_way_is_named():
    with pytest.raises(InputError, match="trace, model, counterfactual, auto"):
        credit_by("guess")


def prompts_of(run: Run):
    return [{"name": name, "prompt": text} for name, text in run.task.prompts.items()]
