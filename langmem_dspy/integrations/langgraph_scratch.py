"""A LangGraph store to try things out on: what a rollout writes while a program is compiled never reaches it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from langmem_dspy.errors import ConflictError
from langmem_dspy.integrations.extras import optional
from langmem_dspy.records import GetOp, Item, ListNamespacesOp, Namespace, Op, PutOp, SearchItem, SearchOp
from langmem_dspy.store.verbs import BatchStore

if TYPE_CHECKING:
    from langmem_dspy.integrations.langgraph import LangGraphStore


class LangGraphScratch(BatchStore):
    """`below` with changes of its own on top, kept in `above`, an empty store in memory with the same index.

    What is written below meanwhile is seen, since a store of LangGraph's has no earlier state to hold on to; a ttl
    does not run in it.
    """

    def __init__(self, below: LangGraphStore, above: LangGraphStore) -> None:
        self._below, self._above = below, above
        self._touched: set[tuple[Namespace, str]] = set()

    def __deepcopy__(self, memo: dict[int, Any]) -> LangGraphScratch:
        return self

    def scratch(self) -> LangGraphScratch:
        """A view of this view: its changes so far are copied."""
        view = LangGraphScratch(self._below, empty_beside(self._below))
        view.batch(
            PutOp(namespace, key, None if (item := self._above.get(namespace, key)) is None else item.value)
            for namespace, key in sorted(self._touched)
        )
        return view

    def batch(self, ops: Iterable[Op]) -> list[Any]:
        ops = list(ops)
        results = [None if isinstance(op, PutOp) else self._read(op) for op in ops]
        puts = [op for op in ops if isinstance(op, PutOp)]
        for op in puts:
            self._check_version(op)
        self._above.batch([op._replace(if_version=None, ttl=None) for op in puts])
        self._touched.update((op.namespace, op.key) for op in puts)
        return results

    def _read(self, op: Op) -> Any:
        if isinstance(op, GetOp):
            return self._get(op)
        if isinstance(op, SearchOp):
            return self._search(op)
        if isinstance(op, ListNamespacesOp):
            everything = op._replace(limit=2**31, offset=0)
            both = {tuple(n) for store in (self._below, self._above) for n in store.batch([everything])[0]}
            return sorted(both)[op.offset : op.offset + op.limit]
        return self._below.batch([op])[0]  # which refuses it

    def _get(self, op: GetOp) -> Item | None:
        store = self._above if (op.namespace, op.key) in self._touched else self._below
        item: Item | None = store.batch([op._replace(refresh_ttl=False)])[0]
        return item

    def _search(self, op: SearchOp) -> list[SearchItem]:
        wanted = op.offset + op.limit
        whole = op._replace(offset=0, limit=wanted + len(self._touched), refresh_ttl=False)
        below = [item for item in self._below.batch([whole])[0] if (item.namespace, item.key) not in self._touched]
        both = [*self._above.batch([whole])[0], *below]
        both.sort(key=lambda item: float("-inf") if item.score is None else item.score, reverse=True)
        return both[op.offset : wanted]

    def _check_version(self, op: PutOp) -> None:
        if op.if_version is not None:
            held = self._get(GetOp(op.namespace, op.key))
            check_version(op, 0 if held is None else held.version)


def check_version(op: PutOp, version: int) -> None:
    """Raise `ConflictError` where the item is at another `version` than `op` was made for."""
    if version != op.if_version:
        raise ConflictError(
            f"{'/'.join(op.namespace)} {op.key} is at version {version}, not {op.if_version}; read it again"
        )


def empty_beside(store: LangGraphStore) -> LangGraphStore:
    """An empty store in memory that searches as `store` does."""
    memory = optional("langgraph.store.memory", "langgraph")
    # Stores that search have it, though LangGraph's base class does not name it; entries with "__" are its own notes.
    config = getattr(store.store, "index_config", None)
    index = {name: value for name, value in config.items() if not name.startswith("__")} if config else None
    return type(store)(memory.InMemoryStore(index=index))
