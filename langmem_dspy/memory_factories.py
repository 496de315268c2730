"""LangMem's functions for memories: `create_*` factories over the modules of `memories`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import dspy

from langmem_dspy.errors import InputError
from langmem_dspy.memories import search as searching
from langmem_dspy.memories.enrichment import MemoryPhase, MemoryStoreManager
from langmem_dspy.memories.extraction import DEFAULT_INSTRUCTIONS, MemoryManager
from langmem_dspy.memories.functions import Enrich, ExtractThread, Search, StoreEnrich
from langmem_dspy.memories.schemas import Kind
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
from langmem_dspy.namespaces import current_store
from langmem_dspy.records import Index, SearchMode, Store

Model: TypeAlias = "str | dspy.BaseLM | None"
Template: TypeAlias = str | Sequence[str]


def find_store(store: Store | None) -> Store:
    """`store`, else the current one, else one in-memory store of this process, with a warning once; LangGraph's too."""
    return current_store(store, default=_in_memory)


def _in_memory() -> Any:
    from langmem_dspy.store.faiss_store import FaissStore

    return FaissStore()


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
    place: Store | Template | None = None,
    /,
    *,
    store: Store | None = None,
    namespace: Template | None = None,
    namespace_prefix: Template | None = None,
    kind: Kind = "multi",
    schema: Any = str,
    actions_permitted: Sequence[Action] = ACTIONS,
    instructions: str = MANAGE_INSTRUCTIONS,
    name: str = "manage_memory",
) -> MemoryTool:
    """A tool to create, update and delete memories. `place`: the store, or as in LangMem the namespace."""
    held, where = tool_place(place, store, namespace, namespace_prefix)
    return manage_memory_tool(
        held,
        namespace=where,
        kind=kind,
        schema=schema,
        actions_permitted=actions_permitted,
        instructions=instructions,
        name=name,
        find_store=find_store,
    )


def create_search_memory_tool(
    place: Store | Template | None = None,
    /,
    *,
    store: Store | None = None,
    namespace: Template | None = None,
    namespace_prefix: Template | None = None,
    limit: int = 10,
    min_score: float | None = None,
    filter: Mapping[str, Any] | None = None,
    mode: SearchMode = "hybrid",
    instructions: str = SEARCH_INSTRUCTIONS,
    name: str = "search_memory",
) -> MemoryTool:
    """A tool by which an agent searches memories; `min_score`, `filter` and `mode` bind each of its searches.

    `place`: the store, or as in LangMem the namespace.
    """
    held, where = tool_place(place, store, namespace, namespace_prefix)
    return search_memory_tool(
        held,
        namespace=where,
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
    prompt: str | None = None,
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
    """`searcher(messages, **namespace_variables) -> list[SearchItem]`: a model writes the queries of one batch.

    `instructions` tell it how; `prompt` is LangMem's name for them.
    """
    if prompt is not None and instructions is not None:
        raise InputError("give prompt or instructions, which are the same, not both")
    instructions = instructions if prompt is None else prompt
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
    model: Model = None, /, schema: Any = None, instructions: str = THREAD_INSTRUCTIONS
) -> ExtractThread:
    """`extract(messages)`: a whole thread as one object of `schema`; by default a title and a summary."""
    return ExtractThread(model, ThreadExtractor(schema, instructions=instructions))


create_memory_manager = create_memory_enricher
create_memory_store_manager = create_memory_store_enricher
