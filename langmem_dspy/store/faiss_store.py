"""FaissStore: memories by namespace and key, durable in SQLite, found again through a view of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

import langmem_dspy.store.maintenance as maintenance
from langmem_dspy.errors import InputError
from langmem_dspy.namespaces import check_namespace
from langmem_dspy.records import (
    GetOp,
    Item,
    ListNamespacesOp,
    Namespace,
    Op,
    PutOp,
    Revision,
    SearchItem,
    SearchOp,
)
from langmem_dspy.store.embedders import Embedder, as_embedder, stored_embedder
from langmem_dspy.store.generations import Progress, Reembedding
from langmem_dspy.store.index import Index
from langmem_dspy.store.items import Clock, Items
from langmem_dspy.store.reader import Reader, Status
from langmem_dspy.store.requests import Prepared, prepare, query_of, scope_of
from langmem_dspy.store.rows import to_item, to_namespace, to_path, to_revision
from langmem_dspy.store.scratch import ScratchItems, ScratchVectors
from langmem_dspy.store.search import Ranking, reordered, search
from langmem_dspy.store.showing import store_html
from langmem_dspy.store.snapshots import Snapshots
from langmem_dspy.store.values import check_key
from langmem_dspy.store.vectors import Vectors, embedder_name, open_vectors
from langmem_dspy.store.verbs import BatchStore

_FILE, _FOLDER = "memories.sqlite", "index"


class FaissStore(BatchStore):
    """A store in a folder, made if it is missing, or in memory where `path` is None.

    `embedder`: None is the one the store was made with, at first the offline one (shared words and spellings only);
    "local"; a hosted model's string; a function from texts to vectors. Raises `EmbedderMismatch` for another than the
    store's. Threads, tasks and processes may share a folder. `clock` gives seconds since 1970.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        embedder: Embedder | Callable[..., Any] | str | None = None,
        ranking: Ranking | None = None,
        clock: Clock = time.time,
    ):
        self.path = None if path is None else Path(path)
        self.ranking = ranking or Ranking()
        if self.path is not None:
            self.path.mkdir(parents=True, exist_ok=True)
        self._items = Items(None if self.path is None else self.path / _FILE, clock=clock)
        chosen = stored_embedder(embedder_name(self._items)) if embedder is None else as_embedder(embedder)
        self._vectors = open_vectors(self._items, chosen)
        self._snapshots = None if self.path is None else Snapshots(self.path / _FOLDER)
        self._index = Index(self._vectors, self._snapshots)
        self._reembedding: Reembedding | None = None

    @property
    def embedder(self) -> Embedder:
        return self._vectors.embedder

    def batch(self, ops: Iterable[Op]) -> list[Any]:
        """The results of `ops` in their order: reads see what was there before, writes are one durable transaction."""
        ops = list(ops)
        results: list[Any] = [None if isinstance(op, PutOp) else self._read(op) for op in ops]
        puts = [op for op in ops if isinstance(op, PutOp)]
        if puts:
            self._write(prepare(puts, self._vectors))
        return results

    def history(self, namespace: Namespace, key: str) -> list[Revision]:
        """Every change of a key, oldest first, deletions included; empty for a key that never was."""
        path = to_path(check_namespace(namespace))
        with self._items.read() as reader:
            return [to_revision(row) for row in reader.history(path, check_key(key))]

    def restore(self, namespace: Namespace, key: str, version: int) -> None:
        """Write what a key held at `version` as its newest version."""
        path = to_path(check_namespace(namespace))
        with self._items.read() as reader:
            found = next((row for row in reader.history(path, key) if row.version == version), None)
        if found is None or found.value is None:
            raise InputError(f"{namespace!r} {key!r} held nothing at version {version}; see history(namespace, key)")
        revision = to_revision(found)
        assert revision.value is not None  # a put has one
        index = None if found.indexed is None else orjson.loads(found.indexed)
        op = PutOp(namespace, key, revision.value, index, found.ttl, revision.provenance)
        self.batch([op._replace(valid_from=revision.valid_from, valid_to=revision.valid_to)])

    def sweep(self) -> int:
        """Delete what has expired; the number of items. Reads never show it, and delete it when they meet it."""
        return self._items.sweep()

    def scratch(self) -> FaissStore:
        """This store as it is now, to try things out on: what is written there stays there, in memory."""
        return _Scratch(self)

    @staticmethod
    def exists(path: str | Path) -> bool:
        """Whether a folder holds a store; none is made."""
        return (Path(path) / _FILE).is_file()

    def counts(self, prefix: Namespace = ()) -> dict[Namespace, int]:
        """How many items each namespace at and below `prefix` holds; those that hold none are left out."""
        path = to_path(check_namespace(prefix, may_be_empty=True))
        with self._reading() as (reader, _):
            return {to_namespace(found): number for found, number in reader.counts(path)}

    def stats(self) -> dict[str, Any]:
        """Counts, sizes in bytes, and what of it is in memory."""
        return maintenance.stats(self._items, self._vectors, self._index)

    def check(self) -> list[str]:
        """What is wrong with the files, one line each; empty for a store that is whole."""
        return maintenance.check(self._items, self._vectors, self._snapshots)

    def compact(self, *, keep_history: bool = True) -> None:
        """Give back the room of vectors no item has any more, and of past revisions where history is not kept."""
        maintenance.compact(self._items, self._vectors, self._snapshots, keep_history)

    def export(self, file: str | Path) -> int:
        """Write every item as a line of JSON; the number of items. Vectors and history are not exported."""
        return maintenance.export(self._items, file)

    def load(self, file: str | Path) -> int:
        """Put every item of an exported file, times kept; the number of items."""
        return maintenance.load(file, self.batch)

    def reembed(
        self, embedder: Embedder | Callable[..., Any] | str, *, progress: Progress | None = None, batch_size: int = 256
    ) -> Reembedding:
        """Change over to another embedder in the background: `.wait()` for it. Until then all goes on as before."""
        self._reembedding = Reembedding(
            self._items, self._vectors, as_embedder(embedder), self._change_over, progress, batch_size
        )
        return self._reembedding

    def wait(self) -> None:
        """Until no index is being built in the background. Answers are right without it; large shards get quicker."""
        self._index.wait()

    def close(self) -> None:
        """Stop what runs in the background and let go of the files. Nothing is lost without it."""
        if self._reembedding is not None:
            self._reembedding.stop()
        self._index.close()
        self._items.close()

    def __enter__(self) -> FaissStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> FaissStore:
        # DSPy copies programs; their store is the same store.
        return self

    def __copy__(self) -> FaissStore:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its folder: whoever loads it opens the same store, with the embedder it was made with."""
        if self.path is None:
            raise TypeError(f"{self!r} is in memory and cannot be pickled; save the program's state, or give it a path")
        opened = partial(type(self), ranking=self.ranking, clock=self._items.clock)
        return opened, (str(self.path.absolute()),)

    def __repr__(self) -> str:
        place = "in memory" if self.path is None else repr(str(self.path))
        return f"{type(self).__name__}({place}, {self.embedder!r})"

    def _repr_html_(self) -> str:
        return store_html(self)

    def _read(self, op: Op) -> Any:
        if isinstance(op, GetOp):
            return self._get(op)
        if isinstance(op, SearchOp):
            return self._search(op)
        if isinstance(op, ListNamespacesOp):
            return self._list(op)
        raise InputError(f"an operation is a GetOp, PutOp, SearchOp or ListNamespacesOp, not {op!r}")

    def _get(self, op: GetOp) -> Item | None:
        path, key = to_path(check_namespace(op.namespace)), check_key(op.key)
        with self._reading() as (reader, _):
            last = reader.last(path, key)
            if last is None or not last.live:
                return None
            row = reader.rows([last.seq])[last.seq]
            expires = reader.expiries([row]).get(row.seq)
        if row.ttl is not None and op.refresh_ttl:
            self._items.touch([(path, key, row.ttl)])
        return to_item(row, expires)

    def _search(self, op: SearchOp) -> list[SearchItem]:
        scope, query = scope_of(op, self._items.now()), query_of(op, self._vectors)
        ranking = self.ranking if query is not None else Ranking()
        # The lock first: a state of the log older than the index's would make it begin anew.
        with self._index.lock, self._reading() as (reader, status):
            self._index.follow(reader, status)
            index, past = self._index, None
            if scope.as_of < scope.now:
                past = index.past(reader, scope.as_of, scope.prefix)
            if past is not None:
                index, reader = index.aside(), past
            found = search(op, scope, query, index, reader, ranking.pool)
        if ranking.reorders:  # outside of the lock: a reranker may be a model
            found = reordered(found, op, ranking, scope.now)
        if op.refresh_ttl and (kept := [item for item in found if item.expires_at is not None]):
            self._refresh(kept)
        return found

    def _refresh(self, items: Sequence[SearchItem]) -> None:
        with self._items.read() as reader:
            lasts = [reader.last(to_path(item.namespace), item.key) for item in items]
            rows = reader.rows([last.seq for last in lasts if last is not None and last.live])
        self._items.touch([(row.path, row.key, row.ttl) for row in rows.values() if row.ttl is not None])

    def _list(self, op: ListNamespacesOp) -> list[Namespace]:
        with self._reading() as (reader, _):
            return op.among(map(to_namespace, reader.paths("")))

    def _write(self, prepared: list[Prepared]) -> None:
        self._items.write(
            [p.write for p in prepared],
            lambda connection, seqs: self._vectors.attach(
                connection, seqs, [p.vectors for p in prepared], [p.texts for p in prepared]
            ),
        )

    def _change_over(self, vectors: Vectors) -> None:
        self._vectors = vectors
        self._index.change_over(vectors)
        if self._snapshots is not None:
            self._snapshots.remove_all()

    @contextmanager
    def _reading(self) -> Iterator[tuple[Reader, Status]]:
        """One state of the log in which nothing has expired."""
        while True:
            with self._items.read() as reader:
                status = reader.status()
                if status.next_expiry is None or status.next_expiry > self._items.now():
                    yield reader, status
                    return
            self._items.sweep()


class _Scratch(FaissStore):
    """A view of `below` with changes of its own."""

    def __init__(self, below: FaissStore):
        self.path, self.ranking, self._snapshots, self._reembedding = None, below.ranking, None, None
        with below._index.lock, below._reading() as (reader, fork):
            below._index.follow(reader, fork)
            self._items = ScratchItems(below._items, fork)
            self._vectors = ScratchVectors(self._items, below._vectors)
            self._index = below._index.fork(self._vectors)

    def close(self) -> None:
        self._items.close()

    def __repr__(self) -> str:
        return f"<scratch view, {self.embedder!r}>"
