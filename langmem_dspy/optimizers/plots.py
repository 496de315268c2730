"""Pictures of a run and of a comparison, by matplotlib, which loads when the first is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from langmem_dspy.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from langmem_dspy.optimizers.comparison import Comparison
    from langmem_dspy.optimizers.results import DetailedResults

Picture = Literal["scores", "credit", "examples"]
Spent = Literal["lm_calls", "tokens", "cost"]
Points = Sequence[tuple[float, float]]  # (spent, score), in order

_SPENT: Mapping[str, str] = {"lm_calls": "LM calls", "tokens": "tokens", "cost": "cost in US dollars"}
_GRID = 200  # points of a curve that is drawn from several seeds
_SIZE = (7.2, 3.4)  # inches, of one picture
_VAL, _TRAIN, _GAIN, _LOSS = "#1f6feb", "#bf8700", "#2da44e", "#cf222e"


def results_figure(results: DetailedResults, what: Picture | None = None, over: Spent = "lm_calls") -> Figure:
    """One picture, or all in which there is something to show. Raises `InputError` for one there is none of."""
    if what is not None and what not in get_args(Picture):
        raise InputError(f"plot({what!r}): choose from {', '.join(get_args(Picture))}, or None for all")
    if over not in _SPENT:
        raise InputError(f"plot(over={over!r}): choose from {', '.join(_SPENT)}")
    panels: dict[str, Callable[[Axes], None]] = {}
    if what == "scores" or (what is None and any(c.valset_scores or c.minibatch_scores for c in results.candidates)):
        panels["scores"] = lambda axes: _scores(axes, results, over)
    if what == "credit" or (what is None and any(results.credit)):
        panels["credit"] = lambda axes: _credit(axes, results)
    if what == "examples" or (what is None and results.improvement is not None):
        panels["examples"] = lambda axes: _examples(axes, results)
    drawn = _figure(max(1, len(panels)))
    heights = [0.6 if name == "credit" and len(panels) > 1 else 1.0 for name in panels] or [1.0]
    rows = drawn.subplots(len(heights), squeeze=False, height_ratios=heights)[:, 0]
    for axes, draw in zip(rows, panels.values(), strict=False):
        draw(axes)
    if not panels:
        rows[0].set_axis_off()
        rows[0].text(0.5, 0.5, "no metric, no scores: nothing to draw", ha="center")
    note = "  (offline simulation)" if results.simulated else ""
    drawn.suptitle(f"{results.optimizer}{note}", x=0.01, ha="left", fontsize=11)
    return drawn


def comparison_figure(comparison: Comparison) -> Figure:
    """Held-out score over LM calls: mean of the seeds, and a band from the lowest to the highest.

    Steps where the comparison judged what was best in between (`curves=True`), else a dashed line from before to after.
    """
    drawn = _figure(1)
    axes = drawn.subplots()
    for name in dict.fromkeys(row.optimizer for row in comparison.rows):
        rows = [row for row in comparison.rows if row.optimizer == name]
        if all(len(row.curve) > 2 for row in rows):  # more than where it began and ended
            banded(axes, name, [row.curve for row in rows])
        else:
            ends = [((0.0, row.before), (float(row.lm_calls), row.after)) for row in rows]
            x, y = ([sum(end[i][j] for end in ends) / len(ends) for i in (0, 1)] for j in (0, 1))
            (line,) = axes.plot(x, y, "--", alpha=0.5, label=name)
            axes.plot([end[1][0] for end in ends], [end[1][1] for end in ends], "o", color=line.get_color())
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    _labels(axes, _SPENT["lm_calls"], "held-out score")
    note = "  (offline simulation)" if comparison.simulated else ""
    axes.set_title(f"{comparison.rows[0].problem if comparison.rows else ''}{note}", loc="left", fontsize=11)
    return drawn


def banded(axes: Axes, label: str, seeds: Sequence[Points]) -> None:
    """Curves that hold each value until the next, as their mean and a band from the lowest to the highest."""
    import numpy as np

    grid = np.linspace(0, max(x for points in seeds for x, _ in points), _GRID)
    held = np.array([_held(points, grid) for points in seeds])
    (line,) = axes.plot(grid, held.mean(0), label=label)
    axes.fill_between(grid, held.min(0), held.max(0), alpha=0.15, color=line.get_color(), linewidth=0)


def _held(points: Points, grid: Any) -> Any:
    import numpy as np

    at, values = np.array(points, dtype=float).T
    return values[np.clip(np.searchsorted(at, grid, side="right") - 1, 0, None)]


def _figure(panels: int) -> Figure:
    from langmem_dspy.optimizers.drawn import Drawn

    return Drawn((_SIZE[0], _SIZE[1] * panels))


def _scores(axes: Axes, results: DetailedResults, over: Spent) -> None:
    """Validation and train apart: the former is what counts, the latter is of a few other examples in each step."""
    judged = [(float(getattr(c, over)), c.score, c.accepted) for c in results.candidates if c.score is not None]
    if judged:
        axes.step(
            *_best_so_far(judged, getattr(results.usage, over)), where="post", color=_VAL, label="best, validation"
        )
        _dots(axes, judged, _VAL, "candidate, validation")
    seen = [(c, list(c.minibatch_scores.values())) for c in results.candidates]
    tried = [(float(getattr(c, over)), sum(scores) / len(scores), c.accepted) for c, scores in seen if scores]
    if tried:
        axes.plot([x for x, _, _ in tried], [y for _, y, _ in tried], ":", color=_TRAIN, linewidth=1)
        _dots(axes, tried, _TRAIN, "candidate, train minibatch")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    _labels(axes, f"{_SPENT[over]} spent (hollow: not accepted)", "score")


def _best_so_far(judged: Sequence[tuple[float, float, bool]], end: float) -> tuple[list[float], list[float]]:
    x, y = [], []
    best = 0.0
    for spent, score, accepted in judged:
        best = max(best, score) if accepted else best
        x.append(spent)
        y.append(best)
    return [*x, max(end, x[-1])], [*y, best]


def _dots(axes: Axes, points: Sequence[tuple[float, float, bool]], colour: str, label: str) -> None:
    for accepted in (True, False):
        some = [(x, y) for x, y, taken in points if taken == accepted]
        if some:
            face = colour if accepted else "white"
            said = label if accepted else None
            x, y = zip(*some, strict=True)
            axes.scatter(x, y, s=22, facecolor=face, edgecolor=colour, label=said, zorder=3)


def _credit(axes: Axes, results: DetailedResults) -> None:
    """How often each predictor was blamed, by step."""
    names = list(results.baseline.prompts)
    shares = [[step.get(name, 0.0) for step in results.credit] for name in names]
    if results.credit:
        # Squares that were blamed for all of their minibatch are full.
        axes.imshow(shares, cmap="Reds", vmin=0, vmax=1, aspect="auto")
    steps, every = len(results.credit), max(1, len(results.credit) // 12)
    axes.set_xticks(range(0, steps, every), [str(i + 1) for i in range(0, steps, every)])
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("step (the redder, the more of its minibatch was blamed)")


def _examples(axes: Axes, results: DetailedResults) -> None:
    """Each validation example before and after, the greatest loss first."""
    frame = results.to_frame("examples")
    for at, (before, after) in enumerate(zip(frame["before"], frame["after"], strict=True)):
        colour = _GAIN if after > before else _LOSS if after < before else "0.6"
        axes.plot([at, at], [before, after], color=colour, linewidth=2, alpha=0.6)
        axes.plot(at, before, "o", color="white", markeredgecolor=colour, markersize=4)
        axes.plot(at, after, "o", color=colour, markersize=4)
    lost, won = int((frame["change"] < 0).sum()), int((frame["change"] > 0).sum())
    axes.set_xticks([])
    _labels(axes, f"validation examples, before ○ and after ●: {won} better, {lost} worse", "score")


def _labels(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_ylim(-0.03, 1.03)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
