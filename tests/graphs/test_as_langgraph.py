"""The two graphs as LangGraph runs them, over our store and over its own."""

import asyncio
import json
from pathlib import Path

import pytest

from langmem_dspy.simulation import offline_lm
from langmem_dspy.store import FaissStore

pytest.importorskip("langgraph")

from langgraph.store.memory import InMemoryStore

from langmem_dspy.graphs import as_langgraph
from langmem_dspy.integrations.langgraph import as_base_store

PIE = {"messages": [{"role": "user", "content": "I really like shoo-fly pie."}]}
THREAD = [[*PIE["messages"], {"role": "assistant", "content": "Ok."}], "Always name the dessert."]


def run(graph, input, store=None, **configurable):
    graph = graph.copy({"store": store})
    return asyncio.run(graph.ainvoke(input, {"configurable": {"model": offline_lm("strong"), **configurable}}))


@pytest.mark.parametrize("make", [InMemoryStore, as_base_store], ids=["theirs", "ours"])
def test_memories_go_to_the_store_of_the_graph(make):
    store = make()
    found = run(as_langgraph.extract_memories, {**PIE, "namespace": ["memories", "{user_id}"]}, store, user_id="ann")
    (item,) = found["updated_memories"]
    assert "shoo-fly pie" in item["value"]["content"]
    assert store.get(("memories", "ann"), item["key"]).value == item["value"]


def test_prompts_come_back_with_their_variables():
    found = run(as_langgraph.optimize_prompts, {"prompts": "You help {name}.", "threads": [THREAD]})
    (prompt,) = found["optimized_prompts"]
    assert "{name}" in prompt["prompt"] and found["updated_prompts"] == found["optimized_prompts"]


def test_without_any_model_the_simulation_answers_and_says_so(monkeypatch, caplog):
    monkeypatch.delenv(as_langgraph.MODEL, raising=False)
    found = run(as_langgraph.extract_memories, PIE, InMemoryStore(), model=None)
    assert found["updated_memories"] and "offline simulation" in caplog.text


def test_the_store_of_the_environment_is_durable(monkeypatch, tmp_path):
    monkeypatch.setenv(as_langgraph.STORE, str(tmp_path / "m"))

    async def main():
        async with as_langgraph.memory_store() as store:
            await store.aput(("x",), "k", {"content": "kept"})

    asyncio.run(main())
    with FaissStore(tmp_path / "m") as store:
        assert store.get(("x",), "k").value == {"content": "kept"}


def test_what_langgraph_json_names_is_there():
    named = json.loads((Path(__file__).parents[2] / "langgraph.json").read_text())
    for path in [*named["graphs"].values(), named["store"]["path"].replace(".memory_store", ":memory_store")]:
        module, _, name = path.partition(":")
        assert module == as_langgraph.__name__ and hasattr(as_langgraph, name)
    assert set(as_langgraph.extract_memories.get_input_jsonschema()["properties"]) == {
        "messages", "schemas", "namespace",
    }  # fmt: skip
