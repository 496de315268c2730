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
from langmem_dspy.store.quantized import Fine, Quantized, fine_codes
from langmem_dspy.store.shard import Shard

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_ABANDONED = 3600  # seconds after which a file that was never finished is a killed process's
_MAGIC = b"langmem_dspy.1\n\x00"


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

    def save(self, shard: Shard, quantized: Quantized, stamp: Stamp) -> tuple[FileRows, Fine] | None:
        """Write the first `quantized.size` slots of a shard, dead ones marked; how its vectors are read now."""
        assert shard.vectors is not None  # only shards with vectors are quantized
        import faiss

        self.folder.mkdir(exist_ok=True)
        name, n = f"{_prefix(stamp.path, stamp.generation)}{stamp.seq:020}", quantized.size
        vectors = self.folder / f"{name}.vectors"
        with _aside(vectors) as file:
            scales = []
            with _aside(self.folder / f"{name}.fine") as fine:
                for start in range(0, n, 10_000):
                    rows = shard.vectors.take(np.arange(start, min(n, start + 10_000)))
                    file.write(rows.tobytes())
                    codes, scale = fine_codes(rows)
                    fine.write(codes.tobytes())
                    scales.append(scale)
                fine.write(np.concatenate(scales).tobytes())
        columns = [c.array[:n] for c in (shard.ids, shard.alive, shard.has_vector, shard.valid_from, shard.valid_to)]
        more = shard.more.all().tobytes() if shard.more is not None else b""
        owners = shard.owners.array.tobytes()
        parts = [c.tobytes() for c in columns] + [owners, more, faiss.serialize_index(quantized.index).tobytes()]
        header = json.dumps({"stamp": asdict(stamp), "timed": shard.timed, "sizes": [len(p) for p in parts]}).encode()
        checksum = 0
        with _aside(self.folder / f"{name}.codes") as file:
            file.write(_MAGIC + len(header).to_bytes(8, "little") + header)
            for part in parts:
                file.write(part)
                checksum = zlib.crc32(part, checksum)
            file.write(zlib.crc32(header, checksum).to_bytes(4, "little"))
        _sync_folder(self.folder)
        self._remove_older(stamp, name)
        try:
            return FileRows(vectors, n, stamp.width), map_fine(vectors, n, stamp.width)
        except OSError:
            # Another process has saved a newer state meanwhile, and removed these as an older one's.
            (self.folder / f"{name}.codes").unlink(missing_ok=True)
            return None

    def load(self, path: str, generation: int, epoch: int) -> tuple[Shard, Stamp] | None:
        """The shard of a namespace as it was saved, its vectors left in their file; None if none can be trusted."""
        for file in sorted(self.folder.glob(f"{_prefix(path, generation)}*.codes"), reverse=True):
            try:
                header, parts = _parts(file.read_bytes())
                stamp = Stamp(**header["stamp"])
                if (stamp.path, stamp.generation, stamp.epoch) == (path, generation, epoch):
                    return _shard(stamp, header["timed"], parts, file.with_suffix(".vectors")), stamp
            except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
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
                header, _ = _parts(file.read_bytes())
                stamp = Stamp(**header["stamp"])
            except (OSError, ValueError, KeyError, TypeError):
                problems.append(f"{file.name} is damaged; it is not used")
                continue
            for kind, size in ((".vectors", stamp.size * stamp.width * 4), (".fine", stamp.size * (stamp.width + 4))):
                other = file.with_suffix(kind)
                if not other.exists() or other.stat().st_size != size:
                    problems.append(f"{other.name} is missing or cut off; it is not used")
        return problems


def _shard(stamp: Stamp, timed: bool, parts: list[bytes], vectors: Path) -> Shard:
    import faiss

    n, width = stamp.size, stamp.width
    shard = Shard(stamp.path, width)
    kinds: list[Any] = [np.int64, np.bool_, np.bool_, np.int64, np.int64]
    arrays = [np.frombuffer(part, kind) for part, kind in zip(parts, kinds, strict=False)]
    if any(len(array) != n for array in arrays):
        raise ValueError("the columns do not fit each other")
    shard.ids, shard.alive, shard.has_vector, shard.valid_from, shard.valid_to = map(_column, arrays)
    shard.timed, shard.dead = timed, n - int(np.count_nonzero(arrays[1]))
    shard.without_vector = n - int(np.count_nonzero(arrays[2]))
    shard.vectors = Blocks(width, FileRows(vectors, n, width))
    if parts[6]:
        shard.owners, shard.more = Column(np.frombuffer(parts[5], np.int64), np.int64), Blocks(width)
        for row in np.frombuffer(parts[6], np.float32).reshape(-1, width):
            shard.more.append(row)
    index = faiss.deserialize_index(np.frombuffer(parts[7], np.uint8))
    if index.ntotal != n or index.d != width:
        raise ValueError("the codes do not fit the vectors")
    shard.quantized = Quantized(index, n, map_fine(vectors, n, width))
    return shard


def map_fine(vectors: Path, n: int, width: int) -> Fine:
    """The one-byte codes that lie beside a file of vectors."""
    with vectors.with_suffix(".fine").open("rb") as opened:
        mapping = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    if len(mapping) != n * (width + 4):
        raise ValueError("the one-byte codes are cut off")
    codes = np.frombuffer(mapping, np.int8, n * width).reshape(n, width)
    return Fine(codes, np.frombuffer(mapping, np.uint8, 4 * n, n * width).view(np.float32))


def _column(array: NDArray[Any]) -> Column:
    return Column(array, array.dtype)


def _parts(codes: bytes) -> tuple[dict[str, Any], list[bytes]]:
    if codes[: len(_MAGIC)] != _MAGIC:
        raise ValueError("not a snapshot")
    at = len(_MAGIC) + 8
    size = int.from_bytes(codes[at - 8 : at], "little")
    raw = codes[at : at + size]
    header = json.loads(raw)
    at += size
    parts = []
    for length in header["sizes"]:
        parts.append(codes[at : at + length])
        at += length
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    if codes[at:] != zlib.crc32(raw, checksum).to_bytes(4, "little"):
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
