"""The picture of an outcome, by matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langmem_dspy.experimenting.cells import called
from langmem_dspy.optimizers.plots import Points, banded

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from langmem_dspy.experimenting.outcomes import Outcome


def figure(outcome: Outcome) -> Figure:
    """Lines over the experiment's `x` or over the curves' first name, with a band between seeds; bars otherwise."""
    from langmem_dspy.optimizers.drawn import Drawn

    drawn = Drawn()
    axes = drawn.subplots()
    x, frame = outcome.experiment.x, outcome.to_frame()
    if x is not None and x in frame and frame[x].nunique() > 1:
        _lines(axes, outcome, frame, x)
    elif any(cell.points for cell in outcome.cells):
        _curves(axes, outcome)
    else:
        _bars(axes, outcome)
    note = "  (offline simulation)" if outcome.simulated else ""
    axes.set_title(f"{outcome.experiment.name}{note}", loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    return drawn


def _lines(axes: Axes, outcome: Outcome, frame: pd.DataFrame, x: str) -> None:
    import pandas as pd

    score = outcome.experiment.score
    frame = frame.assign(**{x: pd.to_numeric(frame[x])}).dropna(subset=[score])
    for variant, some in frame.groupby("variant", sort=False):
        by_x = some.groupby(x)[score].agg(["mean", "min", "max"])
        (line,) = axes.plot(by_x.index, by_x["mean"], "o-", label=variant, markersize=4)
        axes.fill_between(by_x.index, by_x["min"], by_x["max"], alpha=0.15, color=line.get_color(), linewidth=0)
    if frame[x].min() > 0 and frame[x].max() / frame[x].min() > 50:
        axes.set_xscale("log")
    _labels(axes, x, score)


def _curves(axes: Axes, outcome: Outcome) -> None:
    """Steps held until the next point; the mean of the seeds, and a band from the lowest to the highest."""
    first = next(cell.points[0] for cell in outcome.cells if cell.points)
    x, score = list(first)[:2]
    lines: dict[str, list[Points]] = {}
    for cell in outcome.cells:
        if cell.points:
            points = [(point[x], point[score]) for point in cell.points]
            lines.setdefault(called(cell.variant, cell.varied), []).append(points)
    for name, seeds in lines.items():
        banded(axes, name, seeds)
    _labels(axes, x, score)


def _bars(axes: Axes, outcome: Outcome) -> None:
    score = outcome.experiment.score
    lines = [line for line in outcome.summary() if score in line.figures]
    for at, line in enumerate(lines):
        colour = "0.6" if line.variant == outcome.experiment.baseline else "C0"
        axes.bar(at, line.figures[score].mean, 0.6, color=colour, alpha=0.6)
        alike = (c for c in outcome.cells if c.variant == line.variant and c.varied == line.varied)
        own = [float(value) for c in alike if isinstance(value := c.row.get(score), int | float)]
        axes.plot([at] * len(own), own, "o", color="0.15", markersize=3)
    names = [line.name.replace(" ", "\n") for line in lines]
    axes.set_xticks(range(len(lines)), names, fontsize=8, rotation=0 if len(lines) < 7 else 45)
    axes.set_ylabel(score)


def _labels(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(frameon=False, fontsize=8)
