"""What a large shard needs to answer at once after reopening, in files that are only ever replaced whole.

Written aside, synced, renamed; checked against a generation, an epoch and a checksum when read. They are a copy of what
the database holds: a file that is missing, cut off or another's is thrown away and costs only time.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from langmem_dspy.durable_files import replacing, sync_folder
from langmem_dspy.store.checked_files import checksum, read_parts, write_parts
from langmem_dspy.store.context import Context
from langmem_dspy.store.growing import Blocks, Column, FileRows
from langmem_dspy.store.lexical import Postings
from langmem_dspy.store.quantized import Quantized, fine_index
from langmem_dspy.store.rows import ALWAYS
from langmem_dspy.store.shard import Shard

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_KINDS: tuple[Any, ...] = (np.int64, np.bool_, np.bool_, np.int64, np.int64)
# Terms, where the slots of each start, slots, counts, lengths; and of threads: codes, positions.
_POSTINGS: tuple[Any, ...] = (np.uint64, np.int64, np.int32, np.uint8, np.float32)
_CONTEXT: tuple[Any, ...] = (np.int32, np.int64)
_ROWS = 10_000  # at a time
_ABANDONED = 3600  # seconds after which a file that was never finished is a killed process's


@dataclass(frozen=True)
class Stamp:
    """What a snapshot is of: the state of namespace `path` after `seq`."""

    path: str
    generation: int
    epoch: int
    seq: int
    size: int
    width: int


class Snapshots:
    """The folder of them. None of its methods raises for a bad file; `load` then finds nothing."""

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, shard: Shard, quantized: Quantized, stamp: Stamp) -> tuple[FileRows, Any] | None:
        """Write the first `quantized.size` slots of a shard, dead ones marked; its vectors and fine codes, in files."""
        assert shard.vectors is not None  # only shards with vectors are quantized
        self.folder.mkdir(exist_ok=True)
        # By a name of its own: another process may save this state too, in other slots. Later ones come after it.
        own = f"{time.time_ns():020}-{secrets.token_hex(4)}"
        name, n = f"{_prefix(stamp.path, stamp.generation)}{stamp.seq:020}-{own}", quantized.size
        vectors = self.folder / f"{name}.vectors"
        _write_vectors(vectors, shard.vectors, n)
        if (words := shard.known_words()) is not None:
            _write_words(self.folder / f"{name}.words", *words, n)
        try:
            # The codes come last: where they are, the others are whole.
            _write_codes(self.folder / f"{name}.codes", shard, quantized, stamp)
            sync_folder(self.folder)
            self._remove_older(stamp, name)
            return FileRows(vectors, n, stamp.width), _mapped_index(vectors.with_suffix(".fine"))
        except FileNotFoundError:
            # Another process has saved a newer state meanwhile, and removed these as an older one's.
            (self.folder / f"{name}.codes").unlink(missing_ok=True)
            return None

    def load(self, path: str, generation: int, epoch: int) -> tuple[Shard, Stamp] | None:
        """The shard of a namespace as it was saved, its vectors left in their file; None if none can be trusted."""
        if not self.folder.is_dir():  # asked first, since the pattern costs more than reading a small namespace
            return None
        for file in sorted(self.folder.glob(f"{_prefix(path, generation)}*.codes"), reverse=True):
            try:
                header, parts = read_parts(file)
                stamp = Stamp(**header["stamp"])
                if (stamp.path, stamp.generation, stamp.epoch) == (path, generation, epoch):
                    shard = _shard(stamp, header, parts, file.with_suffix(".vectors"))
                    shard.saved_words = partial(_words, file.with_suffix(".words"), stamp.size)
                    return shard, stamp
            except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:  # RuntimeError is FAISS's
                logger.warning("%s is not used (%s); its namespace is read from the database", file.name, error)
        return None

    def remove_all(self) -> None:
        if self.folder.is_dir():
            for file in self.folder.iterdir():
                file.unlink(missing_ok=True)

    def _remove_older(self, stamp: Stamp, name: str) -> None:
        # The codes go first: without them the rest is not looked at, so a kill in between leaves nothing half there.
        files = [file for file in self.folder.glob(f"{_prefix(stamp.path, stamp.generation)}*") if file.stem < name]
        for file in sorted(files, key=lambda file: file.suffix != ".codes"):
            if file.suffix != ".tmp" or time.time() - file.stat().st_mtime > _ABANDONED:
                file.unlink(missing_ok=True)

    def check(self) -> list[str]:
        """What is wrong with the files that are here, one line each."""
        problems = []
        for file in sorted(self.folder.glob("*.codes")) if self.folder.is_dir() else []:
            try:
                header, _ = read_parts(file)
                stamp = Stamp(**header["stamp"])
                if checksum(file.with_suffix(".index")) != header["index"]:
                    raise ValueError("its index has another checksum")
            except (OSError, ValueError, KeyError, TypeError):
                problems.append(f"{file.name} is damaged; it is not used")
                continue
            words = file.with_suffix(".words")
            if words.exists() and _words(words, stamp.size) is None:
                problems.append(f"{words.name} is damaged; it is not used")
            for kind, size in ((".vectors", stamp.size * stamp.width * 4), (".fine", header["fine"])):
                other = file.with_suffix(kind)
                if not other.exists() or other.stat().st_size != size:
                    problems.append(f"{other.name} is missing or cut off; it is not used")
        return problems


def _shard(stamp: Stamp, header: dict[str, Any], parts: list[memoryview], vectors: Path) -> Shard:
    n, width = stamp.size, stamp.width
    shard = Shard(stamp.path, width)
    owners, more, *columns = parts
    arrays = [_read(part, kind) for part, kind in zip(columns, _KINDS, strict=False)]
    if any(len(array) != n for array in arrays):
        raise ValueError("the columns do not fit each other")
    shard.ids, shard.has_vector = Column.over(arrays[0]), Column.over(arrays[2])
    shard.alive = _column(arrays[1])
    shard.timed = len(arrays) > 3
    times = arrays[3:] or [np.broadcast_to(np.int64(always), n) for always in (-ALWAYS, ALWAYS)]
    shard.valid_from, shard.valid_to = map(Column.over, times)
    shard.dead, shard.without_vector = (n - int(np.count_nonzero(array)) for array in arrays[1:3])
    shard.vectors = Blocks(width, FileRows(vectors, n, width))
    if len(more):
        shard.owners, shard.more = _column(np.frombuffer(owners, np.int64)), Blocks(width)
        for row in np.frombuffer(more, np.float32).reshape(-1, width):
            shard.more.append(row)
    shard.quantized = _quantized(stamp, header, vectors)
    return shard


def _quantized(stamp: Stamp, header: dict[str, Any], vectors: Path) -> Quantized:
    codes, fine = vectors.with_suffix(".index"), vectors.with_suffix(".fine")
    if checksum(codes) != header["index"]:
        raise ValueError("its index has another checksum")
    if fine.stat().st_size != header["fine"]:
        raise ValueError("its one-byte codes are cut off")
    index = _mapped_index(codes)
    if index.ntotal != stamp.size or index.d != stamp.width:
        raise ValueError("the index does not fit the vectors")
    return Quantized(index, stamp.size, _mapped_index(fine))


def _words(file: Path, n: int) -> tuple[Postings, Context] | None:
    """The postings and threads of the first `n` slots; None if they were not saved, or cannot be trusted."""
    if not file.exists():
        return None
    try:
        header, parts = read_parts(file)
        kinds = (*_POSTINGS, *_CONTEXT)
        *postings, threads, positions = (_read(part, kind) for part, kind in zip(parts, kinds, strict=True))
        if not len(postings[-1]) == len(threads) == len(positions) == n:
            raise ValueError("the columns do not fit each other")
        return Postings.over(postings), Context(header["threads"], Column.over(threads), Column.over(positions))
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s is not used (%s); the words are read from the database", file.name, error)
        return None


def _mapped_index(file: Path) -> Any:
    import faiss

    return faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)


def _read(part: memoryview, kind: Any) -> NDArray[Any]:
    # Copied only where it stands askew, behind a part of another kind.
    return np.require(np.frombuffer(part, kind), None, "A")


def _column(array: NDArray[Any]) -> Column:
    return Column(array, array.dtype)


def _write_vectors(target: Path, vectors: Blocks, n: int) -> None:
    with replacing(target) as file:
        for start in range(0, n, _ROWS):
            file.write(vectors.take(np.arange(start, min(n, start + _ROWS))).tobytes())
    _write_index(target.with_suffix(".fine"), fine_index(vectors, n))


def _write_index(target: Path, index: Any) -> None:
    import faiss

    with replacing(target) as file:
        faiss.write_index(index, file.name)


def _write_codes(target: Path, shard: Shard, quantized: Quantized, stamp: Stamp) -> None:
    n, index = quantized.size, target.with_suffix(".index")
    _write_index(index, quantized.index)
    times = [shard.valid_from, shard.valid_to] if shard.timed else []
    columns = [shard.ids, shard.alive, shard.has_vector, *times]
    owned = np.flatnonzero(shard.owners.array < n)  # slots may have been added since the quantizing began
    more = shard.more.take(owned).tobytes() if shard.more is not None else b""
    parts = [shard.owners.array[owned].tobytes(), more, *(column.array[:n].tobytes() for column in columns)]
    fine = target.with_suffix(".fine").stat().st_size
    write_parts(target, {"stamp": asdict(stamp), "index": checksum(index), "fine": fine}, parts)


def _write_words(target: Path, postings: Postings, context: Context, n: int) -> None:
    columns = [*postings.arrays(n), context.threads.array[:n], context.positions.array[:n]]
    parts = [
        column.astype(kind, copy=False).tobytes() for column, kind in zip(columns, (*_POSTINGS, *_CONTEXT), strict=True)
    ]
    write_parts(target, {"threads": context.names}, parts)


def _prefix(path: str, generation: int) -> str:
    # Labels may hold what a file name cannot, and may be longer than one.
    return f"{hashlib.blake2b(path.encode(), digest_size=12).hexdigest()}-{generation}-"
