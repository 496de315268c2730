"""An agent that manages its own memory in the hot path: it decides what to save and when to look something up.

Within a thread it sees the earlier turns; across threads only what it saved. Store and user are set around the agent,
not by it, so that nothing a user writes makes it read someone else's memories.

    python examples/hot_path_agent.py                            # offline, with the simulated model
    python examples/hot_path_agent.py openai/gpt-4.1-mini memory # your model, memories kept in ./memory
"""

from __future__ import annotations

import asyncio
import sys

import dspy

from langmem_dspy import (
    FaissStore,
    create_manage_memory_tool,
    create_search_memory_tool,
    memory_context,
    simulation,
)

SYSTEM_PROMPT = "You are a helpful assistant. Save memories whenever you learn something new."
NAMESPACE = ("memories", "{user_id}")
TALKS = [
    ("ann", "monday", ["I really like shoo-fly pie.", "My sister is allergic to walnuts."]),
    ("ann", "friday", ["Which pie do I like?", "What is my sister allergic to?"]),
    ("bob", "friday", ["My favourite pie is pumpkin pie."]),
]


class Assistant(dspy.Module):
    """`(message=, thread_id=) -> Prediction(answer=, trajectory=)`; the turns of each thread are kept."""

    def __init__(self) -> None:
        super().__init__()
        tools = [
            create_manage_memory_tool(namespace=NAMESPACE),  # to create, update and delete memories
            create_search_memory_tool(namespace=NAMESPACE),  # to search past memories
        ]
        signature = dspy.Signature("history: dspy.History, message: str -> answer: str", SYSTEM_PROMPT)
        self.react = dspy.ReAct(signature, tools=tools, max_iters=5)
        self.threads: dict[str, list[dict[str, str]]] = {}

    async def aforward(self, message: str, thread_id: str) -> dspy.Prediction:
        turns = self.threads.setdefault(thread_id, [])
        result = await self.react.acall(history=dspy.History(messages=list(turns)), message=message)
        turns.append({"message": message, "answer": result.answer})
        return result


async def talk(assistant: Assistant, user: str, thread: str, messages: list[str]) -> None:
    print(f"--- {user}, {thread}")
    for message in messages:
        with memory_context(user_id=user):
            result = await assistant.acall(message=message, thread_id=f"{user} {thread}")
        called = [str(name) for key, name in result.trajectory.items() if key.startswith("tool_name")]
        print(f"user:      {message}\nassistant: {result.answer}   ({', '.join(called)})")


async def main(model: str | None = None, folder: str | None = None) -> None:
    if model is None:
        print("No model was given: this is the simulated one, which needs no network.\n")
    lm = simulation.offline_lm("strong") if model is None else dspy.LM(model)
    with FaissStore(folder) as store, memory_context(store=store), dspy.context(lm=lm):
        assistant = Assistant()
        for user, thread, messages in TALKS:
            await talk(assistant, user, thread, messages)
        print("--- what is remembered")
        for item in store.search(("memories",)):
            print(f"{item.namespace[-1]}: {item.value['content']}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
