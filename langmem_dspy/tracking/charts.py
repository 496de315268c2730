"""Two pictures of a run in plain HTML and SVG: scores over steps, and credit over steps as a heat map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langmem_dspy import markup

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 720, 220, 44, 30, 12, 12


def score_chart(best: Sequence[tuple[int, float]], steps: Sequence[Mapping[str, Any]]) -> str:
    """Best validation score by step as a line, each candidate's minibatch score as a dot; "" without any score.

    A dot is hollow where the candidate was not accepted.
    """
    tried = [(int(s["step"]), s["train_after"], s["accepted"]) for s in steps if s.get("train_after") is not None]
    if not best and not tried:
        return ""
    last = max(1, *(step for step, _ in best), *(step for step, *_ in tried), *(int(s["step"]) for s in steps))

    def at(step: int, score: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / last
        return x, TOP + (HEIGHT - TOP - BOTTOM) * (1 - score)

    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in _staircase([at(*point) for point in best]))
    dots = "".join(_dot(*at(step, score), f"step {step}: {score:.3f}", bool(taken)) for step, score, taken in tried)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="scores over steps">'
        f'{_axes(last)}<polyline points="{line}"/>{dots}</svg>'
        '<p class="legend"><b class="line"></b> best so far, validation set <b class="taken"></b> candidate on its '
        'minibatch, accepted <b class="left"></b> not accepted</p>'
    )


def _dot(x: float, y: float, said: str, taken: bool) -> str:
    kind = "taken" if taken else "left"
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{said}</title></circle>'


def heat_map(credit: Sequence[Mapping[str, float]], predictors: Sequence[str]) -> str:
    """How often each predictor was blamed, by step: 0 white, 1 full; "" if no one ever was."""
    if not any(credit):
        return ""
    names = dict.fromkeys([*predictors, *(name for shares in credit for name in shares)])
    rows = {name: [shares.get(name, 0.0) for shares in credit] for name in names}
    table = markup.heat_map("step", range(1, len(credit) + 1), rows, "of the minibatch")
    return f'<div class="wide">{table}</div>'


def _axes(last: int) -> str:
    lines = []
    for score in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = TOP + (HEIGHT - TOP - BOTTOM) * (1 - score)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{score:g}</text>')
    for step in range(0, last + 1, max(1, last // 10)):
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / last
        lines.append(f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{step}</text>')
    return "".join(lines)


def _staircase(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    corners = list(points[:1])
    for x, y in points[1:]:
        corners += [(x, corners[-1][1]), (x, y)]
    return corners
