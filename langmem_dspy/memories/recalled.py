"""Recalled memories in a conversation: marked where they are put in, left out where memories are taken from it.

Without this, what a store said is stored again, from every conversation that it was recalled in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from langmem_dspy.messages import Message, escape

MEMORY_TOOLS = frozenset({"manage_memory", "search_memory"})
# A block that was cut off holds recalled memories up to its end; "\\n" is a newline in a result that is JSON.
_BLOCK = re.compile(r"<memories>(?:.*?</memories>|(?:\n|\\n).*)", re.DOTALL)
_ANSWER = re.compile(r"(?:Created|Updated|Deleted|Already known as) memory \S+\.$|No (?:further )?memories were found")
_TAG = re.compile(r"<(?=/?memories>)")


def marked(text: str) -> str:
    """`text` as a block of recalled memories, which no text in it can end; nor the field that it stands in."""
    return f"<memories>\n{_TAG.sub('&lt;', escape(text))}\n</memories>"


def without_recalled(messages: Iterable[Message]) -> tuple[Message, ...]:
    """The messages less recalled memories: marked blocks, and calls of the memory tools with their results.

    System messages are left out too: they hold the program's prompt, not what anyone said.
    """
    said = [(message, called) for message, called in _with_calls(messages) if message.role != "system"]
    tools = MEMORY_TOOLS | _renamed_tools(said)
    kept = []
    for message, called in said:
        if message.role == "tool" and called and called[0] in tools:
            continue
        calls = tuple(call for call in message.tool_calls if call.name not in tools)
        content = _BLOCK.sub("", message.content) if "<memories>" in message.content else message.content
        if content.strip() or calls:
            kept.append(replace(message, content=content, tool_calls=calls))
    return tuple(kept)


def _with_calls(messages: Iterable[Message]) -> Iterator[tuple[Message, list[str]]]:
    """Each message, a tool's with the names of the calls that it may be the result of, the likeliest first."""
    pending: list[str] = []  # the calls whose results come next, in their order
    for message in messages:
        if message.role != "tool":
            pending = [call.name for call in message.tool_calls] or pending
            yield message, []
            continue
        yield message, [message.name] if message.name else list(pending)
        pending = pending[1:]


def _renamed_tools(said: Iterable[tuple[Message, list[str]]]) -> frozenset[str]:
    """The tools that answer as ours do, whatever they are called here."""
    return frozenset(
        called[0]
        for message, called in said
        if len(set(called)) == 1 and (_BLOCK.match(message.content) or _ANSWER.match(message.content))
    )
