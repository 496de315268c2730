"""Per-example scores of the student and of the best program, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Change = Literal["fixed", "broken", "same", "unknown"]


@dataclass(frozen=True)
class ExampleRow:
    """One validation example. `change`: "fixed" scored higher with the best program, "broken" lower."""

    example: str
    baseline: float | None
    best: float | None

    @property
    def change(self) -> Change:
        if self.baseline is None or self.best is None:
            return "unknown"
        if self.baseline == self.best:
            return "same"
        return "fixed" if self.best > self.baseline else "broken"


def example_rows(before: Mapping[str, float], after: Mapping[str, float]) -> list[ExampleRow]:
    """Every example that either was scored on, by id; what was lost most comes first."""
    rows = [ExampleRow(name, before.get(name), after.get(name)) for name in dict.fromkeys([*before, *after])]
    return sorted(rows, key=lambda row: (row.best or 0.0) - (row.baseline or 0.0))


def example_table(rows: Mapping[str, Sequence[ExampleRow]]) -> dict[str, Any]:
    """The rows of each split, in the form of MLflow's logged tables (pandas' "split"): runs are compared by them."""
    return {
        "columns": ["split", "example", "change", "baseline", "best"],
        "data": [
            [split, row.example, row.change, _short(row.baseline), _short(row.best)]
            for split, some in rows.items()
            for row in sorted(some, key=lambda row: row.example)
        ],
    }


def _short(score: float | None) -> float | None:
    return None if score is None else round(score, 4)
