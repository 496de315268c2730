"""Files that are replaced whole or not at all, whenever the process is killed or the power goes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(target: Path, *, mode: int = 0o666, synced: bool = True) -> Iterator[BinaryIO]:
    """A file beside `target` that takes its place once it is written; gone, and `target` as it was, if that fails.

    It is on disk then, unless it is not `synced`: a power cut may lose what is worth less than the wait. That the name
    is, where `target` is new, takes `sync_folder`, once for all files of a folder. `mode` is what the umask leaves of.
    """
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb", opener=lambda path, flags: os.open(path, flags, mode)) as file:
            yield file
            file.flush()
            if synced:
                os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable; where folders cannot be opened, as on Windows, they need not be."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
