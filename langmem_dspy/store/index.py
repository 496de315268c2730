"""The view of the truth that searches read: a shard for each namespace that is searched, with all that lies below it.

Shards are brought up to date by the log before each search. A namespace that is searched alone and from above is held
twice: one scan of what lies together beats a look into each of many, whose cost is theirs and not their vectors'.

Whoever wrote, this process or another, is followed in the same way. Large shards are quantized in the background; until
that is done, and always for what was added since, the answer is exact.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from functools import partial

import numpy as np

import langmem_dspy.store.quantized as codes
from langmem_dspy.store.background import Background
from langmem_dspy.store.growing import Blocks
from langmem_dspy.store.quantized import Quantized, Stopped, build
from langmem_dspy.store.reader import Reader, Status
from langmem_dspy.store.rows import ALWAYS, PUT, lineage
from langmem_dspy.store.shard import Shard
from langmem_dspy.store.snapshots import Snapshots, Stamp
from langmem_dspy.store.vectors import Vectors

logger = logging.getLogger(__name__)

_TOO_MANY_CHANGES = 200_000  # reading the shards again is quicker than following so many
_TAIL = 5  # a new quantization is due when a fifth of the old one has been added


class Index:
    """Shards by the namespace path that they begin with, at `seq` of the log. Hold `lock` while using them."""

    def __init__(self, vectors: Vectors, snapshots: Snapshots | None):
        self.lock = threading.RLock()
        self.vectors = vectors
        self._snapshots = snapshots
        self._shards: dict[str, Shard] = {}
        self._roots: dict[str, str] = {}  # of what was searched, the path of its shard
        self._status = Status(0, None, vectors.generation, -1, None)
        self._width = vectors.width
        self._background = Background(self)
        self._quantizes = True
        self._given_up: set[str] = set()
        # When something was last replaced or deleted, of what is in the log until a seq.
        self._replaced, self._replaced_until = -ALWAYS, 0

    def follow(self, reader: Reader, status: Status) -> None:
        """Bring every shard in memory to `status`, the state that `reader` sees."""
        known = self._status
        self.vectors.follow(status)
        anew = status.epoch != known.epoch or self._width != self.vectors.width
        if anew or status.seq < known.seq or status.seq - known.seq > _TOO_MANY_CHANGES:
            self._shards, self._width = {}, self.vectors.width
        elif status.seq > known.seq and self._shards:
            try:
                self._apply(reader, known.seq)
            except BaseException:
                self._shards = {}  # they hold a part of it, and would be given that again
                raise
        if status.seq != known.seq or anew:
            self._roots.clear()
        self._status = status

    def past(self, reader: Reader, time: int, prefix: str) -> Reader | None:
        """Reads what was held at `time`; None if that is what is held now. Call `follow` before."""
        known, self._replaced_until = self._replaced_until, self._status.seq
        self._replaced = max(self._replaced, reader.last_replacement(known))
        return reader.past(time, prefix) if self._replaced > time else None

    def shard(self, prefix: str, reader: Reader) -> Shard | None:
        """All at and below `prefix`, read from a snapshot or the database if it is not in memory; None for nothing."""
        path = self._roots.get(prefix)
        if path is None:
            paths = reader.paths(prefix)
            if not paths:
                return None
            # Where only one namespace holds items, it is not held twice.
            path = self._roots[prefix] = paths[0] if len(paths) == 1 else prefix
        shard = self._shards.get(path)
        if shard is None:
            shard = self._shards[path] = self._restore(path, reader) or self._load(path, reader)
        if self._due(shard):
            self._background.start(path, partial(self._build, shard))
        return shard

    def fork(self, vectors: Vectors) -> Index:
        """An index of the same shards whose changes are its own; it quantizes nothing."""
        forked = self.aside()
        forked.vectors = vectors
        forked._shards = {path: shard.fork() for path, shard in self._shards.items()}
        forked._status = self._status._replace(epoch=0)
        return forked

    def aside(self) -> Index:
        """An index without shards yet, to read those of another state of the log; it quantizes nothing."""
        aside = Index(self.vectors, None)
        aside._status, aside._width, aside._quantizes = self._status, self._width, False
        return aside

    def change_over(self, vectors: Vectors) -> None:
        """Go on with the vectors of another generation."""
        with self.lock:
            self.vectors, self._shards, self._width = vectors, {}, vectors.width

    def wait(self) -> None:
        """Until nothing is being built in the background."""
        self._background.wait()

    def close(self) -> None:
        self._background.stop()

    def describe(self) -> dict[str, int]:
        """How much of the store is in memory."""
        with self.lock:
            shards = list(self._shards.values())
            quantized = [s.quantized.size for s in shards if s.quantized is not None]
        return {"shards": len(shards), "slots": sum(s.size for s in shards), "quantized": sum(quantized)}

    def _apply(self, reader: Reader, since: int) -> None:
        added: dict[str, list[int]] = defaultdict(list)
        gone: dict[str, set[int]] = defaultdict(set)
        for change in reader.changes(since):
            for path in self._holding(change.path):
                if change.replaces is not None:
                    gone[path].add(change.replaces)
                if change.action == PUT:
                    added[path].append(change.seq)
        for path in added.keys() | gone.keys():
            shard = self._shards[path]
            for seq in gone[path]:
                shard.kill(seq)
            for row in reader.additions([seq for seq in added[path] if seq not in gone[path]], self.vectors.table):
                shard.append(row)
            if shard.worn:
                self._shards[path] = self._load(path, reader)

    def _holding(self, path: str) -> list[str]:
        """The paths of the shards in memory that hold a namespace."""
        return [above for above in lineage(path) if above in self._shards]

    def _load(self, path: str, reader: Reader) -> Shard:
        shard = Shard(path, self._width)
        shard.load(reader.vectors(path, self.vectors.table))
        return shard

    def _restore(self, path: str, reader: Reader) -> Shard | None:
        if self._snapshots is None:
            return None
        found = self._snapshots.load(path, self.vectors.generation, self._status.epoch)
        if found is None or found[1].width != self._width or found[1].seq > self._status.seq:
            return None
        shard, stamp = found
        if self._status.seq - stamp.seq > max(1000, shard.size):
            return None  # reading it anew is as quick
        others, self._shards = self._shards, {path: shard}
        try:
            self._apply(reader, stamp.seq)
            return self._shards[path]
        finally:
            self._shards = others

    def _due(self, shard: Shard) -> bool:
        if not self._quantizes or shard.vectors is None or shard.size <= codes.EXACT_UP_TO:
            return False
        if shard.path in self._given_up or self._background.runs(shard.path):
            return False
        done = 0 if shard.quantized is None else shard.quantized.size
        return shard.size - done > max(codes.EXACT_UP_TO // 2, done // _TAIL)

    def _build(self, shard: Shard, should_stop: Callable[[], bool]) -> None:
        try:
            with self.lock:
                if self._shards.get(shard.path) is not shard:
                    return  # read anew meanwhile: this one is not followed any more
                assert shard.vectors is not None  # `_due` saw them
                vectors, size, status = shard.vectors.fork(), shard.size, self._status
            quantized = build(vectors, size, should_stop)
            stamp = Stamp(shard.path, status.generation, status.epoch, status.seq, size, vectors.width)
            self._adopt(shard, quantized, stamp)
        except Stopped:
            pass
        except Exception:  # the thread's last resort: the exact answers go on, and the log says why
            self._given_up.add(shard.path)
            logger.exception("quantizing %r failed; its searches stay exact", shard.path)

    def _adopt(self, shard: Shard, quantized: Quantized, stamp: Stamp) -> None:
        saved = None
        if self._snapshots is not None:
            with self.lock:
                frozen = shard.fork()
            saved = self._snapshots.save(frozen, quantized, stamp)
        with self.lock:
            shard.quantized = quantized
            if saved is not None and shard.vectors is not None:
                # From now on the vectors are read from the file: the codes alone stay in memory.
                rows, fine = saved
                quantized.refine(fine)
                kept = Blocks(stamp.width, rows)
                for row in shard.vectors.take(np.arange(quantized.size, shard.size)):
                    kept.append(row)
                shard.vectors = kept
