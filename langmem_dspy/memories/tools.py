"""The tools by which an agent keeps its own memory: manage_memory and search_memory.

What belongs to the caller never comes from the model: store, namespace and user are no arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dspy
from pydantic import BaseModel

from langmem_dspy.awaiting import awaited
from langmem_dspy.errors import InputError
from langmem_dspy.memories.schemas import Kind, Schemas, text_field
from langmem_dspy.memories.search import FindStore
from langmem_dspy.memories.tool_calls import ACTIONS, Action, ManageMemory, SearchMemory, shown_fields
from langmem_dspy.namespaces import configurable, current_store, memory_context
from langmem_dspy.records import SearchMode, Store

MANAGE_INSTRUCTIONS = (
    "Call this when the user tells you something that will matter in later conversations, states a preference, asks "
    "you to remember or to forget, or when what you remember is wrong or out of date."
)
SEARCH_INSTRUCTIONS = "Search what you remember from earlier conversations, whenever it could help with the request."


class MemoryTool(dspy.Tool):
    """A `dspy.Tool` that is called as a function too, and as LangChain calls its tools."""

    def __init__(self, calls: ManageMemory | SearchMemory, name: str, desc: str, args: Mapping[str, Any]) -> None:
        super().__init__(func=calls.call, name=name, desc=desc, args=dict(args))

    @property
    def __name__(self) -> str:
        return str(self.name)

    @property
    def calls(self) -> ManageMemory | SearchMemory:
        """What it calls, for whoever wants more than the text that a model reads."""
        calls: ManageMemory | SearchMemory = self.func.__self__
        return calls

    @property
    def store(self) -> Store | None:
        """The store it was made with; None if each call looks for the current one."""
        return self.calls.store

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(**self._named(args, kwargs))

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        return await awaited(self.__call__, *args, **kwargs)

    def invoke(self, input: Any, config: Any = None, **_: Any) -> Any:
        """Call with a dict of arguments, or with a tool call that has them under "args".

        What LangChain's `config` has as "configurable" fills the namespace.
        """
        with memory_context(**_configured(config)):
            return self(**self._arguments(input))

    async def ainvoke(self, input: Any, config: Any = None, **_: Any) -> Any:
        with memory_context(**_configured(config)):
            return await self.acall(**self._arguments(input))

    def _named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        names = list(self.args or {})
        if len(args) > len(names):
            raise InputError(f"{self.name} takes {', '.join(names)}; got {len(args)} arguments")
        # Models write null for what they leave out, which no argument's schema allows.
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        return {name: value for name, value in given.items() if value is not None}

    def _arguments(self, given: Any) -> dict[str, Any]:
        if isinstance(given, str) and self.args:
            return {next(iter(self.args)): given}
        if isinstance(given, Mapping) and isinstance(given.get("args"), Mapping) and "name" in given:
            given = given["args"]
        if not isinstance(given, Mapping):
            raise InputError(f"{self.name} is invoked with a dict of {', '.join(self.args or {})}, got {given!r}")
        return dict(given)


def _configured(config: Any) -> dict[str, Any]:
    found = configurable(config).items()
    return {name: value for name, value in found if name.isidentifier() and name != "store"}


# --- making them ---


def tool_place(
    place: Any, store: Any, namespace: str | Sequence[str] | None, prefix: str | Sequence[str] | None
) -> tuple[Store | None, str | Sequence[str]]:
    """Store and namespace of a tool. Today's LangMem gives the namespace first, its first README the store."""
    first = place if isinstance(place, str | tuple | list) else None
    stores = [one for one in (place if first is None else None, store) if one is not None]
    if len(stores) > 1:
        raise InputError(f"the store is given twice, as {stores}; give one of them")
    given = [label for label in (first, namespace, prefix) if label is not None]
    if len(given) > 1:
        raise InputError(f"the namespace is given {len(given)} times, as {given}; give one of them")
    return stores[0] if stores else None, given[0] if given else ("memories",)


def manage_memory_tool(
    store: Store | None = None,
    *,
    namespace: str | Sequence[str] = ("memories",),
    kind: Kind = "multi",
    schema: Any = str,
    actions_permitted: Sequence[Action] = ACTIONS,
    instructions: str = MANAGE_INSTRUCTIONS,
    name: str = "manage_memory",
    find_store: FindStore = current_store,
) -> MemoryTool:
    """The tool that changes memories. `kind="single"` keeps one document, so that no id is asked for."""
    schemas = Schemas(schema)
    if len(schemas) != 1:
        raise InputError(f"a memory tool keeps memories of one schema, got {sorted(schemas)}; make a tool for each")
    if kind not in ("multi", "single"):
        raise InputError(f"kind is 'multi' or 'single', not {kind!r}")
    actions = [action for action in ACTIONS if action in actions_permitted]
    if isinstance(actions_permitted, str) or not actions or set(actions_permitted) - set(ACTIONS):
        raise InputError(f"actions_permitted is a list of some of {', '.join(ACTIONS)}; got {actions_permitted!r}")
    model = next(iter(schemas.values()))
    calls = ManageMemory(store, namespace, model=model, kind=kind, actions=actions, find_store=find_store)
    what = "the profile" if kind == "single" else "memories"
    desc = f"{' / '.join(actions)} {what} kept across conversations. {instructions}"
    return MemoryTool(calls, name, desc, _manage_arguments(model, kind, actions))


def search_memory_tool(
    store: Store | None = None,
    *,
    namespace: str | Sequence[str] = ("memories",),
    limit: int = 10,
    min_score: float | None = None,
    filter: Mapping[str, Any] | None = None,
    mode: SearchMode = "hybrid",
    instructions: str = SEARCH_INSTRUCTIONS,
    name: str = "search_memory",
    find_store: FindStore = current_store,
) -> MemoryTool:
    """The tool that finds memories. `min_score`, `filter` and `mode` are the caller's, and bind every search."""
    if limit < 1:
        raise InputError(f"limit is at least 1, not {limit!r}")
    calls = SearchMemory(
        store, namespace, limit=limit, min_score=min_score, filter=filter, mode=mode, find_store=find_store
    )
    args = {
        "query": {"type": "string", "description": "what to look for, in words a memory of it would use"},
        "limit": {"type": "integer", "default": limit},
        "offset": {"type": "integer", "default": 0},
    }
    return MemoryTool(calls, name, instructions, args)


def _manage_arguments(model: type[BaseModel], kind: Kind, actions: Sequence[Action]) -> dict[str, Any]:
    only = text_field(model)
    args: dict[str, Any] = {"action": {"type": "string", "enum": list(actions), "default": actions[0]}}
    if set(actions) & {"create", "update"}:
        described = "the memory, understandable on its own" if only else f"a JSON object with {shown_fields(model)}"
        # No type: models give objects as JSON text or as objects, and both are read.
        args["content"] = {"type": "string", "description": described} if only else {"description": described}
        args["content"]["default"] = None
    if kind == "multi" and set(actions) & {"update", "delete"}:
        args["id"] = {"type": "string", "description": "which memory to update or delete", "default": None}
    return args
