"""Random choices that are functions of what was asked: the same request always meets the same luck."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Chance:
    """Draws decided by a seed, a text and the name of each draw; never by the order or number of draws."""

    def __init__(self, seed: int, text: str) -> None:
        self._root = hashlib.blake2b(f"{seed}\0{text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()

    def number(self, *name: object) -> float:
        """A number in [0, 1) for the draw of this name."""
        key = "\0".join(map(str, name)).encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(key, digest_size=7, key=self._root).digest(), "big") / 2**56

    def happens(self, probability: float, *name: object) -> bool:
        return probability > 0 and self.number(*name) < probability

    def pick(self, options: Sequence[T], *name: object) -> T:
        return options[int(self.number(*name) * len(options))]

    def shuffled(self, options: Sequence[T], *name: object) -> list[T]:
        order = sorted(range(len(options)), key=lambda i: self.number(*name, i))
        return [options[i] for i in order]

    @property
    def mark(self) -> str:
        """A short hexadecimal name for the seed and the text."""
        return self._root.hex()[:16]
