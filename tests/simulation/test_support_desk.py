"""A whole round by hand: run, blame, diagnose, revise."""

from __future__ import annotations

from dataclasses import replace

import dspy
import pytest

from langmem_dspy import simulation
from langmem_dspy.optimizers.credit import AssignCredit
from langmem_dspy.optimizers.gradient import Diagnose, Revise
from langmem_dspy.optimizers.trajectories import Step, Trajectory
from langmem_dspy.simulation import worlds


def rolled_out(world, program, example) -> Trajectory:
    with dspy.context(trace=[]):
        said = program(**example.inputs())
        trace = dspy.settings.trace
    names = {id(predictor): name for name, predictor in program.named_predictors()}
    steps = tuple(Step(names[id(p)], dict(inputs), dict(outputs)) for p, inputs, outputs in trace)
    judged = world.metric(example, said)
    return Trajectory("t", steps=steps, feedback=judged.feedback, score=judged.score)


def score(world, program, examples) -> float:
    return sum(world.metric(e, program(**e.inputs())).score for e in examples) / len(examples)


def one_step(world, program, batch) -> None:
    runs = [replace(rolled_out(world, program, e), id=f"t{i + 1}") for i, e in enumerate(batch)]
    predictors = dict(program.named_predictors())
    prompts = "\n".join(f'<prompt name="{n}">\n{p.signature.instructions}\n</prompt>' for n, p in predictors.items())
    evidence = "\n\n".join(run.render() for run in runs)
    blamed = dspy.Predict(AssignCredit)(system_outline="", prompts=prompts, trajectories=evidence).blamed
    for name in [entry.prompt_name for entry in blamed]:
        predictor = predictors[name]
        prompt = predictor.signature.instructions
        found = dspy.Predict(Diagnose)(
            prompt=prompt, trajectories="\n\n".join(run.render() for run in runs),
            when_to_update="", update_instructions="", earlier_findings=[],
        )  # fmt: skip
        if found.recommendations:
            revised = dspy.Predict(Revise)(
                prompt=prompt, recommendations=found.recommendations, update_instructions="", keep_verbatim="{company}"
            )
            predictor.signature = predictor.signature.with_instructions(revised.improved_prompt)


@pytest.mark.parametrize("seed", range(3))
def test_ten_steps_by_hand_raise_the_score_on_unseen_cases(seed):
    world = worlds.load("support_desk", seed, n_test=30)
    program = world.program()
    with dspy.context(lm=simulation.offline_lm(seed=seed), adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        before = score(world, program, world.testset)
        for k in range(8):
            one_step(world, program, world.trainset[5 * k : 5 * k + 5])
        after = score(world, program, world.testset)
    assert 0.25 <= before <= 0.45
    assert after > before + 0.2
    assert world.placement(program).recall >= 0.3
