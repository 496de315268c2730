"""Tables at any width: nothing is cut off, and figures stay in one piece."""

from __future__ import annotations

import pytest
from rich.console import Console

from langmem_dspy.tables import FittingTable

HEAD = ("run", "optimizer", "seed", "validation", "held-out", "calls", "tokens", "cost", "stopped")
ROWS = [
    (f"dbf0023{i}", "MultiPrompt", str(i), "0.304 → 0.998", "0.250 → 0.912", "1,2[0]0", "584k", "$0.1234", why)
    for i, why in enumerate(["the trainset taught nothing more", "budget: lm_calls", "[/red] 数据"] * 3)
]


def printed(width: int, **options) -> str:
    console = Console(width=width)
    with console.capture() as caught:
        console.print(FittingTable(HEAD, ROWS, words=("optimizer", "stopped"), **options))
    return caught.get()


@pytest.mark.parametrize("width", [200, 140, 80, 40])
def test_every_cell_is_there_whole_at_any_width(width):
    said = printed(width)
    assert max(map(len, said.splitlines())) <= width
    assert "…" not in said
    for row in ROWS:
        assert all(said.count(cell) >= ROWS.count(row) for cell in row[:8])
    assert "[/red]" in said and "数据" in said


def test_where_there_is_room_a_row_is_a_line():
    assert len(printed(200).splitlines()) == len(ROWS) + 2


def test_where_there_is_little_rows_become_columns_in_as_many_tables_as_it_takes():
    lines = printed(80).splitlines()
    assert sum(line.startswith("run ") for line in lines) > 1
    assert [line.split()[0] for line in lines[:3] if "─" not in line] == ["run", "optimizer"]


def test_title_and_caption_stand_once():
    said = printed(40, title="all [of] them", caption="a note")
    assert said.count("all [of] them") == said.count("a note") == 1


def test_a_table_without_rows_is_its_head():
    console = Console(width=80)
    with console.capture() as caught:
        console.print(FittingTable(("run", "calls"), []))
    assert caught.get().split()[:2] == ["run", "calls"]
