"""LangMem's first README: its agent that manages its own memory, in LangGraph, with our tools and the offline model.

Its one slip, a list of tools indexed by a name, is corrected.
"""

import asyncio
from typing import Any

import pytest

from langmem_dspy.integrations.langchain import as_langchain
from langmem_dspy.integrations.langgraph import as_base_store
from langmem_dspy.memory_factories import create_manage_memory_tool, create_search_memory_tool
from langmem_dspy.simulation import offline_lm

pytest.importorskip("langgraph")

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, convert_to_openai_messages
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.checkpoint.memory import MemorySaver
from langgraph.func import entrypoint, task
from langgraph.store.memory import InMemoryStore


class OfflineChat(BaseChatModel):
    """The offline model as a chat model of LangChain's."""

    lm: Any
    _llm_type = "offline"

    def bind_tools(self, tools, **kwargs):
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(self, messages, stop=None, run_manager=None, tools=(), **kwargs):
        said = self.lm.forward(messages=convert_to_openai_messages(messages), tools=list(tools)).choices[0].message
        calls = [call.model_dump() if hasattr(call, "model_dump") else dict(call) for call in said.tool_calls or ()]
        for call in calls:
            call["function"] = dict(call["function"])
        message = AIMessage(said.content or "", additional_kwargs={"tool_calls": calls} if calls else {})
        return ChatResult(generations=[ChatGeneration(message=message)])


def make_assistant(store, tools):
    model = OfflineChat(lm=offline_lm("strong")).bind_tools(tools)
    tools_by_name = {t.name: t for t in tools}
    system_prompt = "You are a helpful assistant. Save memories whenever you learn something new."

    @task
    async def execute_tool(tool_call: dict):
        result = await tools_by_name[tool_call["name"]].ainvoke(tool_call["args"])
        return {"role": "tool", "content": result, "tool_call_id": tool_call["id"]}

    @entrypoint(checkpointer=MemorySaver(), store=store)
    async def assistant(messages: list[dict], *, previous: list[dict] | None = None) -> entrypoint.final:
        messages = (previous or []) + messages
        response = None
        while True:
            if response:
                if response.tool_calls:
                    tool_messages = []
                    for tool_call in response.tool_calls:
                        tool_messages.append(await execute_tool(tool_call))
                    messages.extend(tool_messages)
                else:
                    break
            response = await model.ainvoke([{"role": "system", "content": system_prompt}, *messages])
            messages.append(response)
        return entrypoint.final(value=response, save=messages)

    return assistant


def ask(assistant, text, **configurable):
    messages = [{"role": "user", "content": text}]

    async def main():
        config = {"configurable": configurable}
        return [step async for step in assistant.astream(messages, config, stream_mode="values")]

    return asyncio.run(main())[-1].content


@pytest.fixture(params=[InMemoryStore, as_base_store], ids=["langgraphs store", "ours"])
def store(request):
    return request.param()


def test_what_it_saved_it_finds_in_a_later_thread(store):
    tools = [as_langchain(create_manage_memory_tool()), as_langchain(create_search_memory_tool())]
    assistant = make_assistant(store, tools)
    ask(assistant, "I really like shoo-fly pie.", thread_id="user123")
    assert [item.value["content"] for item in store.search(("memories",))] == ["The user really likes shoo-fly pie"]
    assert "shoo-fly pie" in ask(assistant, "Which pie do I like?", thread_id="another thread")


def test_users_of_one_graph_have_memories_of_their_own(store):
    namespace = ("memories", "{user_id}")
    tools = [as_langchain(create_manage_memory_tool(namespace=namespace))]
    tools.append(as_langchain(create_search_memory_tool(namespace=namespace)))
    assistant = make_assistant(store, tools)
    ask(assistant, "I really like shoo-fly pie.", thread_id="1", user_id="ann")
    assert [item.namespace for item in store.search(())] == [("memories", "ann")]
    assert "shoo-fly pie" not in ask(assistant, "Which pie do I like?", thread_id="2", user_id="bob")
    assert "shoo-fly pie" in ask(assistant, "Which pie do I like?", thread_id="3", user_id="ann")
