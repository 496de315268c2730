"""Worlds in which one prompt of several was broken on purpose, and the programs they are made of."""

from __future__ import annotations

import dspy
import pytest

from langmem_dspy import simulation
from langmem_dspy.simulation import worlds
from langmem_dspy.simulation.parsing import find_rules

SHAPES = ("chain", "loop", "branch", "shared")


def world(shape, prompts=4, seed=1, **settings):
    settings = {"n_train": 6, "n_val": 2, "n_test": 12, **settings}
    return worlds.load("guilty_prompt", seed, prompts=prompts, shape=shape, **settings)


def offline(profile="strong"):
    adapter = dspy.ChatAdapter(use_json_adapter_fallback=False)
    return dspy.context(lm=simulation.offline_lm(profile), adapter=adapter)


def ran(program, example) -> list[str]:
    names = {id(predictor): name for name, predictor in program.named_predictors()}
    with dspy.context(trace=[]):
        program(**example.inputs())
        return [names[id(predictor)] for predictor, _, _ in dspy.settings.trace]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("prompts", [2, 4, 8, 16])
def test_one_prompt_of_all_is_at_fault_and_mending_it_mends_everything(shape, prompts):
    here = world(shape, prompts, seed=prompts)
    assert len(here.stages) == prompts
    assert len(here.guilty) == 1
    guilty = here.guilty[0]
    with offline():
        mended = here.with_prompts({guilty: here.perfect_prompts()[guilty]})
        assert here.score(here.program()) < 0.97
        assert here.score(mended) == 1.0
    assert here.touched(mended) == ()
    assert here.placement(mended) == worlds.Placement(1.0, 1.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_student_holds_wrong_rules_and_none_of_the_hidden_ones(shape):
    here = world(shape)
    program = here.program()
    stood = {rule for p in program.predictors() for rule in find_rules(p.signature.instructions)}
    hidden = {rule for rules in here.hidden_rules.values() for rule in rules}
    assert not stood & hidden
    assert any(stage.mistaken for stage in here.stages) and {r for s in here.stages for r in s.mistaken} <= stood
    assert not any(stage.rules or stage.mistaken for stage in program.stages)


def test_an_error_in_a_chain_runs_on_to_its_end():
    here = world("chain", 8, seed=3)
    first = [stage.name for stage in here.stages].index(here.guilty[0])
    perfect = here.with_prompts(here.perfect_prompts())
    wrong = set()
    with offline():
        for example in here.testset:
            said, right = here.program()(**example.inputs()), perfect(**example.inputs())
            wrong |= {name for name in right if said[name] != right[name]}
    assert wrong == {f"state_{i + 1}" for i in range(first, 8)}


def test_a_loop_runs_every_prompt_twice_and_a_branch_only_the_one_that_is_meant():
    loop, branch = world("loop"), world("branch", n_test=40)
    with offline():
        assert ran(loop.program(), loop.trainset[0]) == [stage.name for stage in loop.stages] * 2
        perfect = branch.with_prompts(branch.perfect_prompts())
        paths = {tuple(ran(perfect, example)) for example in branch.testset}
    assert all(len(path) == 2 and path[0] == "route" for path in paths) and len(paths) == 3


def test_prompts_of_one_signature_are_told_apart_by_what_they_saw():
    here = world("shared", 8)
    fields = {(tuple(p.signature.input_fields), tuple(p.signature.output_fields)) for p in here.program().predictors()}
    assert fields == {(("facts",), ("line",))}
    mended = here.perfect_prompts()[here.guilty[0]]
    other = next(stage.name for stage in here.stages if stage.name not in here.guilty)
    with offline():
        before = here.score(here.program())
        assert here.score(here.with_prompts({other: here.perfect_prompts()[other] + mended})) <= before


def test_feedback_that_contradicts_itself_says_both():
    torn = worlds.load("two_minds", 1, voice=worlds.Voice(torn=1.0, bare=0, vague=0, wrong=0, silent=0))
    nothing = dspy.Prediction(**{name: "x" for stage in torn.stages for name in stage.outputs})
    said = [torn.metric(example, nothing).feedback for example in torn.trainset]
    assert all("Someone else says" in text for text in said if text)
    assert any(a.contradicts(b) for text in said for a in find_rules(text) for b in find_rules(text))


def test_a_steady_judge_gives_the_score_without_its_noise():
    noisy = worlds.load("noisy_metric", 2)
    nothing = dspy.Prediction(**{name: "x" for stage in noisy.stages for name in stage.outputs})
    calm = noisy.metric.without_noise()
    assert len({calm(noisy.trainset[0], nothing).score for _ in range(5)}) == 1
    assert len({noisy.metric(noisy.trainset[0], nothing).score for _ in range(5)}) > 1


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="2 to 24 prompts, not 1"):
        world("chain", 1)
    with pytest.raises(ValueError, match="no shape is named 'ring'; there are chain, loop, branch, shared"):
        world("ring")
    with pytest.raises(ValueError, match="settings of guilty_prompt; museum_desk is as it is"):
        worlds.load("museum_desk", prompts=4)
