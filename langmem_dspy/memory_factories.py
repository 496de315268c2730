"""LangMem's functions for memories: `create_*` factories over the modules of `memories`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import dspy

from langmem_dspy.errors import InputError
from langmem_dspy.memories import search as searching
from langmem_dspy.memories.enrichment import MemoryPhase, MemoryStoreManager
from langmem_dspy.memories.extraction import DEFAULT_INSTRUCTIONS, MemoryManager
from langmem_dspy.memories.schemas import Dropped, ExtractedMemory, Kind
from langmem_dspy.memories.search import MemorySearcher
from langmem_dspy.memories.threads import THREAD_INSTRUCTIONS, ThreadExtractor
from langmem_dspy.memories.tool_calls import ACTIONS, Action
from langmem_dspy.memories.tools import (
    MANAGE_INSTRUCTIONS,
    SEARCH_INSTRUCTIONS,
    MemoryTool,
    manage_memory_tool,
    search_memory_tool,
    tool_place,
)
from langmem_dspy.model_functions import ModelFunction
from langmem_dspy.namespaces import configurable, current_store
from langmem_dspy.records import Index, Item, SearchItem, SearchMode, Store

logger = logging.getLogger(__name__)

Model: TypeAlias = "str | dspy.BaseLM | None"
Template: TypeAlias = str | Sequence[str]


def find_store(store: Store | None) -> Store:
    """`store`, else the current one, else one in-memory store of this process, with a warning once; LangGraph's too."""
    return current_store(store, default=_in_memory)


def _in_memory() -> Any:
    from langmem_dspy.store.faiss_store import FaissStore

    return FaissStore()


class Enrich(ModelFunction):
    """enrich(messages, existing=None, max_steps=1) -> the new state of the memories.

    `last_dropped` holds what the model asked for in the latest call that ended and that was not done.
    """

    _inputs, _optional = ("messages",), ("existing", "max_steps")

    def __init__(self, model: Model, manager: MemoryManager) -> None:
        super().__init__(model)
        self.manager = manager
        self.last_dropped: list[Dropped] = []

    def _run(self, messages: Any, existing: Any = None, max_steps: int = 1) -> list[ExtractedMemory]:
        result = self.manager(messages=messages, existing=existing, max_steps=max_steps)
        self.last_dropped = _said(result.dropped)
        memories: list[ExtractedMemory] = result.memories
        return memories


class StoreFunction(ModelFunction):
    """A function that works in a namespace; `invoke` takes its variables from `config["configurable"]`."""

    _inputs = ("messages",)

    def __init__(self, model: Model, module: MemoryStoreManager | MemorySearcher) -> None:
        super().__init__(model)
        self.module = module

    @property
    def store(self) -> Store | None:
        return self.module.store

    @property
    def namespace(self) -> Template:
        return self.module.namespace

    def _configured(self, config: Any) -> dict[str, Any]:
        return {name: value for name, value in configurable(config).items() if name not in ("messages", "max_steps")}


class StoreEnrich(StoreFunction):
    """enricher(messages, **namespace_variables) -> the items written. `last_dropped` as with `Enrich`."""

    _optional = ("max_steps",)
    last_dropped: Sequence[Dropped] = ()

    async def manage_memories(self, messages: Any, **variables: Any) -> list[Item]:
        """The same, awaited, by the name LangMem's first README has for it."""
        items: list[Item] = await self.acall(messages, **variables)
        return items

    def _run(self, messages: Any, max_steps: int = 1, **variables: Any) -> list[Item]:
        result = self.module(messages=messages, max_steps=max_steps, **variables)
        self.last_dropped = _said(result.dropped)
        return list(result["items"])


class Search(StoreFunction):
    """searcher(messages, **namespace_variables) -> the items found, best first."""

    def _run(self, messages: Any, **variables: Any) -> list[SearchItem]:
        return list(self.module(messages=messages, **variables)["items"])


class ExtractThread(ModelFunction):
    """extract(messages) -> the thread as an object of the schema; None if nothing was said."""

    _inputs = ("messages",)

    def __init__(self, model: Model, extractor: ThreadExtractor) -> None:
        super().__init__(model)
        self.extractor = extractor

    def _run(self, messages: Any) -> Any:
        return self.extractor(messages=messages).thread


def _said(dropped: Sequence[Dropped]) -> list[Dropped]:
    for one in dropped:
        if not one.needless:
            logger.warning("not done: %s %s: %s", one.op, one.id or one.content[:80], one.reason)
    return list(dropped)


# --- the factories ---


def create_memory_enricher(
    model: Model = None,
    /,
    *,
    schemas: Any = None,
    instructions: str = DEFAULT_INSTRUCTIONS,
    kind: Kind = "multi",
    enable_inserts: bool = True,
    enable_updates: bool = True,
    enable_deletes: bool = False,
) -> Enrich:
    """`enrich(messages, existing=None, max_steps=1) -> list[ExtractedMemory]`: memories from conversations. No store.

    The result is the new state: unchanged, updated and new memories, existing ids kept, deleted ones absent.
    """
    flags = {"enable_inserts": enable_inserts, "enable_updates": enable_updates, "enable_deletes": enable_deletes}
    return Enrich(model, MemoryManager(schemas, instructions=instructions, kind=kind, **flags))


def create_memory_store_enricher(
    model: Model = None,
    /,
    *,
    schemas: Any = None,
    store: Store | None = None,
    namespace: Template = ("memories",),
    kind: Kind = "multi",
    instructions: str = DEFAULT_INSTRUCTIONS,
    query_model: Model = None,
    query_limit: int = 5,
    phases: Sequence[MemoryPhase] | None = None,
    default: Any = None,
    default_factory: Callable[[Mapping[str, Any]], Any] | None = None,
    enable_inserts: bool = True,
    enable_updates: bool = True,
    enable_deletes: bool = False,
    index: Index = None,
    ttl: float | None = None,
) -> StoreEnrich:
    """`enricher(messages, **namespace_variables) -> list[Item]`: memories from conversations, kept in a store.

    Also `await enricher.manage_memories(messages)`. `default_factory` makes the default of the namespace variables.
    """
    if default is not None and default_factory is not None:
        raise InputError("give default or default_factory, not both")
    flags = {"enable_inserts": enable_inserts, "enable_updates": enable_updates, "enable_deletes": enable_deletes}
    manager = MemoryStoreManager(
        MemoryManager(schemas, instructions=instructions, kind=kind, **flags),
        store,
        namespace=namespace,
        query_model=query_model,
        query_limit=query_limit,
        phases=phases,
        default=default if default_factory is None else default_factory,
        index=index,
        ttl=ttl,
        find_store=find_store,
    )
    return StoreEnrich(model, manager)


def create_manage_memory_tool(
    store: Store | Template | None = None,
    *,
    namespace: Template | None = None,
    namespace_prefix: Template | None = None,
    kind: Kind = "multi",
    schema: Any = str,
    actions_permitted: Sequence[Action] = ACTIONS,
    instructions: str = MANAGE_INSTRUCTIONS,
    name: str = "manage_memory",
) -> MemoryTool:
    """A tool to create, update and delete memories. `namespace` may come first, or as `namespace_prefix`."""
    held, place = tool_place(store, namespace, namespace_prefix)
    return manage_memory_tool(
        held,
        namespace=place,
        kind=kind,
        schema=schema,
        actions_permitted=actions_permitted,
        instructions=instructions,
        name=name,
        find_store=find_store,
    )


def create_search_memory_tool(
    store: Store | Template | None = None,
    *,
    namespace: Template | None = None,
    namespace_prefix: Template | None = None,
    limit: int = 10,
    min_score: float | None = None,
    filter: Mapping[str, Any] | None = None,
    mode: SearchMode = "hybrid",
    instructions: str = SEARCH_INSTRUCTIONS,
    name: str = "search_memory",
) -> MemoryTool:
    """A tool by which an agent searches memories; `min_score`, `filter` and `mode` bind each of its searches."""
    held, place = tool_place(store, namespace, namespace_prefix)
    return search_memory_tool(
        held,
        namespace=place,
        limit=limit,
        min_score=min_score,
        filter=filter,
        mode=mode,
        instructions=instructions,
        name=name,
        find_store=find_store,
    )


def create_memory_searcher(
    model: Model = None,
    /,
    *,
    store: Store | None = None,
    namespace: Template = ("memories",),
    instructions: str | None = None,
    query_limit: int = 5,
    limit: int = 10,
    min_score: float | None = None,
    filter: Mapping[str, Any] | None = None,
    mode: SearchMode = "hybrid",
) -> Search:
    """`searcher(messages, **namespace_variables) -> list[SearchItem]`: a model writes the queries of one batch."""
    searcher = MemorySearcher(
        store,
        namespace=namespace,
        write_queries=True,
        query_limit=query_limit,
        limit=limit,
        min_score=min_score,
        filter=filter,
        mode=mode,
        find_store=find_store,
    )
    if instructions is not None:
        searcher.write = dspy.Predict(searching.WriteQueries.with_instructions(instructions))
    return Search(model, searcher)


def create_thread_extractor(
    model: Model = None, /, *, schema: Any = None, instructions: str = THREAD_INSTRUCTIONS
) -> ExtractThread:
    """`extract(messages)`: a whole thread as one object of `schema`; by default a title and a summary."""
    return ExtractThread(model, ThreadExtractor(schema, instructions=instructions))


create_memory_manager = create_memory_enricher
create_memory_store_manager = create_memory_store_enricher
