"""Filters over stored values: {"kind": "note", "score": {"$gte": 3}, "$or": [{...}, {...}]}.

A condition is judged once for each distinct value of its field, not once for each item.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from langmem_dspy.errors import InputError

Path = tuple[str, ...]
MISSING = object()


@dataclass(frozen=True)
class Condition:
    """One test of one field."""

    path: Path
    operator: str
    operand: Any

    def __call__(self, value: Any) -> bool:
        return _OPERATORS[self.operator](value, self.operand)


@dataclass(frozen=True)
class Group:
    """Conditions that hold all ("and"), any ("or") or none ("not") together."""

    kind: Literal["and", "or", "not"]
    parts: tuple[Condition | Group, ...]


def parse(filter: Any) -> Group | None:
    """The filter as a tree, None where there is nothing to test; raises `InputError` saying what cannot be read."""
    if filter is None or filter == {}:
        return None
    return Group("and", tuple(_parse(filter, ())))


def matches(node: Condition | Group, value: Mapping[str, Any]) -> bool:
    """Whether a stored value passes."""
    if isinstance(node, Condition):
        return node(at(value, node.path))
    results = (matches(part, value) for part in node.parts)
    return all(results) if node.kind == "and" else any(results) if node.kind == "or" else not any(results)


def at(value: Any, path: Path) -> Any:
    """What stands at a path, or `MISSING`. A field named with a dot goes before the fields it might lead through."""
    for i, name in enumerate(path):
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, Mapping) and "." in name:
            return at(value, (*name.split("."), *path[i + 1 :]))
        else:
            return MISSING
    return value


def identity(value: Any) -> Any:
    """A hashable that is equal for equal JSON: 1 and 1.0 are, 1 and true are not."""
    if value is MISSING or value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, int | float):
        return value
    return ("json", orjson.dumps(_numbers(value), option=orjson.OPT_SORT_KEYS))


def _parse(filter: Any, path: Path) -> list[Condition | Group]:
    if not isinstance(filter, Mapping):
        raise InputError(f"a filter is a dict such as {{'kind': 'note', 'score': {{'$gte': 3}}}}, not {filter!r}")
    parts: list[Condition | Group] = []
    for name, operand in filter.items():
        if not isinstance(name, str):
            raise InputError(f"the filter {filter!r} has the key {name!r}; keys are field names or operators")
        if name in ("$and", "$or"):
            parts.append(Group("and" if name == "$and" else "or", _several(name, operand, path)))
        elif name == "$not":
            parts.append(Group("not", (Group("and", tuple(_parse_value(operand, path))),)))
        elif name.startswith("$"):
            parts.append(_condition(name, operand, path))
        else:
            parts += _parse_value(operand, (*path, name))
    return parts


def _parse_value(operand: Any, path: Path) -> list[Condition | Group]:
    if isinstance(operand, Mapping) and operand:
        return _parse(operand, path)
    return [_condition("$eq", operand, path)] if path else _parse(operand, path)


def _several(name: str, operand: Any, path: Path) -> tuple[Condition | Group, ...]:
    if not isinstance(operand, list | tuple) or not operand:
        raise InputError(f"{name} takes a non-empty list of filters, not {operand!r}")
    return tuple(Group("and", tuple(_parse_value(part, path))) for part in operand)


def _condition(operator: str, operand: Any, path: Path) -> Condition:
    if operator not in _OPERATORS:
        raise InputError(f"unknown filter operator {operator!r}; known: {' '.join([*_OPERATORS, '$and $or $not'])}")
    if not path:
        raise InputError(f"{operator} needs a field: {{'field': {{{operator!r}: {operand!r}}}}}")
    if operator == "$in" and not isinstance(operand, list | tuple | set | frozenset):
        raise InputError(f"$in takes a list of values, not {operand!r}")
    if operator == "$exists" and not isinstance(operand, bool):
        raise InputError(f"$exists takes True or False, not {operand!r}")
    try:
        identity(list(operand) if operator == "$in" else operand)
    except TypeError as error:
        raise InputError(f"{operator} was given {operand!r}, which no JSON value equals: {error}") from error
    return Condition(path, operator, operand)


def _equal(value: Any, operand: Any) -> bool:
    # A field that is missing reads as null, as in LangGraph and MongoDB.
    return identity(None if value is MISSING else value) == identity(operand)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def test(value: Any, operand: Any) -> bool:
        numbers = _is_number(value) and _is_number(operand)
        return (numbers or (isinstance(value, str) and isinstance(operand, str))) and compare(value, operand)

    return test


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, Mapping):
        return {name: _numbers(part) for name, part in value.items()}
    return [_numbers(part) for part in value] if isinstance(value, list | tuple) else value


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": _equal,
    "$ne": lambda value, operand: not _equal(value, operand),
    "$gt": _ordered(lambda value, operand: value > operand),
    "$gte": _ordered(lambda value, operand: value >= operand),
    "$lt": _ordered(lambda value, operand: value < operand),
    "$lte": _ordered(lambda value, operand: value <= operand),
    "$in": lambda value, operand: any(_equal(value, one) for one in operand),
    "$exists": lambda value, operand: (value is not MISSING) is operand,
}
