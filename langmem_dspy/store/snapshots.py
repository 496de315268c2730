"""What a large shard needs to answer at once after reopening, in files that are only ever replaced whole.

Written aside, synced, renamed; checked against a generation, an epoch and a checksum when read. They are a copy of what
the database holds: a file that is missing, cut off or another's is thrown away and costs only time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from langmem_dspy.store.growing import Blocks, Column, FileRows
from langmem_dspy.store.quantized import Quantized, fine_index
from langmem_dspy.store.shard import ALWAYS, Shard

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_KINDS: tuple[Any, ...] = (np.int64, np.bool_, np.bool_, np.int64, np.int64)
_ROWS = 10_000  # at a time
_PAGE = 512  # words of 8 bytes
_ABANDONED = 3600  # seconds after which a file that was never finished is a killed process's
_MAGIC = b"langmem_dspy.4\n\x00"


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
        name, n = f"{_prefix(stamp.path, stamp.generation)}{stamp.seq:020}", quantized.size
        vectors = self.folder / f"{name}.vectors"
        _write_vectors(vectors, shard.vectors, n)
        # The codes come last: where they are, the others are whole.
        _write_codes(self.folder / f"{name}.codes", shard, quantized, stamp)
        _sync_folder(self.folder)
        self._remove_older(stamp, name)
        try:
            return FileRows(vectors, n, stamp.width), _mapped_index(vectors.with_suffix(".fine"))
        except OSError:
            # Another process has saved a newer state meanwhile, and removed these as an older one's.
            (self.folder / f"{name}.codes").unlink(missing_ok=True)
            return None

    def load(self, path: str, generation: int, epoch: int) -> tuple[Shard, Stamp] | None:
        """The shard of a namespace as it was saved, its vectors left in their file; None if none can be trusted."""
        for file in sorted(self.folder.glob(f"{_prefix(path, generation)}*.codes"), reverse=True):
            try:
                header, parts = _parts(_mapped(file))
                stamp = Stamp(**header["stamp"])
                if (stamp.path, stamp.generation, stamp.epoch) == (path, generation, epoch):
                    return _shard(stamp, header, parts, file.with_suffix(".vectors")), stamp
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
                header, _ = _parts(_mapped(file))
                stamp = Stamp(**header["stamp"])
                if _checksum(file.with_suffix(".index")) != header["index"]:
                    raise ValueError("its index has another checksum")
            except (OSError, ValueError, KeyError, TypeError):
                problems.append(f"{file.name} is damaged; it is not used")
                continue
            for kind, size in ((".vectors", stamp.size * stamp.width * 4), (".fine", header["fine"])):
                other = file.with_suffix(kind)
                if not other.exists() or other.stat().st_size != size:
                    problems.append(f"{other.name} is missing or cut off; it is not used")
        return problems


def _shard(stamp: Stamp, header: dict[str, Any], parts: list[memoryview], vectors: Path) -> Shard:
    n, width = stamp.size, stamp.width
    shard = Shard(stamp.path, width)
    owners, more, *columns = parts
    arrays = [np.require(np.frombuffer(part, kind), None, "A") for part, kind in zip(columns, _KINDS, strict=False)]
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
    if _checksum(codes) != header["index"]:
        raise ValueError("its index has another checksum")
    if fine.stat().st_size != header["fine"]:
        raise ValueError("its one-byte codes are cut off")
    index = _mapped_index(codes)
    if index.ntotal != stamp.size or index.d != stamp.width:
        raise ValueError("the index does not fit the vectors")
    return Quantized(index, stamp.size, _mapped_index(fine))


def _mapped_index(file: Path) -> Any:
    import faiss

    return faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)


def _column(array: NDArray[Any]) -> Column:
    return Column(array, array.dtype)


def _write_vectors(target: Path, vectors: Blocks, n: int) -> None:
    with _aside(target) as file:
        for start in range(0, n, _ROWS):
            file.write(vectors.take(np.arange(start, min(n, start + _ROWS))).tobytes())
    _write_index(target.with_suffix(".fine"), fine_index(vectors, n))


def _write_index(target: Path, index: Any) -> None:
    import faiss

    with _aside(target) as file:
        faiss.write_index(index, file.name)


def _write_codes(target: Path, shard: Shard, quantized: Quantized, stamp: Stamp) -> None:
    n, index = quantized.size, target.with_suffix(".index")
    _write_index(index, quantized.index)
    times = [shard.valid_from, shard.valid_to] if shard.timed else []
    columns = [shard.ids, shard.alive, shard.has_vector, *times]
    more = shard.more.all().tobytes() if shard.more is not None else b""
    parts = [shard.owners.array.tobytes(), more, *(column.array[:n].tobytes() for column in columns)]
    facts = {
        "stamp": asdict(stamp),
        "index": _checksum(index),
        "fine": target.with_suffix(".fine").stat().st_size,
        "sizes": [len(part) for part in parts],
    }
    header, checksum = json.dumps(facts).encode(), 0
    header += b" " * (-len(header) % 8)  # what is mapped after it is aligned
    with _aside(target) as file:
        file.write(_MAGIC + len(header).to_bytes(8, "little") + header)
        for part in parts:
            file.write(part)
            checksum = _folded(part, checksum)
        file.write(zlib.crc32(header, checksum).to_bytes(4, "little"))


def _checksum(file: Path) -> int:
    return _folded(_mapped(file))


def _folded(data: Any, checksum: int = 0) -> int:
    """The CRC of the sums of the pages of `data`: it notices what is damaged, lost or misplaced at memory's speed."""
    view = memoryview(data)
    n = len(view) // (8 * _PAGE)
    sums = np.frombuffer(view, np.uint64, n * _PAGE).reshape(n, _PAGE).sum(axis=1, dtype=np.uint64)
    return zlib.crc32(view[8 * _PAGE * n :], zlib.crc32(sums.tobytes(), checksum))


def _mapped(file: Path) -> mmap.mmap:
    with file.open("rb") as opened:
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)


def _parts(data: mmap.mmap) -> tuple[dict[str, Any], list[memoryview]]:
    if data[: len(_MAGIC)] != _MAGIC:
        raise ValueError("not a snapshot")
    view, at = memoryview(data), len(_MAGIC) + 8
    size = int.from_bytes(view[at - 8 : at], "little")
    raw = view[at : at + size]
    header = json.loads(bytes(raw))
    at += size
    parts, checksum = [], 0
    for length in header["sizes"]:
        parts.append(view[at : at + length])
        checksum = _folded(parts[-1], checksum)
        at += length
    if bytes(view[at:]) != zlib.crc32(raw, checksum).to_bytes(4, "little"):
        raise ValueError("its checksum does not fit")
    return header, parts


def _prefix(path: str, generation: int) -> str:
    # Labels may hold what a file name cannot, and may be longer than one.
    return f"{hashlib.blake2b(path.encode(), digest_size=12).hexdigest()}-{generation}-"


@contextmanager
def _aside(target: Path) -> Iterator[BinaryIO]:
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # only there can a folder be opened to sync its entries
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
