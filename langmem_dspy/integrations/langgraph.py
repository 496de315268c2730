"""LangGraph's stores in the place of ours, and ours in the place of LangGraph's."""

from __future__ import annotations

import hashlib
import json
import threading
import warnings
import weakref
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langmem_dspy.errors import InputError, NamespaceError, StoreError
from langmem_dspy.integrations.extras import optional
from langmem_dspy.integrations.langgraph_scratch import LangGraphScratch, check_version, empty_beside
from langmem_dspy.namespaces import check_namespace, is_langgraph_store
from langmem_dspy.records import (
    GetOp,
    Item,
    ListNamespacesOp,
    Namespace,
    Op,
    PutOp,
    SearchItem,
    SearchMode,
    SearchOp,
    Store,
)
from langmem_dspy.store.verbs import BatchStore

if TYPE_CHECKING:
    from langgraph.store.base import BaseStore, IndexConfig, TTLConfig

    from langmem_dspy.integrations.langgraph_base_store import AsBaseStore

_LOCKS: weakref.WeakKeyDictionary[Any, threading.Lock] = weakref.WeakKeyDictionary()
_ADAPTERS: weakref.WeakKeyDictionary[Any, weakref.ref[LangGraphStore]] = weakref.WeakKeyDictionary()
_LOCKS_LOCK = threading.RLock()


def from_langgraph(store: BaseStore) -> Store:
    """A LangGraph store, in memory or of any database, as a `Store` of ours, the same one each time.

    One that `as_base_store` made comes back as it was, with the defaults that were configured there.
    """
    if not is_langgraph_store(store):
        return LangGraphStore(store)  # which refuses it
    if isinstance(store, _base_store_module().AsBaseStore):
        return store.as_ours()
    with _LOCKS_LOCK:
        known = _ADAPTERS.get(store)
        adapter = known() if known is not None else None
        if adapter is None:
            adapter = LangGraphStore(store)
            _ADAPTERS[store] = weakref.ref(adapter)
        return adapter


def as_base_store(
    store: Store | str | Path | None = None,
    *,
    index: IndexConfig | None = None,
    ttl: TTLConfig | None = None,
    mode: SearchMode | None = None,
) -> AsBaseStore:
    """A store of ours as LangGraph's `BaseStore`, for `graph.compile(store=...)`, LangMem and all else that takes one.

    `store`: a `Store`, which embeds by itself, or where a `FaissStore` is to be kept (a folder; None: memory), which
    takes the embeddings of `index`: {"embed": ..., "dims": ..., "fields": [...]}. `mode`: "dense" where `index` embeds,
    so that scores are cosines as in LangGraph's stores, else "hybrid".
    """
    module = _base_store_module()
    config = dict(index or {})
    embed = config.get("embed")
    if store is not None and not isinstance(store, str | Path):
        if embed is not None:
            raise InputError(
                f"{store!r} embeds by itself: leave 'embed' out of index, and pass FaissStore(embedder=...) or a folder"
            )
        return module.AsBaseStore(store, mode=mode or "hybrid", index=index, ttl=ttl)
    from langmem_dspy.store.faiss_store import FaissStore

    if embed is None:
        return module.AsBaseStore(FaissStore(store), mode=mode or "hybrid", index=index, ttl=ttl)
    embeddings = optional("langgraph.store.base", "langgraph").ensure_embeddings(embed)
    made = FaissStore(store, embedder=module.embedder_of(embeddings, embed, config.get("dims")))
    return module.AsBaseStore(made, mode=mode or "dense", index=index, ttl=ttl, embeddings=embeddings)


class LangGraphStore(BatchStore):
    """A store of ours over LangGraph's `BaseStore.batch`; it holds nothing itself, so two over one store are one.

    What a score is, and what is embedded where `index=None`, is as that store was set up. A `version` is a
    fingerprint of the document and its last change. `if_version` is exact among writers that come through here in this
    process, and a check just before the write for all others. LangGraph keeps no provenance, validity or history.
    """

    def __init__(self, store: BaseStore) -> None:
        self._base = optional("langgraph.store.base", "langgraph")
        if not is_langgraph_store(store):
            raise InputError(f"from_langgraph takes LangGraph's BaseStore, got {type(store).__name__} {store!r}")
        self.store = store
        with _LOCKS_LOCK:
            self._lock = _LOCKS.setdefault(store, threading.Lock())

    def scratch(self) -> LangGraphScratch:
        """This store to try things out on: what is written there stays there, in memory."""
        return LangGraphScratch(self, empty_beside(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> LangGraphStore:
        return self

    def __repr__(self) -> str:
        return f"from_langgraph({self.store!r})"

    def batch(self, ops: Iterable[Op]) -> list[Any]:
        ops = list(ops)
        theirs = [self._theirs(op) for op in ops]
        guarded = [op for op in ops if isinstance(op, PutOp) and op.if_version is not None]
        if not any(isinstance(op, PutOp) for op in ops):
            results = self.store.batch(theirs)
        else:
            with self._lock:
                self._check_versions(guarded)
                results = self.store.batch(theirs)
        return [_ours(op, result) for op, result in zip(ops, results, strict=True)]

    def _check_versions(self, ops: Sequence[PutOp]) -> None:
        held = self.store.batch([self._base.GetOp(op.namespace, op.key, False) for op in ops]) if ops else []
        for op, item in zip(ops, held, strict=True):
            check_version(op, 0 if item is None else _version(item))

    def _theirs(self, op: Op) -> Any:
        if isinstance(op, GetOp):
            return self._base.GetOp(_checked(op.namespace), op.key, self._refreshes(op.refresh_ttl))
        if isinstance(op, PutOp):
            return self._their_put(op)
        if isinstance(op, SearchOp):
            _refuse(op, ("as_of", "query_vector", "explain"))
            if op.mode == "lexical":
                raise StoreError("LangGraph's stores have no lexical search; use mode='hybrid', or a FaissStore")
            prefix, query = _checked(op.namespace_prefix, may_be_empty=True), (op.query or "").strip() or None
            refresh = self._refreshes(op.refresh_ttl)
            return self._base.SearchOp(prefix, op.filter, op.limit, op.offset, query, refresh)
        if isinstance(op, ListNamespacesOp):
            conditions = tuple(self._base.MatchCondition(*condition) for condition in op.match_conditions or ())
            return self._base.ListNamespacesOp(conditions or None, op.max_depth, op.limit, op.offset)
        raise InputError(f"an operation is a GetOp, PutOp, SearchOp or ListNamespacesOp, got {op!r}")

    def _their_put(self, op: PutOp) -> Any:
        _refuse(op, ("valid_from", "valid_to", "vector", "created_at", "updated_at"))
        if op.provenance is not None:
            warnings.warn("LangGraph's stores keep no provenance of memories; a FaissStore does", stacklevel=5)
        if op.ttl is not None and not self.store.supports_ttl:
            raise StoreError(f"{type(self.store).__name__} knows no ttl, got ttl={op.ttl!r}; leave it out")
        ttl = op.ttl if op.ttl is not None else (self.store.ttl_config or {}).get("default_ttl")
        value = None if op.value is None else dict(op.value)
        return self._base.PutOp(_checked(op.namespace), op.key, value, op.index, ttl)

    def _refreshes(self, asked: bool) -> bool:
        return asked and (self.store.ttl_config or {}).get("refresh_on_read", True)


def _base_store_module() -> Any:
    optional("langgraph.store.base", "langgraph")
    from langmem_dspy.integrations import langgraph_base_store

    return langgraph_base_store


def _checked(namespace: Namespace, *, may_be_empty: bool = False) -> Namespace:
    """Labels that LangGraph takes; its databases join them by "."."""
    namespace = check_namespace(namespace, may_be_empty=may_be_empty)
    if any("." in label for label in namespace):
        raise NamespaceError(f"namespace {namespace!r}: LangGraph's stores take no label with a '.'")
    return namespace


def _refuse(op: PutOp | SearchOp, names: Sequence[str]) -> None:
    if unknown := [name for name in names if getattr(op, name)]:
        raise StoreError(f"LangGraph's stores know no {', '.join(unknown)}; leave it out, or use a FaissStore")


# --- what comes back ---


def _ours(op: Op, result: Any) -> Any:
    if isinstance(op, GetOp):
        return None if result is None else Item(**_fields(result))
    if isinstance(op, SearchOp):
        return _found(op, result)
    return result


def _found(op: SearchOp, found: Sequence[Any]) -> list[SearchItem]:
    depth = len(op.namespace_prefix)
    # Their databases compare prefixes as text, by which ("m", "ann") would see ("m", "anna").
    inside = (item for item in found if tuple(item.namespace[:depth]) == tuple(op.namespace_prefix))
    items = [SearchItem(**_fields(item), score=item.score) for item in inside]
    if op.query and len(found) == op.limit and items and all(item.score is None for item in items):
        warnings.warn(
            "LangGraph's store gives memories without regard to the query, since it has no index: make it with one, "
            "as in InMemoryStore(index={'dims': 384, 'embed': embedder})",
            stacklevel=5,
        )
    if op.min_score is not None:
        items = [item for item in items if item.score is not None and item.score >= op.min_score]
    return items


def _fields(item: Any) -> dict[str, Any]:
    return {
        "namespace": tuple(item.namespace),
        "key": item.key,
        "value": dict(item.value),
        "created_at": _aware(item.created_at),
        "updated_at": _aware(item.updated_at),
        "version": _version(item),
    }


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _version(item: Any) -> int:
    # Not the time alone: SQLite's is of whole seconds.
    document = json.dumps(item.value, sort_keys=True, default=repr)
    digest = hashlib.blake2b(f"{item.updated_at.isoformat()} {document}".encode("utf-8", "replace"), digest_size=7)
    return int.from_bytes(digest.digest()) or 1
