"""Who may see what: a tenant is a namespace root, and `ScopedStore` is the one place where that root is applied.

Routes, runs and tools of agents are all handed a `ScopedStore`, never the store itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from langmem_dspy.errors import InputError
from langmem_dspy.namespaces import check_namespace
from langmem_dspy.records import (
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Namespace,
    Op,
    PutOp,
    SearchOp,
    Store,
    SupportsCounts,
)
from langmem_dspy.store.verbs import BatchStore

I = TypeVar("I", bound=Item)  # noqa: E741 - an item

_EVERYTHING = 2**31 - 1


@dataclass(frozen=True)
class Tenant:
    """Who calls. `root` is the namespace all of theirs lies in; () is the whole store, for a server without keys."""

    name: str
    root: Namespace = ()

    def __post_init__(self) -> None:
        check_namespace(self.root, may_be_empty=True)
        if wrong := [label for label in self.root if set(label) & set("*./{}")]:
            raise InputError(f"the label {wrong[0]!r} of a namespace root holds one of * . / {{ }}; leave them out")

    @property
    def path(self) -> str:
        """The root as text; tenants with one root are one."""
        return "/".join(self.root)


ALONE = Tenant("local")
"""Whoever calls where there are no keys: this machine, or who started the process."""


class ScopedStore(BatchStore):
    """A store as one tenant sees it: their root is put before every namespace, and taken off every answer.

    It holds nothing itself. What it is asked is checked before the root is put in front, so that no namespace, pattern
    or limit leads out of it.
    """

    def __init__(self, store: Store, root: Sequence[str] = ()) -> None:
        self.store, self.root = store, Tenant("", tuple(root)).root

    def batch(self, ops: Iterable[Op]) -> list[Any]:
        ops = list(ops)
        results = self.store.batch([self._inside(op) for op in ops])
        return [self._seen(op, result) for op, result in zip(ops, results, strict=True)]

    async def abatch(self, ops: Iterable[Op]) -> list[Any]:
        ops = list(ops)
        results = await self.store.abatch([self._inside(op) for op in ops])
        return [self._seen(op, result) for op, result in zip(ops, results, strict=True)]

    def counts(self) -> dict[Namespace, int] | None:
        """How many items each namespace holds; None where the store cannot tell."""
        if not isinstance(self.store, SupportsCounts):
            return None
        return {namespace[len(self.root) :]: number for namespace, number in self.store.counts(self.root).items()}

    def __deepcopy__(self, memo: dict[int, Any]) -> ScopedStore:
        return self

    def __repr__(self) -> str:
        return f"ScopedStore({self.store!r}, {self.root!r})"

    def _inside(self, op: Op) -> Op:
        if isinstance(op, GetOp | PutOp):
            return op._replace(namespace=self.root + check_namespace(op.namespace))
        if isinstance(op, SearchOp):
            return op._replace(namespace_prefix=self.root + check_namespace(op.namespace_prefix, may_be_empty=True))
        if isinstance(op, ListNamespacesOp):
            return self._inside_list(op)
        raise InputError(f"an operation is a GetOp, PutOp, SearchOp or ListNamespacesOp, not {op!r}")

    def _inside_list(self, op: ListNamespacesOp) -> ListNamespacesOp:
        # A suffix could match labels of the root itself, so that all but the prefixes is done on what comes back.
        prefixes = [path for kind, path in op.match_conditions or () if kind == "prefix"]
        conditions = [MatchCondition("prefix", self.root + tuple(path)) for path in prefixes or [()]]
        return ListNamespacesOp(tuple(c for c in conditions if c.path), None, _EVERYTHING, 0)

    def _seen(self, op: Op, result: Any) -> Any:
        if isinstance(op, ListNamespacesOp):
            inside = (namespace[len(self.root) :] for namespace in result)
            return op.among(namespace for namespace in inside if namespace)
        if isinstance(op, SearchOp):
            return [self._without_root(item) for item in result]
        return None if result is None else self._without_root(result)

    def _without_root(self, item: I) -> I:
        return replace(item, namespace=item.namespace[len(self.root) :]) if self.root else item
