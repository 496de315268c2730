"""A cell measured again, as it is told."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from langmem_dspy.experimenting.cells import Found
from langmem_dspy.experimenting.replaying import Replayed

THEN = Found(
    key="0",
    experiment="toy",
    variant="[red]plain",
    seed=0,
    config={},
    varied={"names": "[/b]"},
    row={"score": 1, "recall[5]": 1, "ms": 7},
    points=(),
    files={},
    compiles=(),
    simulated=False,
    versions={"lib[extra]": "[1]"},
    source="toy.py",
    seconds=1.0,
    at=0.0,
)


def told(**now: object) -> str:
    console = Console(width=100)
    with console.capture() as caught:
        console.print(Replayed(THEN, replace(THEN, **now), frozenset({"ms"})))
    return caught.get()


def test_names_and_values_in_brackets_are_told_as_they_are():
    said = told(row={"score": 1, "recall[5]": "[/x]"}, versions={"lib[extra]": "[2]"})
    assert "differs  toy, [red]plain names=[/b] seed 0:" in said
    assert "recall[5]: 1 then, [/x] now" in said
    assert "lib[extra] was [1], is [2]" in said
    assert "equal    toy, [red]plain names=[/b] seed 0: 2 figures" in told()


def test_columns_of_time_are_not_compared():
    assert "equal" in told(row={**THEN.row, "ms": 900})
