"""Files that are replaced whole and checked when they are read: a header of JSON, then parts as they lie in memory."""

from __future__ import annotations

import json
import mmap
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from langmem_dspy.durable_files import replacing

_PAGE = 512  # words of 8 bytes
_MAGIC = b"langmem_dspy.5\n\x00"


def write_parts(target: Path, facts: dict[str, Any], parts: Sequence[bytes]) -> None:
    """Write `facts` and `parts` to `target`, all or nothing."""
    header, crc = json.dumps({**facts, "sizes": [len(part) for part in parts]}).encode(), 0
    header += b" " * (-len(header) % 8)  # what is mapped after it is aligned
    with replacing(target) as file:
        file.write(_MAGIC + len(header).to_bytes(8, "little") + header)
        for part in parts:
            file.write(part)
            crc = folded(part, crc)
        file.write(zlib.crc32(header, crc).to_bytes(4, "little"))


def checksum(file: Path) -> int:
    return folded(mapped(file))


def folded(data: Any, crc: int = 0) -> int:
    """The CRC of the sums of the pages of `data`: it notices what is damaged, lost or misplaced at memory's speed."""
    view = memoryview(data)
    n = len(view) // (8 * _PAGE)
    sums = np.frombuffer(view, np.uint64, n * _PAGE).reshape(n, _PAGE).sum(axis=1, dtype=np.uint64)
    return zlib.crc32(view[8 * _PAGE * n :], zlib.crc32(sums.tobytes(), crc))


def mapped(file: Path) -> mmap.mmap:
    with file.open("rb") as opened:
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)


def read_parts(file: Path) -> tuple[dict[str, Any], list[memoryview]]:
    """The facts and the parts of a file, mapped; raises `ValueError`, `KeyError` or `OSError` for a damaged one."""
    data = mapped(file)
    if data[: len(_MAGIC)] != _MAGIC:
        raise ValueError("not a snapshot")
    view, at = memoryview(data), len(_MAGIC) + 8
    size = int.from_bytes(view[at - 8 : at], "little")
    raw = view[at : at + size]
    header = json.loads(bytes(raw))
    at += size
    parts, crc = [], 0
    for length in header["sizes"]:
        parts.append(view[at : at + length])
        crc = folded(parts[-1], crc)
        at += length
    if bytes(view[at:]) != zlib.crc32(raw, crc).to_bytes(4, "little"):
        raise ValueError("its checksum does not fit")
    return header, parts
