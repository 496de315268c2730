"""Two pictures of a run in plain HTML and SVG: scores over steps, and credit over steps as a heat map."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 720, 220, 44, 30, 12, 12


def score_chart(baseline: float | None, steps: Sequence[Mapping[str, object]]) -> str:
    """Best score as a line and each candidate as a dot (hollow: not accepted), over steps; "" without scores."""
    best = [(0, baseline)] if baseline is not None else []
    best += [(_int(s["step"]), _float(s["best_score"])) for s in steps if s.get("best_score") is not None]
    dots = [(_int(s["step"]), _float(s["candidate_score"]), bool(s["accepted"])) for s in steps if _has_score(s)]
    if not best:
        return ""
    last = max(1, max(step for step, _ in best))

    def at(step: int, score: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / last
        return x, TOP + (HEIGHT - TOP - BOTTOM) * (1 - score)

    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in _staircase([at(*point) for point in best]))
    marks = "".join(
        f'<circle class="{"taken" if taken else "left"}" cx="{at(step, score)[0]:.1f}" cy="{at(step, score)[1]:.1f}" '
        f'r="4"><title>step {step}: {score:.3f}{"" if taken else ", not accepted"}</title></circle>'
        for step, score, taken in dots
    )
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="scores over steps">'
        f'{_axes(last)}<polyline points="{line}"/>{marks}</svg>'
        '<p class="legend"><b class="line"></b> best so far <b class="taken"></b> accepted candidate '
        '<b class="left"></b> candidate that was tried and left</p>'
    )


def heat_map(credit: Sequence[Mapping[str, float]], predictors: Sequence[str]) -> str:
    """How often each predictor was blamed, by step: 0 white, 1 full; "" if no one ever was."""
    if not any(credit):
        return ""
    head = "".join(f"<th>{step}</th>" for step in range(1, len(credit) + 1))
    names = list(dict.fromkeys([*predictors, *(name for shares in credit for name in shares)]))
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th>{''.join(_cell(shares.get(name, 0.0)) for shares in credit)}</tr>"
        for name in names
    )
    return f'<div class="wide"><table class="heat"><tr><th>step</th>{head}</tr>{rows}</table></div>'


def _cell(share: float) -> str:
    shade = round(min(max(share, 0.0), 1.0), 2)
    text = f"{share:.2f}".removeprefix("0") if share else "·"
    dark = ' class="dark"' if shade > 0.55 else ""
    return f'<td{dark} style="background:rgba(207,34,46,{shade})" title="{share:.0%} of the minibatch">{text}</td>'


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


def _has_score(step: Mapping[str, object]) -> bool:
    return step.get("candidate_score") is not None


def _int(value: object) -> int:
    return int(str(value))


def _float(value: object) -> float:
    return float(str(value))
