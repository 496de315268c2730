"""What an experiment found: a row per cell, means over seeds, and how they look."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, NamedTuple

from langmem_dspy.experimenting.cells import Found, called
from langmem_dspy.tables import FittingTable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.console import RenderableType

    from langmem_dspy.experimenting.defining import Experiment

SIMULATED = "offline simulation: says nothing about real models"


class Mean(NamedTuple):
    """A mean over seeds. `spread`: standard deviation, 0 for one seed."""

    mean: float
    spread: float
    seeds: int

    def __str__(self) -> str:
        return _number(self.mean) + (f" ±{_number(self.spread)}" if self.seeds > 1 else "")


@dataclass(frozen=True)
class Line:
    """One variant under one config, over all seeds. `gain`: its score minus the baseline's, seed by seed."""

    variant: str
    varied: Mapping[str, str]
    figures: Mapping[str, Mean]
    gain: Mean | None

    @property
    def name(self) -> str:
        return called(self.variant, self.varied)


@dataclass(frozen=True)
class Outcome:
    """The cells of an experiment. `run_id`: MLflow's id of the whole, None where nothing was tracked."""

    experiment: Experiment[Any]
    cells: tuple[Found, ...]
    run_id: str | None = None

    @property
    def simulated(self) -> bool:
        return any(cell.simulated for cell in self.cells)

    def to_frame(self) -> pd.DataFrame:
        """One row per cell."""
        import pandas as pd

        return pd.DataFrame([{"variant": c.variant, "seed": c.seed, **c.varied, **c.row} for c in self.cells])

    def points(self) -> pd.DataFrame:
        """One row per point of a curve."""
        import pandas as pd

        return pd.DataFrame(
            [{"variant": c.variant, "seed": c.seed, **c.varied, **point} for c in self.cells for point in c.points]
        )

    def summary(self) -> list[Line]:
        """Means over seeds, in the order in which they were measured."""
        groups: dict[tuple[Any, ...], list[Found]] = {}
        for cell in self.cells:
            groups.setdefault((*cell.varied.items(), cell.variant), []).append(cell)
        return [self._line(cells) for cells in groups.values()]

    def means(self) -> dict[str, float]:
        """The score of each line, by its name: what a person compares two runs of an experiment by."""
        score = self.experiment.score
        return {f"{score}/{x.name}": x.figures[score].mean for x in self.summary() if score in x.figures}

    def plot(self) -> Figure:
        """The score by variant, or along the experiment's `x`, or along the curves that cells drew."""
        from langmem_dspy.experimenting.plots import figure

        return figure(self)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """table.md, table.csv, curves.csv where there are any, and plot.png, in `folder`."""
        into = Path(folder)
        into.mkdir(parents=True, exist_ok=True)
        (into / "table.md").write_text(self.to_markdown() + "\n", encoding="utf-8")
        self.to_frame().to_csv(into / "table.csv", index=False)
        if any(cell.points for cell in self.cells):
            self.points().to_csv(into / "curves.csv", index=False)
        self.plot().savefig(into / "plot.png", dpi=120, bbox_inches="tight")

    def to_markdown(self) -> str:
        """The table of means, for a log."""
        head, *rows = self._table()
        lines = [head, ["---"] * len(head), *rows]
        note = f"\n\n({SIMULATED})" if self.simulated else ""
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + note

    def __rich__(self) -> RenderableType:
        head, *rows = self._table(self.experiment.columns)
        seeds = len({cell.seed for cell in self.cells})
        note = f"; {SIMULATED}" if self.simulated else ""
        title = f"{self.experiment.name}: mean of {seeds} seed{'s' if seeds > 1 else ''}{note}"
        return FittingTable([name.replace("_", " ") for name in head], rows, title=title)

    def _repr_html_(self) -> str:
        head, *rows = self._table()
        note = f"<p><em>{SIMULATED.capitalize()}.</em></p>" if self.simulated else ""
        top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        return f"{note}<table><tr>{top}</tr>{body}</table>"

    def _table(self, only: Sequence[str] = ()) -> list[list[str]]:
        lines = self.summary()
        varied = list(lines[0].varied) if lines else []
        names = dict.fromkeys(name for line in lines for name in line.figures if name not in varied)
        columns = [name for name in names if not only or name in only]
        score = self.experiment.score
        gains = any(line.gain is not None for line in lines)
        head = [
            "variant",
            *varied,
            *(n for c in columns for n in ([c, "vs baseline"] if gains and c == score else [c])),
        ]
        return [head, *(list(self._cells(line, varied, columns, gains)) for line in lines)]

    def _cells(self, line: Line, varied: Sequence[str], columns: Sequence[str], gains: bool) -> Iterator[str]:
        yield line.variant + (" (baseline)" if line.variant == self.experiment.baseline else "")
        yield from (line.varied[name] for name in varied)
        for name in columns:
            yield str(line.figures[name]) if name in line.figures else "–"
            if gains and name == self.experiment.score:
                yield "" if line.gain is None else f"{'+' if line.gain.mean >= 0 else ''}{line.gain}"

    def _line(self, cells: Sequence[Found]) -> Line:
        names = dict.fromkeys(name for cell in cells for name, value in cell.row.items() if _is_figure(value))
        figures = {n: _mean([float(v) for c in cells if _is_figure(v := c.row.get(n))]) for n in names}  # type: ignore[arg-type]
        return Line(cells[0].variant, cells[0].varied, figures, self._gain(cells))

    def _gain(self, cells: Sequence[Found]) -> Mean | None:
        score, baseline = self.experiment.score, self.experiment.baseline
        if cells[0].variant == baseline:
            return None
        base = {c.seed: c.row.get(score) for c in self.cells if c.variant == baseline and c.varied == cells[0].varied}
        pairs = [(c.row.get(score), base.get(c.seed)) for c in cells]
        gains = [float(a) - float(b) for a, b in pairs if _is_figure(a) and _is_figure(b)]  # type: ignore[arg-type]
        return _mean(gains) if gains else None


def _mean(values: Sequence[float]) -> Mean:
    return Mean(fmean(values), stdev(values) if len(values) > 1 else 0.0, len(values))


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float)


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:g}" if float(value).is_integer() else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
