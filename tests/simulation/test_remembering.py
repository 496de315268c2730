"""The world of facts to remember, and the two roles that its feedback can teach."""

from __future__ import annotations

from dataclasses import replace

import dspy
import pytest

from langmem_dspy import simulation
from langmem_dspy.memories.extraction import MemoryManager
from langmem_dspy.memories.search import WriteQueries
from langmem_dspy.simulation.parsing import find_rules
from langmem_dspy.simulation.phrasing import phrase
from langmem_dspy.simulation.profiles import find_profile
from langmem_dspy.simulation.worlds.remembering import ASKED, EXTRACTED, load_keepsakes


@pytest.fixture(autouse=True)
def model():
    adapter = dspy.ChatAdapter(use_json_adapter_fallback=False)
    attentive = replace(find_profile("strong"), notice=1.0)  # overlooks nothing, whatever else its request says
    with dspy.context(lm=simulation.offline_lm(attentive), adapter=adapter):
        yield


def extracted(instructions: str, said: str) -> list[str]:
    manager = MemoryManager()
    manager.extract.signature = manager.extract.signature.with_instructions(instructions)
    return [memory.content.content for memory in manager(messages=said).memories]


def test_what_is_told_of_others_is_kept_only_if_the_prompt_asks_for_it():
    said = "The gate code is 4711. I like tea."
    assert extracted("Keep a memory.", said) == ["The user likes tea"]
    asked = 'Keep a memory. Mention "gate code" in `operations`.'
    assert extracted(asked, said) == ["The user likes tea", "The gate code is 4711"]


def test_a_query_is_added_where_the_prompt_asks_for_it():
    prompt = 'Write queries. If `conversation` mentions "cabin", mention "gate code" in `queries`.'
    write = dspy.Predict(WriteQueries.with_instructions(prompt))
    assert "gate code" in write(conversation="user: We are off to the cabin.").queries
    assert "gate code" not in write(conversation="user: We are off to the airport.").queries


def test_a_world_is_the_same_for_a_seed_and_its_splits_share_no_conversation():
    one, two, other = load_keepsakes(3), load_keepsakes(3), load_keepsakes(4)
    assert one.trainset == two.trainset and one.trainset != other.trainset
    cases = [example.case for split in (one.trainset, one.valset, one.testset) for example in split]
    assert len(set(cases)) == len(cases) == 32 + 24 + 48


def test_feedback_goes_to_whoever_lost_the_fact_and_names_the_rule():
    world = load_keepsakes()
    gold = next(x for x in world.trainset if x.kind == "gate code" and x.opening.startswith("We are"))
    passed_over = world.metric(gold, dspy.Prediction(stored=[], found=[]))
    not_asked = world.metric(gold, dspy.Prediction(stored=[f"The {gold.fact}"], found=[]))
    assert {rule.field for rule in find_rules(passed_over.feedback)} == {EXTRACTED}
    assert {rule.field for rule in find_rules(not_asked.feedback)} == {ASKED}
    assert world.metric(gold, dspy.Prediction(stored=[], found=[f"The {gold.fact}"])).score == 1.0


def test_openings_of_occasions_share_no_word_with_the_fact_they_need():
    world = load_keepsakes()
    for example in world.testset:
        if example.opening.startswith("We are"):
            assert not set(example.kind.split()) & set(example.opening.lower().replace(".", "").split())


def test_every_hidden_rule_can_be_said_and_read_again():
    rules = [rule for rules in load_keepsakes().hidden_rules.values() for rule in rules]
    assert all(find_rules(phrase(rule, style)) == (rule,) for rule in rules for style in range(6))
