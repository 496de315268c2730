"""The graphs that are served, by the names and ids that LangGraph's clients use."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from langmem_dspy.records import Store

# (input, config, store) -> output
Run: TypeAlias = Callable[[Any, Mapping[str, Any], Store], Awaitable[Mapping[str, Any]]]

# The name space in which LangGraph's servers make the id of an assistant from the name of its graph.
_NAMES = uuid.UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")

_OBJECT: dict[str, Any] = {"type": "object"}
_LIST: dict[str, Any] = {"type": "array", "items": {}}
_TEXT: dict[str, Any] = {"type": "string"}


@dataclass(frozen=True)
class Graph:
    """A graph, and the assistant that stands for it."""

    name: str
    run: Run
    description: str
    input_schema: Mapping[str, Any] = field(default_factory=dict)
    output_schema: Mapping[str, Any] = field(default_factory=dict)
    config_schema: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def assistant_id(self) -> str:
        return str(uuid.uuid5(_NAMES, self.name))


class Graphs(dict[str, Graph]):
    """Graphs by name."""

    def find(self, assistant: str) -> Graph | None:
        """The graph called so, by its name or the id of its assistant."""
        return self.get(assistant) or next((one for one in self.values() if one.assistant_id == assistant), None)


def warm() -> None:
    """Load what the graphs are made of, for which the first run would wait otherwise."""
    import langmem_dspy.graphs
    import langmem_dspy.graphs.prompts
    import langmem_dspy.graphs.semantic  # noqa: F401


async def _extract_memories(input: Any, config: Mapping[str, Any], store: Store) -> Mapping[str, Any]:
    from langmem_dspy.graphs import semantic

    return await semantic(input, config, store=store)


async def _optimize_prompts(input: Any, config: Mapping[str, Any], store: Store) -> Mapping[str, Any]:
    from langmem_dspy.graphs import prompts

    return await prompts(input, config)


async def _echo(input: Any, config: Mapping[str, Any], store: Store) -> Mapping[str, Any]:
    return input if isinstance(input, Mapping) else {"input": input}


def _config(kinds: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"model": _TEXT, "kind": {"type": "string", "enum": kinds}, "options": _OBJECT},
    }


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


def served_graphs(*, bench: bool = False) -> Graphs:
    """The graphs of a server; `bench` adds `echo`, which asks no model."""
    schemas = {"anyOf": [{"type": "null"}, _OBJECT, {"type": "array", "items": _OBJECT}]}
    namespace = {"anyOf": [{"type": "null"}, {"type": "array", "items": _TEXT}]}
    prompts = {"anyOf": [_TEXT, {"type": "array", "items": _OBJECT}]}
    graphs = [
        Graph(
            "extract_memories",
            _extract_memories,
            "Extract memories from conversations and keep them.",
            _object(["messages"], messages=_LIST, schemas=schemas, namespace=namespace),
            _object(["updated_memories"], updated_memories=_LIST),
            _config(["multi", "single"]),
        ),
        Graph(
            "optimize_prompts",
            _optimize_prompts,
            "Improve prompts by conversations and feedback.",
            _object(["prompts"], prompts=prompts, threads=_LIST),
            _object(["optimized_prompts"], optimized_prompts=_LIST, updated_prompts=_LIST),
            _config(["gradient", "metaprompt", "prompt_memory"]),
        ),
    ]
    if bench:
        graphs.append(Graph("echo", _echo, "Give the input back.", _OBJECT, _OBJECT))
    return Graphs({graph.name: graph for graph in graphs})
