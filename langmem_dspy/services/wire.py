"""JSON in and out: what JSON cannot hold, or a store could not give back, is refused at the door."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson
from fastapi import Request, Response
from pydantic import BaseModel, ValidationError

from langmem_dspy.errors import InputError
from langmem_dspy.services.limits import Limits

B = TypeVar("B", bound=BaseModel)
T = TypeVar("T")

_OPTIONS = orjson.OPT_NON_STR_KEYS
_LARGEST = 2**63
_VALUE = "values."
_TOO_LARGE = "the body holds an integer beyond 64 bits; send it as text"


class Refused(Exception):
    """A request that is not done: what its caller is told. `headers` go with the answer."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


def dumps(value: Any) -> bytes:
    return orjson.dumps(value, default=str, option=_OPTIONS)


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`value` as JSON."""
    return Response(dumps(value), status, headers, "application/json")


def paged(found: Sequence[T], limit: int, offset: int) -> tuple[Sequence[T], dict[str, str]]:
    """One page of what was found; and the headers that tell how much there is, and where the next page begins."""
    page, end = found[offset : offset + limit], offset + limit
    headers = {"X-Pagination-Total": str(len(found))}
    return page, {**headers, "X-Pagination-Next": str(end)} if end < len(found) else headers


def refusal(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    return answer({"detail": detail}, status, headers)


async def read(request: Request, model: type[B]) -> B:
    """The body as `model`. Raises `Refused`."""
    return checked(await read_json(request), model)


def checked(value: Any, model: type[B], where: str = "") -> B:
    """`value` as `model`. Raises `Refused`, which names the field and never shows what it held."""
    try:
        return model.model_validate({} if value is None else value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        raise Refused(422, told_of(problems, where)) from None


def told_of(problems: Sequence[Any], where: str = "") -> str:
    """The first of pydantic's problems: each with its field, and never with what that held."""
    return "; ".join(f"{where}{'.'.join(map(str, one['loc'])) or 'the body'}: {one['msg']}" for one in problems[:5])


async def read_json(request: Request) -> Any:
    """The body as JSON that a store can hold; None where it is empty. Raises `Refused`."""
    if (coding := request.headers.get("content-encoding", "identity")) != "identity":
        raise Refused(
            415, f"send the body as it is; {coding[:20]!r} is not unpacked here", {"Accept-Encoding": "identity"}
        )
    body = await request.body()
    if not body.strip():
        return None
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(422, f"the body is no JSON: {error}") from None
    limits: Limits = request.app.state.limits
    _check(value, limits.json_depth, body)
    return value


def _check(value: Any, depth: int, body: bytes) -> None:
    if depth < 0:
        raise Refused(422, "the body is nested too deeply")
    kind = type(value)
    if kind is str:
        if "\x00" in value:
            raise Refused(422, "the body holds a NUL character; remove it")
    elif kind is dict:
        for name, part in value.items():
            if "\x00" in name:
                raise Refused(422, "a name in the body holds a NUL character; remove it")
            _check(part, depth - 1, body)
    elif kind is list:
        for part in value:
            _check(part, depth - 1, body)
    elif (kind is int and not -_LARGEST <= value < _LARGEST) or (kind is float and abs(value) >= _LARGEST):
        _check_number(value, body)


def _check_number(value: float, body: bytes) -> None:
    """Refuse an integer that would come back as another: beyond 64 bits, orjson makes a float of it."""
    if type(value) is int or any(not -_LARGEST <= int(digits) < _LARGEST for digits in _integers(body)):
        raise Refused(422, _TOO_LARGE)


def _integers(body: bytes) -> list[str]:
    found: list[str] = []

    def note(digits: str) -> int:
        if len(digits) > 4000:  # more than Python reads
            raise Refused(422, _TOO_LARGE)
        found.append(digits)
        return 0

    json.loads(body, parse_int=note)
    return found


def time_text(seconds: float | None) -> str | None:
    """Seconds since 1970 in ISO 8601."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def event(name: str, data: Any, number: int | None = None) -> bytes:
    """One server-sent event."""
    prefix = b"" if number is None else b"id: %d\n" % number
    return prefix + b"event: %s\ndata: %s\n\n" % (name.encode(), dumps(data))


def only(document: dict[str, Any], fields: list[str] | None) -> dict[str, Any]:
    """The fields a caller selected, or one value by "values.name"; all where they selected none.

    Raises `InputError` for an unknown one.
    """
    if not fields:
        return document
    if unknown := sorted({field for field in fields if field not in document and not _a_value(field, document)}):
        raise InputError(f"select knows {', '.join(document)}; got {', '.join(unknown)[:100]}")
    chosen = {name: document[name] for name in fields if name in document}
    names = {field.removeprefix(_VALUE) for field in fields if _a_value(field, document)}
    if names and "values" not in chosen:
        chosen["values"] = {name: value for name, value in (document["values"] or {}).items() if name in names}
    return chosen


def _a_value(field: str, document: dict[str, Any]) -> bool:
    return field.startswith(_VALUE) and "values" in document


def uuid_text(value: Any, name: str) -> str:
    """An id that a caller sent in a body, in its one spelling. Raises `Refused`."""
    try:
        return str(uuid.UUID(value))
    except (ValueError, AttributeError, TypeError):
        raise Refused(422, f"{name} is a UUID") from None
