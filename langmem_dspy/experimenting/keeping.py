"""Finished cells on disk, so that none is measured twice, and none is lost when the next one fails.

<folder>/<experiment>/<key>.json    what was found, and in which MLflow runs it stands
                      <key>/        the files that the cell left
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from langmem_dspy.durable_files import replacing
from langmem_dspy.experimenting.cells import Found

DEFAULT_FOLDER = Path(".langmem") / "experiments"


class Kept:
    """The finished cells of one experiment, by their keys."""

    def __init__(self, root: Path, experiment: str) -> None:
        self.root = root / experiment
        self.root.mkdir(parents=True, exist_ok=True)
        if root == DEFAULT_FOLDER and not (note := root.parent / ".gitignore").exists():
            note.write_text("*\n", encoding="utf-8")

    def read(self, key: str) -> Found | None:
        """The cell, if it was finished; one whose files are gone was not."""
        path = self._path(key)
        if not path.exists():
            return None
        found = Found.read(json.loads(path.read_text(encoding="utf-8")))
        return found if all((self.files(key) / name).exists() for name in found.files) else None

    def write(self, found: Found) -> None:
        """Keep the cell. Its files are there already; a kill leaves either all of it or nothing."""
        with replacing(self._path(found.key)) as file:
            file.write(json.dumps(found.to_dict(), indent=1).encode())

    def files(self, key: str) -> Path:
        return self.root / key

    @contextmanager
    def workplace(self, key: str) -> Iterator[Path]:
        """An empty folder for the cell; what is in it at the end is kept if the cell ends well."""
        folder = self.root / f"{key}.{os.getpid()}.part"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
            shutil.rmtree(self.files(key), ignore_errors=True)
            if any(folder.iterdir()):
                os.replace(folder, self.files(key))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _path(self, key: str) -> Path:
        return self.root / f"{key}.json"


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below `folder`, by its name there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.exists() else []
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
