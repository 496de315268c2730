"""The tools that agents are offered by MCP: the memory tools, and the two graphs.

What belongs to the caller never comes from a model: store, tenant, namespace and its variables, and the model that is
asked are no arguments.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dspy
import orjson

from langmem_dspy.errors import InputError
from langmem_dspy.graphs import prompts, semantic
from langmem_dspy.integrations.tool_arguments import problems, without_nulls
from langmem_dspy.memories.schemas import KINDS
from langmem_dspy.memories.tool_calls import Managed, said_of, shown
from langmem_dspy.memory_factories import create_manage_memory_tool, create_search_memory_tool
from langmem_dspy.optimizers.kinds import PROPOSERS
from langmem_dspy.records import SearchItem

Namespace = str | Sequence[str]

_TEXT: dict[str, Any] = {"type": "string"}
_MESSAGES: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "object"},
    "description": 'a conversation, oldest first: [{"role": "user", "content": "..."}, ...]',
}
_THREAD: dict[str, Any] = {
    "type": "object",
    "properties": {"messages": _MESSAGES, "feedback": {"description": "what was good or bad about it: text or scores"}},
    "required": ["messages"],
}
_PROMPT: dict[str, Any] = {
    "type": "object",
    "properties": {"name": _TEXT, "prompt": _TEXT, "when_to_update": _TEXT, "update_instructions": _TEXT},
    "required": ["name", "prompt"],
}


@dataclass(frozen=True)
class Answer:
    """What a tool says: `text` for the model, `structured` for programs. Where it `failed`, the text says why."""

    text: str
    structured: Mapping[str, Any] | None = None
    failed: bool = False


@dataclass(frozen=True)
class OfferedTool:
    """A tool as it is offered. `call` runs in a `memory_context` that has the caller's store."""

    name: str
    title: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]
    call: Callable[[Mapping[str, Any]], Awaitable[Answer]]
    reads_only: bool = False
    destroys: bool = False
    idempotent: bool = False


@dataclass(frozen=True)
class Offer:
    """What the tools work with. `model` None is the configured one; `variables` fill in the `namespace`."""

    namespace: Namespace = ("memories",)
    model: dspy.BaseLM | str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)

    def tools(self) -> list[OfferedTool]:
        return [_manage(self), _search(self), _extract(self), _optimize(self)]

    def config(self, kind: str | None) -> dict[str, Any]:
        return {"configurable": {"model": self.model, "kind": kind, **self.variables}}


def _manage(offer: Offer) -> OfferedTool:
    tool = create_manage_memory_tool(namespace=offer.namespace)
    manage: Callable[..., Managed] = tool.calls.manage  # type: ignore[union-attr]

    async def call(arguments: Mapping[str, Any]) -> Answer:
        done = await asyncio.to_thread(manage, **arguments)
        if done.what is None:
            return Answer(done.said, failed=True)
        return Answer(done.said, {"done": done.what, "id": done.id})

    done = {"type": "string", "enum": ["created", "updated", "deleted", "known"]}
    return OfferedTool(
        tool.name,
        "Manage memory",
        tool.desc or "",
        _object(tool.args or {}),
        _object({"done": done, "id": _TEXT}, "done", "id"),
        call,
        destroys=True,
    )


def _search(offer: Offer) -> OfferedTool:
    tool = create_search_memory_tool(namespace=offer.namespace)
    find: Callable[..., list[SearchItem]] = tool.calls.find  # type: ignore[union-attr]
    arguments = dict(tool.args or {})
    arguments["limit"] = {**arguments["limit"], "minimum": 1, "maximum": 100}
    arguments["offset"] = {**arguments["offset"], "minimum": 0}

    async def call(arguments: Mapping[str, Any]) -> Answer:
        found = await asyncio.to_thread(find, **arguments)
        said = said_of(found, arguments["query"], arguments.get("offset", 0))
        return Answer(said, {"memories": [shown(item) for item in found]})

    memory = _object({"id": _TEXT, "content": {}, "score": {"type": "number"}}, "id", "content")
    return OfferedTool(
        tool.name,
        "Search memory",
        tool.desc or "",
        _object(arguments, "query"),
        _object({"memories": {"type": "array", "items": memory}}, "memories"),
        call,
        reads_only=True,
        idempotent=True,
    )


def _extract(offer: Offer) -> OfferedTool:
    async def call(arguments: Mapping[str, Any]) -> Answer:
        given = {name: part for name, part in arguments.items() if name != "kind"}
        found = await semantic({**given, "namespace": offer.namespace}, offer.config(arguments.get("kind")))
        return _as_json(found)

    schemas = {"type": "array", "items": {"type": "object"}, "description": "JSON schemas of memories; default: text"}
    kind = {"type": "string", "enum": list(KINDS), "default": "multi"}
    items = {"type": "array", "items": {"type": "object"}}
    return OfferedTool(
        "extract_memories",
        "Extract memories",
        "Read a conversation and remember what will matter later: new memories are added, known ones brought up to "
        "date. Returns those written.",
        _object({"messages": _MESSAGES, "schemas": schemas, "kind": kind}, "messages"),
        _object({"updated_memories": items}, "updated_memories"),
        call,
    )


def _optimize(offer: Offer) -> OfferedTool:
    async def call(arguments: Mapping[str, Any]) -> Answer:
        given = {name: part for name, part in arguments.items() if name != "kind"}
        return _as_json(await prompts(given, offer.config(arguments.get("kind"))))

    given = {
        "anyOf": [_TEXT, {"type": "array", "minItems": 1, "items": _PROMPT}],
        "description": "one prompt as text, or several of one system by name",
    }
    threads = {"type": "array", "items": _THREAD, "description": "conversations that the prompts led to, with feedback"}
    kind = {"type": "string", "enum": list(PROPOSERS), "default": "gradient"}
    better = {"type": "array", "items": {"type": "object"}}
    return OfferedTool(
        "optimize_prompts",
        "Optimize prompts",
        "Improve prompts by conversations and the feedback on them. Nothing is stored; the improved prompts are the "
        "answer, in the order given, with every {variable} kept.",
        _object({"prompts": given, "threads": threads, "kind": kind}, "prompts", "threads"),
        _object({"optimized_prompts": better, "updated_prompts": better}, "optimized_prompts"),
        call,
        reads_only=True,
    )


def checked(tool: OfferedTool, arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """The arguments that the tool is called with. Raises `InputError` for those that do not fit its schema."""
    given = without_nulls(arguments or {})
    if told := list(dict.fromkeys(problems(given, tool.input_schema, width=200))):
        raise InputError(f"{tool.name} was not called: {'; '.join(told[:5])}")
    return given


def _as_json(found: Mapping[str, Any]) -> Answer:
    return Answer(orjson.dumps(found).decode(), found)


def _object(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }
