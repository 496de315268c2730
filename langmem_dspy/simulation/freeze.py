"""The name of this version of the engine, recorded with every result it made."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable


@cache
def fingerprint() -> str:
    """Twelve hexadecimal digits that change when the engine's source does; worlds are not part of it."""
    digest = hashlib.sha256()
    for name, source in sorted(_sources(files("langmem_dspy.simulation"), "")):
        digest.update(f"{name}\0{len(source)}\0".encode() + source)
    return digest.hexdigest()[:12]


def _sources(folder: Traversable, inside: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name in ("roles",):
            found += _sources(entry, f"{entry.name}/")
        elif entry.name.endswith(".py"):
            # Line ends are a matter of the checkout, not of the engine.
            found.append((inside + entry.name, entry.read_bytes().replace(b"\r\n", b"\n")))
    return found
