"""Recalled memories in a conversation: marked where they are put in, left out where memories are taken from it.

Without this, what a store said is stored again, from every conversation that it was recalled in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from langmem_dspy.messages import Message, escape

MEMORY_TOOLS = frozenset({"manage_memory", "search_memory"})
_BLOCK = re.compile(r"<memories>.*?</memories>", re.DOTALL)
_TAG = re.compile(r"<(?=/?memories>)")


def marked(text: str) -> str:
    """`text` as a block of recalled memories, which no text in it can end; nor the field that it stands in."""
    return f"<memories>\n{_TAG.sub('&lt;', escape(text))}\n</memories>"


def without_recalled(messages: Iterable[Message]) -> tuple[Message, ...]:
    """The messages less recalled memories: marked blocks, and calls of the memory tools with their results.

    System messages are left out too: they hold the program's prompt, not what anyone said.
    """
    kept = []
    pending: list[str] = []  # the calls whose results come next, in their order
    for message in messages:
        if message.role == "system":
            continue
        if message.role == "tool":
            name = message.name or (pending[0] if pending else "")
            pending = pending[1:]
            if name in MEMORY_TOOLS:
                continue
        elif message.tool_calls:
            pending = [call.name for call in message.tool_calls]
        calls = tuple(call for call in message.tool_calls if call.name not in MEMORY_TOOLS)
        content = _BLOCK.sub("", message.content) if "<memories>" in message.content else message.content
        if content.strip() or calls:
            kept.append(replace(message, content=content, tool_calls=calls))
    return tuple(kept)
