from __future__ import annotations

from statistics import fmean, pstdev

import dspy
import pytest

from langmem_dspy import simulation
from langmem_dspy.functional import create_prompt_optimizer
from langmem_dspy.simulation import worlds
from langmem_dspy.simulation.parsing import find_rules, find_said
from langmem_dspy.simulation.worlds.cases import draw_sets

SEEDS = range(3)


def score(world, program, profile="middle") -> float:
    with dspy.context(lm=simulation.offline_lm(profile), adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        return fmean(world.metric(e, program(**e.inputs())).score for e in world.testset)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("support_desk", 0.25, 0.45),
        ("expense_office", 0.7, 0.8),
        ("museum_desk", 0.15, 0.4),
        ("newsroom", 0.25, 0.45),
    ],
)
@pytest.mark.parametrize("seed", SEEDS)
def test_there_is_much_to_gain_and_the_perfect_prompts_gain_it(name, low, high, seed):
    world = worlds.load(name, seed, n_test=30)
    assert low <= score(world, world.program()) <= high
    assert score(world, world.with_prompts(world.perfect_prompts())) >= 0.97


@pytest.mark.parametrize("name", worlds.names())
def test_a_world_is_a_compound_system_with_prompts_that_are_right(name):
    world = worlds.load(name)
    predictors = dict(world.program().named_predictors())
    assert len(predictors) >= 3
    assert set(predictors) == set(world.hidden_rules) == set(world.guidance) == set(world.variables)
    assert any(not rules for rules in world.hidden_rules.values())
    assert any(world.hidden_rules.values()) and all(world.variables.values())
    for name, predictor in predictors.items():
        assert not set(find_rules(predictor.signature.instructions)) & set(world.hidden_rules[name])
        assert set(find_rules(world.perfect_prompts()[name])) >= set(world.hidden_rules[name])


@pytest.mark.parametrize("name", worlds.names())
def test_the_sets_share_no_case_and_seeds_differ(name):
    world = worlds.load(name, 0)
    sets = [
        {tuple(sorted(e.inputs().toDict().items())) for e in s} for s in (world.trainset, world.valset, world.testset)
    ]
    assert [len(cases) for cases in sets] == [40, 30, 60]
    assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])
    assert worlds.load(name, 1).hidden_rules != world.hidden_rules


def test_placement_and_variables_are_judged():
    world = worlds.load("support_desk")
    start = world.placement(world.program())
    assert (start.precision, start.recall) == (1.0, 0.0)
    perfect = world.perfect_prompts()
    assert world.placement(world.with_prompts(perfect)) == worlds.Placement(1.0, 1.0)
    swapped = world.with_prompts({"draft": perfect["draft"] + "\n" + perfect["triage"]})
    assert world.placement(swapped).precision < 0.7
    assert world.broken_variables(world.with_prompts(perfect)) == {}
    broken = world.with_prompts({"draft": perfect["draft"].replace("{agent_name}", "{name}")})
    assert world.broken_variables(broken) == {"draft": ["agent_name", "name"]}


def complaints(voice, examples=None) -> list:
    world = worlds.load("support_desk", 2, voice=voice)
    nothing = dspy.Prediction(**{name: "x" for stage in world.stages for name in stage.outputs})
    return [world.metric(example, nothing).feedback for example in world.trainset]


def test_feedback_is_partial_vague_and_sometimes_wrong():
    world = worlds.load("support_desk", 2)
    true = {rule for stage in world.stages for rule in stage.rules}
    said = [find_said(text) for text in complaints(None)]
    assert max(map(len, said)) <= 2
    assert any(not text for text in complaints(None))
    assert any("not right" in text for text in complaints(None))
    rules = [s.rule for each in said for s in each]
    wrong = [rule for rule in rules if rule not in true and rule.general not in {r.general for r in true if r == rule}]
    assert 0 < len(wrong) < len(rules) / 2


def test_feedback_can_be_by_predictor_and_complete():
    voice = worlds.Voice(complaints=99, bare=0, vague=0, wrong=0, silent=0, by_predictor=True)
    said = complaints(voice)
    assert all(set(each) >= {"polish", "log"} for each in said)
    world = worlds.load("support_desk", 2, voice=voice)
    nothing = dspy.Prediction(**{name: "x" for stage in world.stages for name in stage.outputs})
    one = world.metric(world.trainset[0], nothing, pred_name="log").feedback
    assert {rule.field for rule in find_rules(one)} == {"note"}


def test_a_perfect_prediction_gets_no_complaint_and_an_exact_judge_knows_only_that():
    world = worlds.load("expense_office", exact=True, n_test=20)
    assert score(world, world.program(), "strong") < 0.1
    assert score(world, world.with_prompts(world.perfect_prompts()), "strong") == 1.0


def test_noise_on_the_score_is_new_each_time_and_of_the_size_asked_for():
    world = worlds.load("expense_office", voice=worlds.Voice(noise=0.1))
    same = dspy.Prediction(category="other", level="x", finding="x", letter="(employee: x) x")
    calm = worlds.load("expense_office").metric(world.trainset[0], same).score
    scores = [world.metric(world.trainset[0], same).score for _ in range(400)]
    assert abs(fmean(scores) - calm) < 0.06
    assert 0.05 < pstdev(scores) < 0.12
    again = worlds.load("expense_office", voice=worlds.Voice(noise=0.1))
    assert [again.metric(again.trainset[0], same).score for _ in range(400)] == scores


def test_unknown_worlds_and_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="no world is named 'moon'; there are support_desk, expense_office,"):
        worlds.load("moon")
    with pytest.raises(ValueError, match="moon has only 1 different cases, 3 were asked for; ask for fewer"):
        draw_sets("moon", 0, lambda chance, number: {"rock": "grey"}, (), (2, 1))


def test_talks_teach_a_single_prompt():
    talks = worlds.load_talks(2)
    lm = simulation.offline_lm()
    prompt = talks.prompt
    before = talks.score(lm, prompt)
    for _ in range(3):
        prompt = create_prompt_optimizer(lm, kind="metaprompt")(talks.trajectories(lm, 10, prompt), prompt)
    assert before < 0.3 < talks.score(lm, prompt)
    assert talks.score(lm, talks.perfect_prompt) > 0.97
    assert "{shop}" in prompt and talks.rules_found(prompt) > 0.4
