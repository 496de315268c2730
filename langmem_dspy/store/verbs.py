"""Every verb of a store, sync and async, made of one `batch`."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from langmem_dspy.records import (
    GetOp,
    Index,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Namespace,
    Op,
    PutOp,
    SearchItem,
    SearchMode,
    SearchOp,
)


class BatchStore(ABC):
    """A store for whoever writes `batch`. The async verbs run the same code in a thread."""

    @abstractmethod
    def batch(self, ops: Iterable[Op]) -> list[Any]:
        """The results of `ops` in their order: reads see what was there before, writes are one transaction."""

    def get(self, namespace: Namespace, key: str, *, refresh_ttl: bool = True) -> Item | None:
        item: Item | None = self.batch([GetOp(namespace, key, refresh_ttl)])[0]
        return item

    def put(
        self,
        namespace: Namespace,
        key: str,
        value: Mapping[str, Any],
        index: Index = None,
        ttl: float | None = None,
        **options: Any,
    ) -> None:
        """Write an item; it is durable when this returns. For all `options` see `PutOp`."""
        self.batch([PutOp(namespace, key, value, index, ttl, **options)])

    def delete(self, namespace: Namespace, key: str, *, if_version: int | None = None) -> None:
        self.batch([PutOp(namespace, key, None, if_version=if_version)])

    def search(
        self,
        namespace_prefix: Namespace,
        /,
        *,
        query: str | None = None,
        filter: dict[str, Any] | None = None,
        limit: int = 10,
        offset: int = 0,
        refresh_ttl: bool = True,
        min_score: float | None = None,
        mode: SearchMode = "hybrid",
        as_of: datetime | None = None,
        explain: bool = False,
        **options: Any,
    ) -> list[SearchItem]:
        op = SearchOp(
            namespace_prefix, filter, limit, offset, query, refresh_ttl, min_score, mode, as_of, explain, **options
        )
        found: list[SearchItem] = self.batch([op])[0]
        return found

    def list_namespaces(
        self,
        *,
        prefix: Namespace | None = None,
        suffix: Namespace | None = None,
        max_depth: int | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Namespace]:
        conditions = []
        if prefix:
            conditions.append(MatchCondition("prefix", tuple(prefix)))
        if suffix:
            conditions.append(MatchCondition("suffix", tuple(suffix)))
        namespaces: list[Namespace] = self.batch([ListNamespacesOp(tuple(conditions), max_depth, limit, offset)])[0]
        return namespaces

    async def abatch(self, ops: Iterable[Op]) -> list[Any]:
        return await asyncio.to_thread(self.batch, list(ops))

    async def aget(self, namespace: Namespace, key: str, **options: Any) -> Item | None:
        return await asyncio.to_thread(self.get, namespace, key, **options)

    async def aput(
        self, namespace: Namespace, key: str, value: Mapping[str, Any], index: Index = None, **options: Any
    ) -> None:
        await asyncio.to_thread(self.put, namespace, key, value, index, **options)

    async def adelete(self, namespace: Namespace, key: str, **options: Any) -> None:
        await asyncio.to_thread(self.delete, namespace, key, **options)

    async def asearch(self, namespace_prefix: Namespace, /, **options: Any) -> list[SearchItem]:
        return await asyncio.to_thread(self.search, namespace_prefix, **options)

    async def alist_namespaces(self, **options: Any) -> list[Namespace]:
        return await asyncio.to_thread(self.list_namespaces, **options)
