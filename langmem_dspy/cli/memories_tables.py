"""Memories as tables: what the memories commands show."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from langmem_dspy.memories.known import read_value
from langmem_dspy.records import Item, Provenance, Revision, SearchItem

KEY_WIDTH = 8  # characters of a key that are shown; `show` and `history` take as many as tell it apart


def items_table(items: Sequence[Item], *, title: str | None = None, explain: bool = False) -> Table:
    """Items, one a row; scores and namespaces where they tell something."""
    scored = any(isinstance(item, SearchItem) and item.score is not None for item in items)
    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    if scored:
        table.add_column("score", justify="right")
    table.add_column("memory", ratio=1)
    table.add_column("namespace", style="dim")
    table.add_column("key", style="cyan", no_wrap=True)
    table.add_column("updated", style="dim", no_wrap=True)
    if explain:
        table.add_column("parts of the score", style="dim")
    for item in items:
        cells: list[str | Text] = [_score(item)] if scored else []
        cells += [shown(item.value), _path(item), Text(short(item.key)), when(item.updated_at)]
        if explain:
            cells.append(_explained(item))
        table.add_row(*cells)
    return table


def item_table(item: Item) -> Table:
    """Everything about one item."""
    table = Table(show_header=False, show_edge=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(ratio=1)
    kind, content = read_value(item.value)
    rows: dict[str, Any] = {"memory": shown(item.value), "kind": kind, "namespace": _path(item), "key": item.key}
    if isinstance(content, Mapping):
        rows["memory"] = Text(json.dumps(content, indent=2, ensure_ascii=False, default=str))
    rows |= {"created": when(item.created_at), "updated": f"{when(item.updated_at)} (version {item.version})"}
    rows |= {"from": source(item.provenance), "valid from": when(item.valid_from), "valid to": when(item.valid_to)}
    rows["expires"] = when(item.expires_at)
    for name, value in rows.items():
        if value:
            table.add_row(name, value if isinstance(value, Text) else Text(str(value)))
    return table


def history_table(revisions: Iterable[Revision]) -> Table:
    """The changes of one key, oldest first."""
    table = Table("version", "when", "change", "memory", "from", show_edge=False, pad_edge=False)
    for revision in revisions:
        first = revision.version == 1
        change = {"put": "written" if first else "changed", "delete": "deleted", "expire": "expired"}[revision.action]
        content = Text() if revision.value is None else shown(revision.value)
        table.add_row(str(revision.version), when(revision.at), change, content, Text(source(revision.provenance)))
    return table


def shown(value: Mapping[str, Any]) -> Text:
    """A memory in a line: its text, or its kind and fields."""
    kind, content = read_value(value)
    if isinstance(content, str):
        return Text(content)
    fields = json.dumps(content, ensure_ascii=False, default=str)
    return Text.assemble((f"{kind} ", "dim") if kind else "", fields)


def short(key: str) -> str:
    return key if len(key) <= 2 * KEY_WIDTH else key[:KEY_WIDTH]


def when(time: datetime | None) -> str:
    """In the time zone of whoever looks at it."""
    return "" if time is None else f"{time.astimezone():%Y-%m-%d %H:%M}"


def source(provenance: Provenance | None) -> str:
    if provenance is None or provenance.thread is None:
        return ""
    messages = ", ".join(str(position + 1) for position in provenance.messages)
    return f"{provenance.thread}, message {messages}" if messages else provenance.thread


def _path(item: Item) -> Text:
    return Text("/".join(item.namespace))


def _score(item: Item) -> str:
    score = item.score if isinstance(item, SearchItem) else None
    return "" if score is None else f"{score:.3f}"


def _explained(item: Item) -> str:
    parts = (item.explanation if isinstance(item, SearchItem) else None) or {}
    return "\n".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in parts.items())
