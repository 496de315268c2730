"""What a comparison of optimizers found: a row per run, means per optimizer, and how they look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from langmem_dspy.markup import joined, table, tag
from langmem_dspy.optimizers.results import DetailedResults
from langmem_dspy.optimizers.showing import SIMULATED
from langmem_dspy.tables import FittingTable
from langmem_dspy.usage import Budget

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.console import RenderableType


@dataclass(frozen=True)
class Row:
    """One optimizer on one problem with one seed. `before` and `after` are means on the held-out testset, [0, 1].

    `curve`: (LM calls spent, held-out score) of what was best in between, where the comparison was asked to judge that.
    """

    optimizer: str
    problem: str
    seed: int
    before: float
    after: float
    lm_calls: int
    tokens: int
    prompts_changed: int
    variables_kept: bool
    seconds: float
    stop_reason: str
    run_id: str
    curve: tuple[tuple[float, float], ...] = ()

    @property
    def gain(self) -> float:
        return self.after - self.before


@dataclass(frozen=True)
class Comparison:
    """The rows of a comparison, and how they look. `simulated`: the figures say nothing about real models."""

    rows: tuple[Row, ...]
    budget: Budget
    models: Mapping[str, str]
    simulated: bool
    results: tuple[DetailedResults, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """One row per run."""
        import pandas as pd

        rows = [{**asdict(row), "gain": row.gain} for row in self.rows]
        return pd.DataFrame(rows).drop(columns="curve", errors="ignore")

    def plot(self) -> Figure:
        """Held-out score over LM calls: the mean of the seeds, and a band from the lowest to the highest."""
        from langmem_dspy.optimizers.plots import comparison_figure

        return comparison_figure(self)

    def summary(self) -> list[dict[str, Any]]:
        """Means per optimizer over seeds, the best held-out score first. `spread`: standard deviation of `after`."""
        names = dict.fromkeys(row.optimizer for row in self.rows)
        return sorted((self._mean_of(name) for name in names), key=lambda entry: -entry["after"])

    def _mean_of(self, name: str) -> dict[str, Any]:
        rows = [row for row in self.rows if row.optimizer == name]
        means = {key: fmean(getattr(row, key) for row in rows) for key in _MEANS}
        spread = stdev(row.after for row in rows) if len(rows) > 1 else 0.0
        kept = sum(row.variables_kept for row in rows)
        return {
            "optimizer": name,
            **means,
            "spread": spread,
            "variables_kept": f"{kept}/{len(rows)}",
            "runs": len(rows),
        }

    def __repr__(self) -> str:
        means = ", ".join(f"{entry['optimizer']} {entry['after']:.3f}" for entry in self.summary())
        return f"Comparison({means}; {len(self.rows)} runs)"

    def __rich__(self) -> RenderableType:
        seeds = max(entry["runs"] for entry in self.summary())
        note = "; offline simulation: says nothing about real models" if self.simulated else ""
        title = f"Held-out score before and after, mean of {seeds} seed{'s' if seeds > 1 else ''}{note}"
        models = f"task {self.models['task']}, reflection {self.models['reflection']}"
        return FittingTable(_HEADINGS, self._cells(), title=title, caption=models)

    def _cells(self) -> list[list[str]]:
        return [
            [
                entry["optimizer"],
                f"{entry['before']:.3f}",
                f"{entry['after']:.3f} ±{entry['spread']:.2f}",
                f"{entry['lm_calls']:.0f}",
                f"{entry['tokens'] / 1000:,.0f}k",
                f"{entry['prompts_changed']:.1f}",
                entry["variables_kept"],
                f"{entry['seconds']:.0f}" if entry["seconds"] >= 10 else f"{entry['seconds']:.1f}",
            ]
            for entry in self.summary()
        ]

    def _repr_html_(self) -> str:
        note = tag("p", tag("em", SIMULATED)) if self.simulated else ""
        return joined(note, table(_HEADINGS, self._cells()))


_MEANS = ("before", "after", "gain", "lm_calls", "tokens", "prompts_changed", "seconds")
_HEADINGS = ("optimizer", "before", "after", "calls", "tokens", "changed", "vars", "sec")
