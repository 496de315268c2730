"""Prompts of different libraries make the reviewer take up equally many rules: no silent bias for anyone's protocol."""

from __future__ import annotations

from statistics import fmean, pstdev

import pytest
from peer_styles import SEVERAL_STYLES, STYLES, Case, Evidence, rules_taken

from langmem_dspy import simulation
from langmem_dspy.simulation import worlds
from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.parsing import find_rules
from langmem_dspy.simulation.phrasing import phrase


def evidence(seed: int, each: int, cases: int) -> tuple[Evidence, set]:
    """`cases` cases of one stage, `each` rules in the feedback on each, worded at random."""
    world = worlds.load("support_desk", seed, n_train=cases, n_val=1, n_test=1)
    stage = world.stages[seed % 3]
    chance = Chance(seed, "evidence")
    rules = chance.shuffled(stage.hidden, "rules")[: each * cases]
    found = []
    for i, example in enumerate(world.trainset):
        known = {**example.inputs(), **example.gold, "draft": "We looked into it."}
        said = " ".join(phrase(rules[(i + k) % len(rules)], seed + i + k) for k in range(each))
        found.append(Case({name: str(known[name]) for name in stage.inputs}, dict.fromkeys(stage.outputs, "hm"), said))
    return Evidence(stage.prompt(stage.given), stage.name, tuple(found)), set(rules)


def taken(style: str, profile: str, each: int, cases: int, rounds: int) -> list[int]:
    counts = []
    for seed in range(rounds):
        body, rules = evidence(seed, each, cases)
        found = rules_taken(STYLES[style](simulation.offline_lm(profile, seed), body), body, find_rules)
        assert set(found) <= rules
        counts.append(len(found))
    return counts


@pytest.mark.parametrize("profile", ["weak", "middle", "strong"])
@pytest.mark.parametrize(
    ("each", "cases", "rounds"), [(1, 1, 50), (1, 2, 40), (2, 6, 16)], ids=["one rule", "two rules", "many rules"]
)
def test_every_librarys_prompt_makes_it_take_up_equally_many_rules(profile, each, cases, rounds):
    counts = {style: taken(style, profile, each, cases, rounds) for style in STYLES}
    everyone = [count for found in counts.values() for count in found]
    middle = fmean(everyone)
    assert middle > 0.5
    # Luck differs with the words of a request: three standard errors are its share, and a tenth of the mean is nothing.
    tolerance = max(0.1 * middle, 3 * pstdev(everyone) / rounds**0.5)
    assert tolerance < 0.3 * middle
    assert {style: fmean(found) for style, found in counts.items() if abs(fmean(found) - middle) > tolerance} == {}


SEVERAL = {
    "sort": "You sort for {company}.\nRead `claim`, and fill `category`.",
    "check": "You check by the rules of {year}.\nWrite `finding` from `claim`.",
    "letter": "You write in the name of {sender}.\nRewrite `finding` as `letter`.",
}


@pytest.mark.parametrize("style", list(SEVERAL_STYLES))
@pytest.mark.parametrize("field", ["category", "finding", "letter"])
def test_asked_about_several_prompts_it_finds_the_one_that_speaks_of_the_field(style, field):
    owner = {"category": "sort", "finding": "check", "letter": "letter"}[field]
    found = []
    for seed in range(12):
        lm = simulation.offline_lm("strong", seed)
        found += SEVERAL_STYLES[style](lm, SEVERAL, f'Start `{field}` with "Hello {seed}".')
    assert found.count(owner) >= 10
    assert len(found) - found.count(owner) <= 1
