"""LangMem's functions over the memory modules: called, awaited, or invoked with a dict."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import dspy

from langmem_dspy.awaiting import awaited
from langmem_dspy.memories.enrichment import MemoryStoreManager
from langmem_dspy.memories.extraction import MemoryManager
from langmem_dspy.memories.schemas import Dropped, ExtractedMemory
from langmem_dspy.memories.search import MemorySearcher
from langmem_dspy.memories.threads import ThreadExtractor
from langmem_dspy.model_functions import ModelFunction
from langmem_dspy.namespaces import configurable, resolve_namespace, template_variables
from langmem_dspy.records import GetOp, Index, Item, Namespace, PutOp, SearchItem, SearchOp, Store

logger = logging.getLogger(__name__)

R = TypeVar("R")


class Enrich(ModelFunction[list[ExtractedMemory]]):
    """enrich(messages, existing=None, max_steps=1) -> the new state of the memories.

    `last_dropped` holds what the model asked for in the latest call that ended and that was not done.
    """

    _inputs, _optional = ("messages",), ("existing", "max_steps")

    def __init__(self, model: str | dspy.BaseLM | None, manager: MemoryManager) -> None:
        super().__init__(model)
        self.manager = manager
        self.last_dropped: list[Dropped] = []

    def __call__(self, messages: Any, existing: Any = None, max_steps: int = 1) -> list[ExtractedMemory]:
        with self._asking():
            result = self.manager(messages=messages, existing=existing, max_steps=max_steps)
        self.last_dropped = _said(result.dropped)
        memories: list[ExtractedMemory] = result.memories
        return memories


class StoreFunction(ModelFunction[list[R]], Generic[R]):
    """A function that works in a namespace; `invoke` takes its variables from `config["configurable"]`."""

    _inputs = ("messages",)

    def __init__(self, model: str | dspy.BaseLM | None, module: MemoryStoreManager | MemorySearcher) -> None:
        super().__init__(model)
        self.module = module

    @property
    def store(self) -> Store | None:
        return self.module.store

    @property
    def namespace(self) -> str | Sequence[str]:
        return self.module.namespace

    def _configured(self, config: Any) -> dict[str, Any]:
        wanted = {*template_variables(self.namespace), "thread_id"}
        everything = callable(getattr(self.module, "default", None))  # which is made of any of them
        return {
            name: value
            for name, value in configurable(config).items()
            if name in wanted or (everything and name not in ("messages", "max_steps"))
        }

    def _check_used(self, variables: Mapping[str, Any]) -> None:
        """Warn of variables that fill nothing: whoever passes a user may think that this keeps users apart."""
        unused = set(variables) - template_variables(self.namespace) - {"thread_id"}
        if unused and not callable(getattr(self.module, "default", None)):
            warnings.warn(
                f"{', '.join(sorted(unused))} fills nothing, since the namespace {self.namespace!r} has no such "
                "variable; memories are kept apart by one, as in namespace=('memories', '{user_id}')",
                stacklevel=3,
            )


class StoreEnrich(StoreFunction[Item]):
    """enricher(messages, **namespace_variables) -> the items written. `last_dropped` as with `Enrich`.

    `get`, `put`, `delete` and `search` work in its namespace, filled by variables or by LangChain's `config`; with an
    `a` before the name they are awaited.
    """

    _optional = ("max_steps",)
    module: MemoryStoreManager
    last_dropped: Sequence[Dropped] = ()

    def __call__(self, messages: Any, max_steps: int = 1, **variables: Any) -> list[Item]:
        self._check_used(variables)
        with self._asking():
            result = self.module(messages=messages, max_steps=max_steps, **variables)
        self.last_dropped = _said(result.dropped)
        return list(result["items"])

    async def manage_memories(self, messages: Any, **variables: Any) -> list[Item]:
        """The same, awaited, by the name LangMem's first README has for it."""
        return await self.acall(messages, **variables)

    def get(self, key: str, *, config: Any = None, **variables: Any) -> Item | None:
        store, namespace = self._place(config, variables)
        found: Item | None = store.batch([GetOp(namespace, key)])[0]
        return found

    def put(
        self,
        key: str,
        value: Mapping[str, Any],
        index: Index = None,
        *,
        ttl: float | None = None,
        config: Any = None,
        **variables: Any,
    ) -> None:
        store, namespace = self._place(config, variables)
        store.batch([PutOp(namespace, key, value, index, ttl)])

    def delete(self, key: str, config: Any = None, **variables: Any) -> None:
        store, namespace = self._place(config, variables)
        store.batch([PutOp(namespace, key, None)])

    def search(
        self,
        *,
        query: str | None = None,
        filter: dict[str, Any] | None = None,
        limit: int = 10,
        offset: int = 0,
        config: Any = None,
        **variables: Any,
    ) -> list[SearchItem]:
        store, namespace = self._place(config, variables)
        found: list[SearchItem] = store.batch([SearchOp(namespace, filter, limit, offset, query)])[0]
        return found

    async def aget(self, key: str, **options: Any) -> Item | None:
        return await awaited(self.get, key, **options)

    async def aput(self, key: str, value: Mapping[str, Any], index: Index = None, **options: Any) -> None:
        await awaited(self.put, key, value, index, **options)

    async def adelete(self, key: str, config: Any = None, **variables: Any) -> None:
        await awaited(self.delete, key, config, **variables)

    async def asearch(self, **options: Any) -> list[SearchItem]:
        return await awaited(self.search, **options)

    def _place(self, config: Any, variables: Mapping[str, Any]) -> tuple[Store, Namespace]:
        namespace = resolve_namespace(self.namespace, {**self._configured(config), **variables})
        return self.module.find_store(self.store), namespace


class Search(StoreFunction[SearchItem]):
    """searcher(messages, **namespace_variables) -> the items found, best first."""

    def __call__(self, messages: Any, **variables: Any) -> list[SearchItem]:
        self._check_used(variables)
        with self._asking():
            return list(self.module(messages=messages, **variables)["items"])


class ExtractThread(ModelFunction[Any]):
    """extract(messages) -> the thread as an object of the schema; None if nothing was said."""

    _inputs = ("messages",)

    def __init__(self, model: str | dspy.BaseLM | None, extractor: ThreadExtractor) -> None:
        super().__init__(model)
        self.extractor = extractor

    def __call__(self, messages: Any) -> Any:
        with self._asking():
            return self.extractor(messages=messages).thread


def _said(dropped: Sequence[Dropped]) -> list[Dropped]:
    for one in dropped:
        if not one.needless:
            logger.warning("not done: %s %s: %s", one.op, one.id or one.content[:80], one.reason)
    return list(dropped)
