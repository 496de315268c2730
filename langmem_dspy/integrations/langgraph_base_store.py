"""A store of ours as LangGraph's `BaseStore`; `integrations.langgraph.as_base_store` makes it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from langchain_core.embeddings import Embeddings
from langgraph.store import base

from langmem_dspy.errors import InputError
from langmem_dspy.integrations.langgraph_ttl import Sweeper
from langmem_dspy.integrations.store_defaults import WithDefaults
from langmem_dspy.namespaces import check_namespace
from langmem_dspy.records import GetOp, ListNamespacesOp, MatchCondition, Op, PutOp, SearchMode, SearchOp, Store
from langmem_dspy.records import SearchItem as OurSearchItem
from langmem_dspy.store.embedders import FunctionEmbedder

_loop: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar("langmem_dspy_embedding_loop", default=None)


class AsBaseStore(base.BaseStore):
    """`store` with LangGraph's operations. What has expired is never shown, swept or not.

    `embeddings` makes the vectors of queries where its kind may differ from that of documents; None leaves them to the
    store. `index_config` and `ttl_config` are as LangGraph's stores have them.
    """

    supports_ttl = True

    def __init__(
        self,
        store: Store,
        *,
        mode: SearchMode,
        index: base.IndexConfig | None = None,
        ttl: base.TTLConfig | None = None,
        embeddings: Embeddings | None = None,
    ) -> None:
        self.store, self.mode = store, mode
        self.index_config, self.ttl_config, self.embeddings = index, ttl, embeddings
        self._fields = list((index or {}).get("fields") or (["$"] if embeddings is not None else [])) or None
        self._sweeper = Sweeper(store)
        lives = ttl or {}
        refresh = lives.get("refresh_on_read", True)
        self._as_ours = WithDefaults.over(store, self._fields, lives.get("default_ttl"), refresh)

    def batch(self, ops: Iterable[base.Op]) -> list[base.Result]:
        ops = list(ops)
        embed = self.embeddings
        return self._run(ops, {query: embed.embed_query(query) for query in _queries(ops)} if embed else {})

    async def abatch(self, ops: Iterable[base.Op]) -> list[base.Result]:
        ops, vectors = list(ops), {}
        if (embed := self.embeddings) and (queries := _queries(ops)):
            vectors = dict(zip(queries, await asyncio.gather(*map(embed.aembed_query, queries)), strict=True))
        token = _loop.set(asyncio.get_running_loop())
        try:
            return await asyncio.to_thread(self._run, ops, vectors)
        finally:
            _loop.reset(token)

    def sweep_ttl(self) -> int:
        """Delete what has expired; the number of items."""
        return self._sweeper.sweep()

    def start_ttl_sweeper(self, sweep_interval_minutes: float | None = None) -> None:
        """Sweep in the background, by default every `sweep_interval_minutes` of the configuration, else every 5."""
        self._sweeper.start(sweep_interval_minutes or (self.ttl_config or {}).get("sweep_interval_minutes") or 5)

    def stop_ttl_sweeper(self, timeout: float | None = None) -> bool:
        """Whether the sweeper has ended, within `timeout` seconds."""
        return self._sweeper.stop(timeout)

    def as_ours(self) -> Store:
        """The store beneath, with the defaults that were configured here."""
        return self._as_ours

    def __deepcopy__(self, memo: dict[int, Any]) -> AsBaseStore:
        return self

    def __enter__(self) -> AsBaseStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop_ttl_sweeper()

    async def __aenter__(self) -> AsBaseStore:
        return self

    async def __aexit__(self, *error: Any) -> None:
        await asyncio.to_thread(self.stop_ttl_sweeper)

    def __repr__(self) -> str:
        return f"as_base_store({self.store!r})"

    def _run(self, ops: Sequence[base.Op], vectors: Mapping[str, Sequence[float]]) -> list[Any]:
        results = self.store.batch([self._ours(op, vectors) for op in ops])
        return [_theirs(result) for result in results]

    def _ours(self, op: base.Op, vectors: Mapping[str, Sequence[float]]) -> Op:
        if isinstance(op, base.GetOp):
            return GetOp(_checked(op.namespace), op.key, op.refresh_ttl)
        if isinstance(op, base.PutOp):
            index = self._fields if op.index is None else op.index
            return PutOp(_checked(op.namespace), op.key, op.value, index, op.ttl)
        if isinstance(op, base.SearchOp):
            prefix, query = _checked(op.namespace_prefix), op.query or None
            vector = None if query is None else vectors.get(query)
            found = SearchOp(prefix, op.filter, op.limit, op.offset, query, op.refresh_ttl, mode=self.mode)
            return found if vector is None else found._replace(query_vector=vector)
        if isinstance(op, base.ListNamespacesOp):
            conditions = tuple(MatchCondition(c.match_type, _checked(_path(c.path))) for c in op.match_conditions or ())
            return ListNamespacesOp(conditions or None, op.max_depth, op.limit, op.offset)
        raise InputError(f"an operation is LangGraph's GetOp, PutOp, SearchOp or ListNamespacesOp, not {op!r}")


def embedder_of(embeddings: Embeddings, given: Any, dims: int | None) -> FunctionEmbedder:
    """`embeddings` for a store of ours; `given` is what the index configuration named, `dims` their width."""

    def embed(texts: list[str]) -> Sequence[Sequence[float]]:
        loop = _loop.get()
        if loop is None:
            vectors = embeddings.embed_documents(texts)
        else:  # in a worker thread of `abatch`: what is async is done where the caller's clients live
            vectors = asyncio.run_coroutine_threadsafe(embeddings.aembed_documents(texts), loop).result()
        if dims is not None and len(vectors) and len(vectors[0]) != dims:
            raise InputError(f"the index is configured with dims={dims}, but its embeddings are {len(vectors[0])} wide")
        return vectors

    return FunctionEmbedder(embed, given if isinstance(given, str) else _name(given))


def _name(given: Any) -> str:
    kind = given if hasattr(given, "__qualname__") else type(given)
    # LangChain's classes say by this field which model they ask; the class alone would take two models for one.
    model = vars(given).get("model") if isinstance(given, Embeddings) else None
    return f"{kind.__module__}.{kind.__qualname__}" + (f":{model}" if isinstance(model, str) else "")


def _queries(ops: Iterable[base.Op]) -> list[str]:
    return list(dict.fromkeys(op.query for op in ops if isinstance(op, base.SearchOp) and op.query))


def _path(path: Any) -> Any:
    # ("public") is a slip for ("public",) that LangGraph's stores let pass.
    return (path,) if isinstance(path, str) else path


def _checked(labels: Sequence[str]) -> tuple[str, ...]:
    """`labels`, or LangGraph's own error: "." joins them in its databases and on its wire."""
    try:
        namespace = check_namespace(labels, may_be_empty=True)
    except InputError as error:
        raise base.InvalidNamespaceError(str(error)) from error
    if any("." in label for label in namespace):
        raise base.InvalidNamespaceError(f"namespace {namespace!r}: LangGraph takes no label with a '.'")
    return namespace


def _theirs(result: Any) -> Any:
    if isinstance(result, list):
        return [_found(one) if isinstance(one, OurSearchItem) else one for one in result]
    if result is None:
        return None
    return base.Item(
        value=result.value,
        key=result.key,
        namespace=result.namespace,
        created_at=result.created_at,
        updated_at=result.updated_at,
    )


def _found(item: OurSearchItem) -> base.SearchItem:
    return base.SearchItem(item.namespace, item.key, item.value, item.created_at, item.updated_at, item.score)
