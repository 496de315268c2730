"""How memories look in a notebook and in a terminal, and as a frame: what is known, and what a conversation changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from langmem_dspy.errors import InputError
from langmem_dspy.markup import GREEN, RED, Markup, folded, joined, table, tag
from langmem_dspy.memories.known import read_value
from langmem_dspy.memories.schemas import Dropped, ExtractedMemory, Insert, Operation, Update, as_text
from langmem_dspy.records import Item, SearchItem
from langmem_dspy.word_diffs import inline_html

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

_TEXT = 400  # characters of a memory that a table shows


class MemoryTable(Sequence[dict[str, Any]]):
    """Memories as rows: kind, content, key, and where they have one, namespace, score and time of the last change."""

    def __init__(self, memories: Iterable[ExtractedMemory | Item]) -> None:
        self._rows = [_row(memory) for memory in memories]
        given = {name for row in self._rows for name, value in row.items() if value is not None}
        self.columns = [name for name in _COLUMNS if name in given or name in ("kind", "content", "key")]

    def __getitem__(self, at: Any) -> Any:
        return self._rows[at]

    def __len__(self) -> int:
        return len(self._rows)

    def to_frame(self) -> pd.DataFrame:
        """One row per memory; `content` as a text."""
        import pandas as pd

        return pd.DataFrame(self._rows, columns=self.columns)

    def __repr__(self) -> str:
        return "\n".join("  ".join(cells) for cells in self._cells()) or "no memories"

    def __rich__(self) -> RenderableType:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        shown = Table(*self.columns, box=SIMPLE_HEAD, padding=(0, 1))
        for cells in self._cells():
            shown.add_row(*map(Text, cells))
        return shown

    def _repr_html_(self) -> Markup:
        return table(self.columns, self._cells()) or tag("p", tag("em", "no memories"))

    def _cells(self) -> Iterator[list[str]]:
        for row in self._rows:
            yield [_cell(name, row[name]) for name in self.columns]


_COLUMNS = ("score", "kind", "content", "namespace", "key", "updated")


def memory_table(memories: Iterable[ExtractedMemory | Item]) -> MemoryTable:
    """What `enrich`, a store's `search` or a memory module gave, as a table for notebook, terminal and pandas."""
    return MemoryTable(memories)


def _row(memory: Any) -> dict[str, Any]:
    if isinstance(memory, Item):
        kind, content = read_value(memory.value)
        return {
            "score": memory.score if isinstance(memory, SearchItem) else None,
            "kind": kind or "",
            "content": _content(content),
            "namespace": "/".join(memory.namespace),
            "key": memory.key,
            "updated": memory.updated_at,
        }
    if isinstance(memory, ExtractedMemory):
        kind, text = type(memory.content).__name__, as_text(memory.content)
        return dict.fromkeys(_COLUMNS) | {"kind": kind, "content": text, "key": memory.id}
    raise InputError(f"memory_table shows extracted memories and store items; got {type(memory).__name__} {memory!r}")


def _content(content: Any) -> str:
    if isinstance(content, dict):
        return ", ".join(f"{name}: {value}" for name, value in content.items() if value is not None)
    return str(content)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "score":
        return f"{value:.2f}"
    if name == "updated":
        return f"{value:%Y-%m-%d %H:%M}"
    text = str(value)
    return text[:8] if name == "key" else text if len(text) <= _TEXT else f"{text[: _TEXT - 1]}…"


# --- what a module returns ---


def prediction_html(fields: Any) -> Markup:
    """The queries, memories, operations and what was dropped, of those that a memory module's Prediction has."""
    queries = fields.get("queries")
    asked = tag("p", "searched for: ", ", ".join(map(repr, queries))) if queries else ""
    operations, dropped = fields.get("operations"), fields.get("dropped")
    changes = Markup() if operations is None else _changes(operations)
    known = MemoryTable(fields.get("items", fields.get("memories")) or ())
    shown = known._repr_html_() if operations is None else folded(f"{len(known)} memories", known._repr_html_())
    lost = folded(f"{len(dropped)} not done", table(("asked for", "reason"), map(_lost, dropped))) if dropped else ""
    return tag("div", asked, changes, shown, lost)


def _changes(operations: Sequence[Operation]) -> Markup:
    return table(("", "memory"), map(_change, operations)) or tag("p", tag("em", "nothing changed"))


def _change(operation: Operation) -> tuple[Markup, Markup]:
    if isinstance(operation, Insert):
        return _mark("new", GREEN), joined(as_text(operation.content))
    if isinstance(operation, Update):
        return _mark("changed", GREEN), inline_html(as_text(operation.before), as_text(operation.content))
    return _mark("deleted", RED), tag("del", as_text(operation.before))


def _mark(text: str, colour: str) -> Markup:
    return tag("span", text, style=f"background:{colour}")


def _lost(dropped: Dropped) -> tuple[str, str]:
    return f"{dropped.op} {dropped.content}".strip(), dropped.reason
