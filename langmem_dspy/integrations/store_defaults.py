"""A store with defaults of its own: what is indexed, how long it lives, and whether reading prolongs that."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from langmem_dspy.errors import StoreError
from langmem_dspy.records import GetOp, Index, Op, PutOp, SearchOp, Store, SupportsScratch
from langmem_dspy.store.verbs import BatchStore


class WithDefaults(BatchStore):
    """`store`, where `index` and `ttl` (in minutes) stand in for what an operation leaves open."""

    def __init__(self, store: Store, index: Index, ttl: float | None, refresh_on_read: bool) -> None:
        self.store, self._index, self._ttl, self._refresh = store, index, ttl, refresh_on_read

    @classmethod
    def over(cls, store: Store, index: Index, ttl: float | None, refresh_on_read: bool) -> Store:
        """`store` itself where there are no defaults to apply."""
        if index is None and ttl is None and refresh_on_read:
            return store
        return cls(store, index, ttl, refresh_on_read)

    def batch(self, ops: Iterable[Op]) -> list[Any]:
        return self.store.batch([self._filled(op) for op in ops])

    def scratch(self) -> Store:
        if not isinstance(self.store, SupportsScratch):
            raise StoreError(f"{self.store!r} has no scratch(), so what is written to it cannot be tried out")
        return WithDefaults(self.store.scratch(), self._index, self._ttl, self._refresh)

    def __deepcopy__(self, memo: dict[int, Any]) -> WithDefaults:
        return self

    def __repr__(self) -> str:
        return f"{self.store!r} with defaults"

    def _filled(self, op: Op) -> Op:
        if isinstance(op, PutOp):
            index = self._index if op.index is None else op.index
            return op._replace(index=index, ttl=self._ttl if op.ttl is None else op.ttl)
        if isinstance(op, GetOp | SearchOp):
            return op._replace(refresh_ttl=op.refresh_ttl and self._refresh)
        return op
