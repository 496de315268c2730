"""Rows of the database to items and back: times as microseconds since 1970, namespaces as one sortable text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

import orjson

from langmem_dspy.errors import InputError
from langmem_dspy.records import Item, Namespace, Provenance, Revision

PUT, DELETE, EXPIRE = 1, 0, 2
_ACTIONS = {PUT: "put", DELETE: "delete", EXPIRE: "expire"}
ALWAYS = 2**62  # a time later than any; its negative is earlier than any
_END = "\x1f"  # refused in labels, and smaller than all that is not: paths sort as tuples do
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_Item = TypeVar("_Item", bound=Item)


class Row(NamedTuple):
    """One revision as it is read for an item."""

    seq: int
    path: str
    key: str
    version: int
    action: int
    at: int
    created: int
    valid_from: int | None
    valid_to: int | None
    ttl: float | None
    indexed: str | None
    provenance: str | None
    value: str | None


def to_path(namespace: Namespace) -> str:
    return "".join(label + _END for label in namespace)


@lru_cache(maxsize=4096)
def to_namespace(path: str) -> Namespace:
    return tuple(path.split(_END)[:-1])


def lineage(path: str) -> list[str]:
    """The paths of a namespace and of all above it, the root's first."""
    return list(accumulate((label + _END for label in path.split(_END)[:-1]), initial=""))


def to_micros(time: Any, name: str) -> int | None:
    """Microseconds since 1970; raises `InputError` for a time that is no `datetime` or has no time zone."""
    if time is None:
        return None
    if not isinstance(time, datetime) or time.tzinfo is None:
        raise InputError(f"{name} is a datetime with a time zone, such as datetime.now(timezone.utc), not {time!r}")
    return (time - _EPOCH) // _MICROSECOND


def to_time(micros: int | None) -> datetime | None:
    return None if micros is None else _EPOCH + timedelta(microseconds=micros)


def dump_provenance(provenance: Any) -> str | None:
    if provenance is None:
        return None
    if not isinstance(provenance, Provenance):
        raise InputError(f"provenance is a records.Provenance, not {provenance!r}")
    if not all(type(i) is int and i >= 0 for i in provenance.messages):
        raise InputError(f"provenance.messages are positions from 0, not {provenance.messages!r}")
    try:
        return orjson.dumps([provenance.thread, list(provenance.messages), provenance.extractor]).decode()
    except TypeError as error:
        raise InputError(f"provenance cannot be written as text: {error}") from error


def load_provenance(text: str | None) -> Provenance | None:
    if text is None:
        return None
    thread, messages, extractor = orjson.loads(text)
    return Provenance(thread, tuple(messages), extractor)


def to_item(row: Row, expires: int | None, kind: Callable[..., _Item] = Item, **more: Any) -> _Item:  # type: ignore[assignment]
    """The item of a revision; `more` are the fields that its `kind` has beside those of an `Item`."""
    _, path, key, version, _, at, created, valid_from, valid_to, _, _, provenance, value = row
    updated = to_time(at)
    return kind(
        namespace=to_namespace(path),
        key=key,
        value=orjson.loads(value or "{}"),
        created_at=updated if created == at else to_time(created),
        updated_at=updated,
        version=version,
        provenance=None if provenance is None else load_provenance(provenance),
        valid_from=None if valid_from is None else to_time(valid_from),
        valid_to=None if valid_to is None else to_time(valid_to),
        expires_at=None if expires is None else to_time(expires),
        **more,
    )


def to_revision(row: Row) -> Revision:
    return Revision(
        version=row.version,
        action=_ACTIONS[row.action],  # type: ignore[arg-type]
        at=_EPOCH + timedelta(microseconds=row.at),
        value=None if row.value is None else orjson.loads(row.value),
        provenance=load_provenance(row.provenance),
        valid_from=to_time(row.valid_from),
        valid_to=to_time(row.valid_to),
    )
