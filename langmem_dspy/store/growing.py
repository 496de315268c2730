"""Arrays that only grow: what was once written at a place stays there, so a reader's slice never changes."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FIRST, _BLOCK = 16, 8192
_AT_ONCE = 8192


class Column:
    """A one-dimensional array with room at its end."""

    def __init__(self, values: Any, dtype: Any):
        self._room = np.array(values, dtype=dtype)
        self.size = len(self._room)

    @classmethod
    def over(cls, array: NDArray[Any]) -> Column:
        """A column of what is in `array`, which is read and never written: appending begins with a copy."""
        column = cls([], array.dtype)
        column._room, column.size = array, len(array)
        return column

    @property
    def array(self) -> NDArray[Any]:
        return self._room[: self.size]

    def fork(self) -> Column:
        """A copy, whose changes are its own."""
        return Column(self.array, self._room.dtype)

    def append(self, value: Any) -> None:
        if self.size == len(self._room):
            grown = np.empty(max(_FIRST, 2 * self.size), self._room.dtype)
            grown[: self.size] = self._room
            self._room = grown
        self._room[self.size] = value
        self.size += 1


class FileRows:
    """`(n, width) float32` in a file, read a row at a time: a mapping would be counted, page by page, as memory.

    `at` is where they begin, in bytes.
    """

    def __init__(self, file: Path, n: int, width: int, at: int = 0):
        self._handle = os.open(file, os.O_RDONLY)
        weakref.finalize(self, os.close, self._handle)
        self._n, self._width, self._row, self._at = n, width, 4 * width, at
        if os.fstat(self._handle).st_size < at + n * self._row:
            raise ValueError(f"{file.name} is cut off")

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(self._n)
            data = os.pread(self._handle, (stop - start) * self._row, self._at + start * self._row)
        elif len(rows) > 1 and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
            return self[int(rows[0]) : int(rows[-1]) + 1]
        else:
            handle, size, begin = self._handle, self._row, self._at
            data = b"".join([os.pread(handle, size, begin + row * size) for row in rows.tolist()])
        return np.frombuffer(data, np.float32).reshape(-1, self._width)


class Blocks:
    """Float32 vectors in blocks: growing never copies more than one block and wastes less than one.

    `base`, shaped `(n, width)`, is read and never written.
    """

    def __init__(self, width: int, base: NDArray[np.float32] | FileRows | None = None):
        self.width = width
        self._blocks: list[Any] = [] if base is None or not len(base) else [base]
        self._starts: list[int] = [0] if self._blocks else []
        self._full = self.size = len(self._blocks[0]) if self._blocks else 0

    def append(self, vector: NDArray[np.float32] | None) -> None:
        """Add a vector; None is a row of zeros."""
        if self.size == self._full:
            self._grow()
        self._blocks[-1][self.size - self._starts[-1]] = 0 if vector is None else vector
        self.size += 1

    def dots(self, query: NDArray[np.float32], start: int = 0) -> NDArray[np.float32]:
        """The inner products of rows `start:` with `query`, at the speed of memory, on one thread."""
        out = np.empty(self.size - start, np.float32)
        for first, block in zip(self._starts, self._blocks, strict=True):
            lo, hi = max(start, first), min(self.size, first + len(block))
            for at in range(lo, hi, _AT_ONCE):  # not more, or a whole file would be read into memory
                end = min(hi, at + _AT_ONCE)
                # A dot product for each row: of equal vectors it is equal wherever they stand, where a matrix product
                # may add up its last rows in another order, and ties would be broken by noise.
                np.vecdot(block[at - first : end - first], query, out=out[at - start : end - start])
        return out

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Copies of some rows, in the order asked for."""
        out = np.empty((len(rows), self.width), np.float32)
        which = np.searchsorted(np.asarray(self._starts), rows, side="right") - 1
        for b in set(which.tolist()):
            at = which == b
            out[at] = self._blocks[b][rows[at] - self._starts[b]]
        return out

    def fork(self) -> Blocks:
        """The same rows; what either of the two adds is its own."""
        forked = Blocks(self.width)
        forked._blocks, forked._starts = list(self._blocks), list(self._starts)
        forked.size = self.size
        if forked._blocks and not isinstance(forked._blocks[-1], FileRows):
            forked._blocks[-1] = forked._blocks[-1][: self.size - forked._starts[-1]]
        forked._full = self.size
        return forked

    def _grow(self) -> None:
        # Double while small, so that a namespace of ten items does not cost a block.
        last = len(self._blocks[-1]) if self._blocks else 0
        small = len(self._blocks) == 1 and last * 2 <= _BLOCK and not isinstance(self._blocks[0], FileRows)
        if small and self._blocks[0].flags.writeable:
            grown = np.empty((last * 2, self.width), np.float32)
            grown[:last] = self._blocks[0]
            self._blocks[0] = grown
            self._full = len(grown)
            return
        rows = _BLOCK if last >= _BLOCK else _FIRST if not self._blocks else max(_FIRST, last)
        self._blocks.append(np.empty((rows, self.width), np.float32))
        self._starts.append(self.size)
        self._full = self.size + rows
