"""Tables for terminals that lose nothing where there is little room: rows become columns, a few at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

LEAST_WORDS = 11  # characters that a column of words is given at least, where it has so many


@dataclass(frozen=True)
class FittingTable:
    """Cells in rows under `head`, each printed as it is, brackets and all. The first cell names its row.

    Heads and the columns of words named in `words` may fold; figures never do. Where the terminal is too narrow even
    so, the table is turned: rows become columns, as many beside each other as there is room for.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str | None = None
    caption: str | None = None
    words: Sequence[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        if self.title:
            yield Text(self.title, "italic")
        if self._room(self._upright(), options.max_width) is not None:
            yield self._table(self._upright(), options.max_width)
        else:
            for i, some in enumerate(self._groups(options.max_width)):
                yield from [""] if i else []
                yield self._table(self._turned(some), options.max_width)
        if self.caption:
            yield Text(self.caption, "dim italic")

    def _upright(self) -> list[_Column]:
        columns = []
        for i, name in enumerate(self.head):
            cells, words = tuple(row[i] for row in self.rows), name in self.words
            folding = frozenset(range(len(cells))) if words else frozenset[int]()
            columns.append(_Column(name, cells, folding, to_right=i > 0 and not words))
        return columns

    def _turned(self, rows: Sequence[Sequence[str]]) -> list[_Column]:
        folding = frozenset(i for i, name in enumerate(self.head[1:]) if name in self.words)
        names = _Column(self.head[0], tuple(self.head[1:]), frozenset(), to_right=False)
        return [names, *(_Column(row[0], tuple(row[1:]), folding, to_right=True) for row in rows)]

    def _groups(self, width: int) -> list[list[Sequence[str]]]:
        groups: list[list[Sequence[str]]] = []
        for row in self.rows:
            if groups and self._room(self._turned([*groups[-1], row]), width) is not None:
                groups[-1].append(row)
            else:
                groups.append([row])
        return groups

    def _room(self, columns: Sequence[_Column], width: int) -> list[int] | None:
        """A width for each column, the narrow ones served first; None if there is not room for all."""
        spare = width - sum(column.least for column in columns) - 2 * len(columns)
        if spare < 0:
            return None
        given = {i: column.least for i, column in enumerate(columns)}
        for i in sorted(given, key=lambda i: columns[i].most - columns[i].least):
            more = min(spare, columns[i].most - columns[i].least)
            given[i], spare = given[i] + more, spare - more
        return [given[i] for i in range(len(columns))]

    def _table(self, columns: Sequence[_Column], width: int) -> Table:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        widths: Sequence[int | None] = self._room(columns, width) or [None] * len(columns)
        for column, wide in zip(columns, widths, strict=True):
            justify = "right" if column.to_right else "left"
            table.add_column(Text(column.head), width=wide, justify=justify, overflow="fold")  # type: ignore[arg-type]
        for cells in zip(*(column.cells for column in columns), strict=True):
            table.add_row(*map(Text, cells))
        return table


@dataclass(frozen=True)
class _Column:
    """`folding`: which of the cells are words. `least` and `most`: widths in characters."""

    head: str
    cells: tuple[str, ...]
    folding: frozenset[int]
    to_right: bool

    @property
    def least(self) -> int:
        figures = [_width(cell) for i, cell in enumerate(self.cells) if i not in self.folding]
        words = [min(LEAST_WORDS, _width(cell)) for i, cell in enumerate(self.cells) if i in self.folding]
        return max(*map(_width, self.head.split() or [""]), *figures, *words, 1)

    @property
    def most(self) -> int:
        return max(_width(self.head), *map(_width, self.cells), self.least)


def _width(text: str) -> int:
    from rich.cells import cell_len

    return max((cell_len(line) for line in text.splitlines()), default=0)
