"""What goes into a store and what comes out: the `Store` protocol, items, and the operations of a batch.

The shapes are LangGraph's (`langgraph.store.base`), so that an adapter between the two is thin; what is ours stands
after what is theirs and has a default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from langmem_dspy.errors import InputError

Namespace: TypeAlias = tuple[str, ...]
Index: TypeAlias = Literal[False] | list[str] | None
SearchMode: TypeAlias = Literal["hybrid", "lexical", "dense"]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a memory comes from.

    `messages` are the positions, from 0, of the messages of `thread` that it was taken from. Memories of neighbouring
    messages are each other's context in a search.
    """

    thread: str | None = None
    messages: tuple[int, ...] = ()
    extractor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Item:
    """One stored document. Times are aware, in UTC.

    `version` counts the changes of this key from 1, deletions included. `valid_from` (inclusive) and `valid_to`
    (exclusive) say when the content holds in the world; None is unbounded. `expires_at` is when its ttl ends.
    """

    namespace: Namespace
    key: str
    value: dict[str, Any] = field(hash=False)
    created_at: datetime
    updated_at: datetime
    version: int = 1
    provenance: Provenance | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    expires_at: datetime | None = None

    def dict(self) -> dict[str, Any]:
        """The item as plain JSON types; times in ISO 8601."""
        plain: dict[str, Any] = {
            "namespace": list(self.namespace),
            "key": self.key,
            "value": self.value,
            "created_at": self.created_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
            "version": self.version,
        }
        if self.provenance is not None:
            p = self.provenance
            plain["provenance"] = {"thread": p.thread, "messages": list(p.messages), "extractor": p.extractor}
        for name in ("valid_from", "valid_to", "expires_at"):
            if (time := getattr(self, name)) is not None:
                plain[name] = time.isoformat()
        return plain

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'/'.join(self.namespace)} {self.key}: {_short(self.value)})"

    def _repr_html_(self) -> str:
        cells = "".join(f"<tr><th>{escape(k)}</th><td>{escape(_short(v, 400))}</td></tr>" for k, v in self._rows())
        return f"<table>{cells}</table>"

    def _rows(self) -> list[tuple[str, Any]]:
        rows: list[tuple[str, Any]] = [("namespace", "/".join(self.namespace)), ("key", self.key)]
        rows += list(self.value.items())
        rows.append(("updated", f"{self.updated_at:%Y-%m-%d %H:%M:%S} (version {self.version})"))
        return rows


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SearchItem(Item):
    """An item found by a search.

    `score` is None where the item could not be compared with the query: no query was given, or it is not indexed.
    `explanation` holds the parts of the score when the search was asked to explain.
    """

    score: float | None = None
    explanation: dict[str, Any] | None = field(default=None, hash=False)

    def dict(self) -> dict[str, Any]:
        # Zero-argument super() does not work in a dataclass with slots: the class is made twice.
        plain = Item.dict(self)
        plain["score"] = self.score
        if self.explanation is not None:
            plain["explanation"] = self.explanation
        return plain

    def __repr__(self) -> str:
        score = "no score" if self.score is None else f"{self.score:.3f}"
        return f"SearchItem({score} {'/'.join(self.namespace)} {self.key}: {_short(self.value)})"

    def _rows(self) -> list[tuple[str, Any]]:
        return [*Item._rows(self), ("score", self.score)]


@dataclass(frozen=True, slots=True)
class Revision:
    """One change of a key. `value` is None after a deletion or an expiry."""

    version: int
    action: Literal["put", "delete", "expire"]
    at: datetime
    value: Mapping[str, Any] | None
    provenance: Provenance | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None


class GetOp(NamedTuple):
    """Read one item."""

    namespace: Namespace
    key: str
    refresh_ttl: bool = True


class PutOp(NamedTuple):
    """Write one item, or delete it where `value` is None.

    `index`: None embeds value["content"] where it is a string, else its text fields joined; False nothing; a list
    those paths ("a.b", "a[0]", "a[*].b"), one vector each. `ttl` in minutes. `if_version` is the version the item must
    have (0: it must not exist), else `ConflictError`. `vector`, of unit length, is taken instead of an embedder's.
    The two times are now unless they are given, as when items are brought over from elsewhere.
    """

    namespace: Namespace
    key: str
    value: Mapping[str, Any] | None
    # A tuple has a method of this name; so does LangGraph's, whose field it is.
    index: Index = None  # type: ignore[assignment]
    ttl: float | None = None
    provenance: Provenance | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    if_version: int | None = None
    vector: Sequence[float] | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class SearchOp(NamedTuple):
    """Find items in a namespace and below it.

    `as_of`: what holds at that time, by `valid_from` and `valid_to`; None is now. What was replaced or deleted since
    then is found as it stood, unless what took its place has times of its own. That reads the namespace anew.
    `explain` gives the parts of each score. `query_vector`, of unit length, is taken instead of an embedder's.
    """

    namespace_prefix: Namespace
    filter: dict[str, Any] | None = None
    limit: int = 10
    offset: int = 0
    query: str | None = None
    refresh_ttl: bool = True
    min_score: float | None = None
    mode: SearchMode = "hybrid"
    as_of: datetime | None = None
    explain: bool = False
    query_vector: Sequence[float] | None = None


class MatchCondition(NamedTuple):
    """A pattern for namespaces; "*" stands for any one label."""

    match_type: Literal["prefix", "suffix"]
    path: Namespace

    def matches(self, namespace: Namespace) -> bool:
        if self.match_type not in ("prefix", "suffix"):
            raise InputError(f"a match condition is a prefix or a suffix, not {self.match_type!r}")
        size = len(self.path)
        part = namespace[:size] if self.match_type == "prefix" else namespace[len(namespace) - size :]
        return len(namespace) >= size and all(p in ("*", label) for p, label in zip(self.path, part, strict=True))


class ListNamespacesOp(NamedTuple):
    """List the namespaces that hold items, cut to `max_depth` labels."""

    match_conditions: tuple[MatchCondition, ...] | None = None
    max_depth: int | None = None
    limit: int = 100
    offset: int = 0

    def among(self, namespaces: Iterable[Namespace]) -> list[Namespace]:
        """Those of `namespaces` that are asked for, each once and in order."""
        conditions = [MatchCondition(*condition) for condition in self.match_conditions or ()]
        found = {n[: self.max_depth] for n in namespaces if all(condition.matches(n) for condition in conditions)}
        return sorted(found)[self.offset : self.offset + self.limit]


Op: TypeAlias = GetOp | PutOp | SearchOp | ListNamespacesOp
Result: TypeAlias = Item | list[SearchItem] | list[Namespace] | None


class Store(Protocol):
    """Documents by namespace and key, found again by meaning.

    All else follows from `batch`: reads see what was there before the batch, writes are made in order and together.
    `store.verbs.BatchStore` derives every other verb, sync and async, from it.
    """

    def batch(self, ops: Iterable[Op]) -> list[Any]: ...
    def get(self, namespace: Namespace, key: str) -> Item | None: ...
    def put(
        self, namespace: Namespace, key: str, value: Mapping[str, Any], index: Index = None, **options: Any
    ) -> None: ...
    def delete(self, namespace: Namespace, key: str) -> None: ...
    def search(self, namespace_prefix: Namespace, /, **options: Any) -> list[SearchItem]: ...
    def list_namespaces(
        self,
        *,
        prefix: Namespace | None = None,
        suffix: Namespace | None = None,
        max_depth: int | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Namespace]: ...
    async def abatch(self, ops: Iterable[Op]) -> list[Any]: ...
    async def aget(self, namespace: Namespace, key: str) -> Item | None: ...
    async def aput(
        self, namespace: Namespace, key: str, value: Mapping[str, Any], index: Index = None, **options: Any
    ) -> None: ...
    async def adelete(self, namespace: Namespace, key: str) -> None: ...
    async def asearch(self, namespace_prefix: Namespace, /, **options: Any) -> list[SearchItem]: ...
    async def alist_namespaces(self, **options: Any) -> list[Namespace]: ...


@runtime_checkable
class SupportsScratch(Protocol):
    """A store that can be tried out: nothing written to `scratch()` ever reaches it."""

    def scratch(self) -> Store: ...


@runtime_checkable
class SupportsCounts(Protocol):
    """A store that can tell how much it holds."""

    def counts(self, prefix: Namespace = ()) -> dict[Namespace, int]: ...
    def stats(self) -> dict[str, Any]: ...


@runtime_checkable
class SupportsSweep(Protocol):
    """A store that deletes what has expired when asked to; it shows none of it before that either."""

    def sweep(self) -> int: ...


def _short(value: Any, width: int = 80) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= width else text[: width - 1] + "…"
