"""The fields of stored values that filters ask about, as columns over the slots of a shard."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from langmem_dspy.store.filters import MISSING, Condition, Group, Path, at, identity
from langmem_dspy.store.growing import Column

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Field:
    """One field: a code for each slot, and the distinct values that the codes stand for."""

    def __init__(self) -> None:
        self.codes = Column([], np.int32)
        self._values: list[Any] = []
        self._by_identity: dict[Any, int] = {}

    def append(self, value: Any) -> None:
        key = identity(value)
        code = self._by_identity.get(key)
        if code is None:
            code = self._by_identity[key] = len(self._values)
            self._values.append(value)
        self.codes.append(code)

    def mask(self, condition: Condition) -> NDArray[np.bool_]:
        if condition.operator == "$eq":
            return self._equal(condition.operand)
        judged = np.fromiter(map(condition, self._values), np.bool_, len(self._values))
        mask: NDArray[np.bool_] = judged[self.codes.array]
        return mask

    def fork(self) -> Field:
        forked = Field()
        forked.codes = self.codes.fork()
        forked._values, forked._by_identity = list(self._values), dict(self._by_identity)
        return forked

    def _equal(self, operand: Any) -> NDArray[np.bool_]:
        codes = self.codes.array
        mask: NDArray[np.bool_] = codes == self._by_identity.get(identity(operand), -1)
        if operand is None and (missing := self._by_identity.get(MISSING)) is not None:
            mask |= codes == missing
        return mask


class Fields:
    """The columns of a shard, made when they are first asked for."""

    def __init__(self) -> None:
        self._fields: dict[Path, Field] = {}

    def missing(self, node: Condition | Group) -> set[Path]:
        if isinstance(node, Condition):
            return set() if node.path in self._fields else {node.path}
        return set().union(*(self.missing(part) for part in node.parts))

    def load(self, paths: Iterable[Path], values: Iterable[str | None]) -> None:
        """Make columns from the values of all slots in their order; None for a slot that is dead."""
        made = {path: Field() for path in paths}
        for text in values:
            self._add(made, text)
        self._fields.update(made)

    def append(self, value: str | None) -> None:
        self._add(self._fields, value)

    def mask(self, node: Condition | Group) -> NDArray[np.bool_]:
        if isinstance(node, Condition):
            return self._fields[node.path].mask(node)
        masks = [self.mask(part) for part in node.parts]
        if len(masks) == 1 and node.kind != "not":
            return masks[0]
        combine = np.logical_and if node.kind == "and" else np.logical_or
        mask: NDArray[np.bool_] = combine.reduce(masks)
        return ~mask if node.kind == "not" else mask

    def __bool__(self) -> bool:
        return bool(self._fields)

    def fork(self) -> Fields:
        forked = Fields()
        forked._fields = {path: field.fork() for path, field in self._fields.items()}
        return forked

    @staticmethod
    def _add(fields: dict[Path, Field], text: str | None) -> None:
        value = None if text is None else orjson.loads(text)
        for path, field in fields.items():
            field.append(MISSING if value is None else at(value, path))
