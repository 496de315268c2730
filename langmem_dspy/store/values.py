"""Documents on their way in and out: what JSON cannot hold is refused, and which of their texts are searched."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from langmem_dspy.errors import InputError
from langmem_dspy.records import Index

_MAX_DEPTH = 100
_INT_LIMIT = 2**63
_STEP = re.compile(r"\[(-?\d+|\*)\]|([^.\[\]]+)")


def dump(value: Any) -> str:
    """`value`, a mapping, as JSON text; raises `InputError` naming the path of what JSON cannot hold unchanged."""
    if type(value) is not dict and not isinstance(value, Mapping):
        raise InputError(f"a stored value is a mapping such as {{'content': 'text'}}, not {type(value).__name__}")
    if not _is_simple(value):
        _check(value, "value", 0)
    try:
        return orjson.dumps(value, _plain, orjson.OPT_PASSTHROUGH_SUBCLASS).decode()
    except TypeError as error:
        raise InputError(f"value cannot be written as JSON: {error}") from error


def load(text: str) -> Any:
    return orjson.loads(text)


def check_text(text: str, path: str) -> None:
    """Refuse a string that SQLite or UTF-8 would not give back as it was."""
    if "\x00" in text:
        raise InputError(f"{path} holds a NUL character, which a store cannot keep; remove it")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{path} holds a lone surrogate at {error.start}, which is no text; remove it") from error


def check_key(key: Any) -> str:
    if not isinstance(key, str) or not key:
        raise InputError(f"a key is a non-empty string, not {key!r}")
    check_text(key, "key")
    return key


def texts(value: Mapping[str, Any], index: Index) -> list[str]:
    """The texts by which an item is found, one vector each; see `PutOp.index`."""
    if index is False:
        return []
    if index is None:
        content = value.get("content")
        joined = content if isinstance(content, str) else "\n".join(_strings(value))
        return [joined] if joined.strip() else []
    found = [text for path in index for text in (_at(value, "$") if path == "$" else _at(value, path))]
    return [text for text in found if text.strip()]


def check_index(index: Any) -> Index:
    """`index` as `PutOp` wants it, else `InputError`."""
    if index is None or index is False:
        return index
    if isinstance(index, list | tuple) and all(isinstance(p, str) and (p == "$" or _steps(p)) for p in index):
        return list(index)
    raise InputError(f"index is None, False or a list of paths such as ['title', 'parts[*].text'], not {index!r}")


def _is_simple(value: Mapping[Any, Any]) -> bool:
    """Whether a value is as most are, a flat one of ASCII texts and small numbers, in which nothing can be wrong."""
    for name, part in value.items():
        kind = type(part)
        if kind is str:
            if "\x00" in part or not part.isascii():
                return False
        elif kind is int:
            if not -_INT_LIMIT <= part < _INT_LIMIT:
                return False
        elif kind is not bool and part is not None:
            return False
        if type(name) is not str or "\x00" in name or not name.isascii():
            return False
    return True


def _check(value: Any, path: str, depth: int) -> None:
    kind = type(value)
    if kind is str:
        check_text(value, path)
    elif kind is int:
        if not -_INT_LIMIT <= value < _INT_LIMIT:
            raise InputError(f"{path} is an integer beyond 64 bits; store it as a string")
    elif kind is float:
        if value != value or value in (float("inf"), float("-inf")):
            raise InputError(f"{path} is {value!r}, which JSON has no number for; use None or a string")
    elif value is None or kind is bool:
        return
    elif depth >= _MAX_DEPTH:
        raise InputError(f"{path[:80]}… is nested deeper than {_MAX_DEPTH} levels")
    elif isinstance(value, Mapping):
        for name, part in value.items():
            if type(name) is not str:
                raise InputError(f"{path} has the key {name!r}; keys are strings")
            check_text(name, f"a key of {path}")
            _check(part, f"{path}.{name}", depth + 1)
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            _check(part, f"{path}[{i}]", depth + 1)
    elif isinstance(value, str | int | float):  # an enum or another subclass: by its plain value
        _check(_plain(value), path, depth)
    else:
        raise InputError(f"{path} is a {kind.__name__}, which JSON has no form for; convert it first")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value.value if hasattr(value, "value") else value)
    if isinstance(value, list | tuple):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _strings(part)


def _steps(path: str) -> list[str]:
    steps = [(match.group(1) and f"[{match.group(1)}]") or match.group(2) for match in _STEP.finditer(path)]
    if not steps:
        raise InputError(f"{path!r} is not a path such as 'title' or 'parts[0].text'")
    return steps


def _at(value: Any, path: str) -> list[str]:
    found = [value]
    for step in [] if path == "$" else _steps(path):
        found = [deeper for at in found for deeper in _into(at, step)]
    return [at if isinstance(at, str) else _as_langgraph_has_it(at) for at in found if at is not None]


def _as_langgraph_has_it(value: Any) -> str:
    # To the letter: a vector of the same text is the same vector.
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _into(value: Any, step: str) -> list[Any]:
    if not step.startswith("["):
        if step == "*" and isinstance(value, Mapping | list):
            return list(value.values() if isinstance(value, Mapping) else value)
        return [value[step]] if isinstance(value, Mapping) and step in value else []
    if not isinstance(value, list | tuple):
        return []
    if step == "[*]":
        return list(value)
    at = int(step[1:-1])
    return [value[at]] if -len(value) <= at < len(value) else []
