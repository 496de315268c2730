"""The two deployable graphs as their callers use them: no server, the README's inputs."""

from __future__ import annotations

import asyncio

import pytest

from langmem_dspy import FaissStore, simulation
from langmem_dspy.errors import InputError, NamespaceError
from langmem_dspy.graphs import prompts, semantic

CONVERSATION = [
    {"role": "user", "content": "I prefer dark mode and minimalist interfaces"},
    {"role": "assistant", "content": "I'll remember your UI preferences."},
]
SCHEMA = {
    "title": "UserPreference",
    "type": "object",
    "properties": {"preference": {"type": "string"}, "category": {"type": "string"}},
    "description": "User preferences",
}
PROMPT = {
    "name": "assistant_prompt",
    "prompt": "You are a helpful assistant.",
    "when_to_update": "When user requests more detail",
    "update_instructions": "Add instructions about providing context",
}
RULE = 'If `ticket` mentions "refund", set `queue` to "billing".'


@pytest.fixture
def config():
    return {"configurable": {"model": simulation.offline_lm("strong")}}


@pytest.fixture
def store():
    with FaissStore() as made:
        yield made


def run(graph, *args, **kwargs):
    return asyncio.run(graph(*args, **kwargs))


def test_memories_of_a_conversation_are_found_in_the_store(config, store):
    written = run(semantic, {"messages": CONVERSATION}, config, store=store)["updated_memories"]
    assert written and "dark mode" in str(written)
    assert store.search((), query="dark mode")[0].key == written[0]["key"]
    assert written[0]["namespace"] == ["memories"]


@pytest.mark.parametrize("schemas", [SCHEMA, [SCHEMA]])
def test_a_schema_is_given_alone_or_in_a_list(config, store, schemas):
    written = run(semantic, {"messages": CONVERSATION, "schemas": schemas}, config, store=store)["updated_memories"]
    assert {memory["value"]["kind"] for memory in written} == {"UserPreference"}


@pytest.mark.parametrize("pair", [(CONVERSATION, {"comment": "I also like shoo-fly pie."}), [CONVERSATION, None]])
def test_conversations_come_with_feedback(config, store, pair):
    written = run(semantic, {"messages": [pair]}, config, store=store)["updated_memories"]
    assert "dark mode" in str(written)
    assert ("shoo-fly" in str(written)) is (pair[1] is not None)


def test_a_namespace_takes_its_variables_from_the_config(config, store):
    config["configurable"]["user_id"] = "ann"
    run(semantic, {"messages": CONVERSATION, "namespace": ["users", "{user_id}"]}, config, store=store)
    assert store.list_namespaces() == [("users", "ann")]


def test_a_missing_variable_is_named(config, store):
    with pytest.raises(NamespaceError, match="user_id"):
        run(semantic, {"messages": CONVERSATION, "namespace": ["users", "{user_id}"]}, config, store=store)


def test_a_profile_is_kept_as_one_document(config, store):
    config["configurable"]["kind"] = "single"
    for _ in range(2):
        run(semantic, {"messages": CONVERSATION, "schemas": SCHEMA}, config, store=store)
    assert [item.key for item in store.search(())] == ["UserPreference"]


def test_no_messages_write_nothing_and_ask_no_model(store):
    assert run(semantic, {"messages": []}, {"configurable": {"model": "openai/none"}}, store=store) == {
        "updated_memories": []
    }


@pytest.mark.parametrize("given", [None, {}, {"message": []}, {"messages": [], "namespce": ["a"]}])
def test_an_input_that_cannot_be_read_says_what_is_wanted(config, store, given):
    with pytest.raises(InputError, match="messages"):
        run(semantic, given, config, store=store)


def test_an_unknown_option_is_refused(config, store):
    config["configurable"]["options"] = {"api_base": "http://elsewhere"}
    with pytest.raises(InputError, match="api_base"):
        run(semantic, {"messages": CONVERSATION}, config, store=store)


def test_a_prompt_learns_from_feedback_under_both_names_of_the_output(config):
    result = run(prompts, {"prompts": [PROMPT], "threads": [[CONVERSATION, RULE]]}, config)
    assert result["optimized_prompts"] == result["updated_prompts"]
    [better] = result["optimized_prompts"]
    assert "billing" in better["prompt"]
    assert {**better, "prompt": PROMPT["prompt"]} == PROMPT


def test_a_prompt_is_given_as_text_too(config):
    [better] = run(prompts, {"prompts": "Be kind.", "threads": [[CONVERSATION, RULE]]}, config)["optimized_prompts"]
    assert better["name"] == "prompt" and "billing" in better["prompt"]


def test_of_several_prompts_all_come_back_in_their_order(config):
    several = [PROMPT, {"name": "other", "prompt": "Be brief.", "when_to_update": "never"}]
    result = run(prompts, {"prompts": several, "threads": [[CONVERSATION, RULE]]}, config)["optimized_prompts"]
    assert [one["name"] for one in result] == ["assistant_prompt", "other"]
    assert result[1] == several[1]


def test_without_threads_the_prompts_come_back_as_they_were(config):
    assert run(prompts, {"prompts": [PROMPT], "threads": []}, config)["optimized_prompts"] == [PROMPT]
    assert run(prompts, {"prompts": [PROMPT]}, config)["optimized_prompts"] == [PROMPT]


def test_the_kind_and_its_options_are_chosen_by_the_config(config):
    config["configurable"] |= {"kind": "metaprompt", "options": {"max_reflection_steps": 1}}
    [better] = run(prompts, {"prompts": [PROMPT], "threads": [[CONVERSATION, RULE]]}, config)["optimized_prompts"]
    assert "billing" in better["prompt"]
    config["configurable"]["kind"] = "unknown"
    with pytest.raises(InputError, match="kind"):
        run(prompts, {"prompts": [PROMPT], "threads": [[CONVERSATION, RULE]]}, config)
