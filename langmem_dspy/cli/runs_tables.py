"""How logged runs look in a terminal."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from langmem_dspy.optimizers.showing import cautions
from langmem_dspy.tables import FittingTable

if TYPE_CHECKING:
    import pandas as pd

    from langmem_dspy.optimizers.results import DetailedResults, Origin
    from langmem_dspy.tracking import LoggedRun

SIMULATED = "[yellow]Offline simulation: these figures say nothing about real models.[/]"


def score_table(frame: pd.DataFrame) -> FittingTable:
    """One row per optimizer run, as `tracking.compare` has them."""
    note = "offline simulation: says nothing about real models" if frame["simulated"].any() else None
    cost = ("cost",) if frame["cost_usd"].fillna(0).any() else ()
    head = ("run", "optimizer", "seed", "validation", "held-out", "calls", "tokens", *cost, "stopped")
    rows = [
        (
            row["mlflow_run"][:8],
            str(row["optimizer"]).removesuffix("Optimizer"),
            _whole(row["seed"]),
            _change(row["score_before"], row["score_after"]),
            _change(row["heldout_before"], row["heldout_after"]),
            _whole(row["lm_calls"]),
            "–" if _missing(row["tokens"]) else f"{row['tokens'] / 1000:,.0f}k",
            *([_dollars(row["cost_usd"])] if cost else []),
            str(row["stop_reason"] or row["status"]),
        )
        for row in frame.to_dict("records")
    ]
    return FittingTable(head, rows, caption=note, words=("optimizer", "stopped"))


def figure_table(runs: Sequence[LoggedRun]) -> FittingTable:
    """A row per figure, a column per run: for cells and whole experiments."""
    names = dict.fromkeys(name for run in runs for name in run.metrics if not name.startswith("curve/"))
    head = ("figure", *(f"{run.name} ({run.mlflow_run[:8]})" for run in runs))
    return FittingTable(head, [(name, *(_figure(run.metrics.get(name)) for run in runs)) for name in names])


def difference_table(frame: pd.DataFrame) -> RenderableType:
    """What the runs were given that differs."""
    if frame.empty:
        return "They were given the same."
    head = ("given", *(str(name)[:8] for name in frame.columns))
    rows = [
        (str(name), *("–" if _missing(value) else _cut(str(value)) for value in values))
        for name, *values in frame.itertuples()
    ]
    return FittingTable(head, rows, words=head[1:])


def story(run: LoggedRun, most: int) -> Iterator[RenderableType]:
    """An optimizer's run from its beginning to why it stopped."""
    history, results = run.history, run.history.detailed
    if history.started.get("simulated"):
        yield SIMULATED
    held_out = history.held_out
    unseen = f"; held-out {_score(held_out['before'])} → {_score(held_out['after'])}" if held_out else ""
    scores = f"{_score(history.score_before)} → [bold]{_score(history.score_after)}[/]"
    yield f"[bold]{escape(run.name)}[/]  {run.mlflow_run}\nvalidation {scores}{unseen}"
    if history.steps:
        yield _steps(run)
    elif results is not None:
        yield _candidates(results)
    if results is not None and results.lessons:
        yield _lessons(run)
    yield from _examples(run, most)
    if results is not None:
        for head, lines in cautions(results):
            yield Text("\n  ".join([head + (":" if lines else "."), *lines]), "yellow")
        whole = results.usage.whole_run
        yield f"{whole.lm_calls:,} LM calls, {whole.tokens:,} tokens, {_dollars(whole.cost)}; {history.seconds:,.1f} s"
        yield from (Text(f"{fault.where}: {fault.message} (x{fault.count})", "yellow") for fault in results.errors)
    error = history.finished.get("error")
    yield (
        Text(f"failed: {error}", "red")
        if error
        else Text(f"stopped: {history.finished.get('stop_reason', run.status)}")
    )


def cell_table(run: LoggedRun) -> Iterator[RenderableType]:
    """A cell with its config and figures, or an experiment with its cells."""
    if run.tags.get("simulated") == "yes":
        yield SIMULATED
    yield f"[bold]{escape(run.name)}[/]  {run.mlflow_run}  {run.status.lower()}"
    table = _table("given", "", left=("given", ""))
    for name, value in run.params.items():
        table.add_row(name, Text(_cut(value)))
    yield table
    below = [one for one in run.below() if one.kind in ("cell", "optimizer")]
    yield figure_table([run] if run.kind == "cell" else [run, *below])
    if below:
        yield "Below it:\n" + "\n".join(f"  {one.mlflow_run[:8]}  {escape(one.name)}" for one in below)


def prompt_diff(before: Mapping[str, str], run: LoggedRun) -> Iterator[RenderableType]:
    """Each changed prompt, line by line; a new line says which step brought it in, and what it was measured to add."""
    after = run.results.best.prompts
    changed = [name for name in after if before.get(name, "") != after[name]]
    for name in changed:
        origins = {origin.line: origin for origin in run.results.why(name)}
        yield f"[bold]{escape(name)}[/]"
        yield line_diff(before.get(name, ""), after[name], origins)
    kept = [name for name in after if name not in changed]
    if kept:
        yield f"[dim]Unchanged: {escape(', '.join(kept))}.[/]"


def line_diff(before: str, after: str, origins: Mapping[str, Origin]) -> Text:
    """Lines gone in red, lines come in green, each with the step that `origins` knows it is from."""
    text = Text()
    for line in difflib.ndiff(before.splitlines(), after.splitlines()):
        sign, said = line[0], line[2:]
        if sign == "?":
            continue
        text.append(f"{sign} {said}", {"+": "green", "-": "red"}.get(sign, ""))
        origin = origins.get(said)
        if sign == "+" and origin is not None and origin.step:
            gain = f", {origin.lesson.gain:+.3f}" if origin.lesson else ""
            text.append(f"   step {origin.step}{gain}", "dim")
        text.append("\n")
    return text


def _steps(run: LoggedRun) -> Table:
    table = _table("step", "calls", "cost", "train", "valid", "best", "kept", "blamed", left=("blamed",))
    for row in run.steps().to_dict("records"):
        figures = (str(row["step"]), _whole(row["lm_calls"]), _dollars(row["cost"]))
        scores = (_change(row["train_before"], row["train_after"]), _score(row["candidate_score"]), _score(row["best"]))
        table.add_row(*figures, *scores, "✓" if row["accepted"] else "", Text(row["blamed"]))
    return table


def _candidates(results: DetailedResults) -> Table:
    """Of a run that told of no steps, as those of other libraries' optimizers, what it ended with."""
    table = _table("candidate", "calls", "valid", "best", "changed", "why", left=("changed", "why"))
    for candidate in results.candidates:
        best = "✓" if candidate.index == results.best_index else ""
        changed = Text(", ".join(candidate.changed) or "–")
        figures = (str(candidate.index), _whole(candidate.lm_calls), _score(candidate.score))
        table.add_row(*figures, best, changed, Text(candidate.reason))
    return table


def _lessons(run: LoggedRun) -> Table:
    table = _table("step", "prompt", "gain", "fate", "lesson", left=("prompt", "fate", "lesson"))
    for lesson in run.results.lessons:
        style = "" if lesson.fate == "in force" else "dim"
        gain = f"{lesson.gain:+.3f}" if lesson.tried_on else "–"
        table.add_row(str(lesson.step), lesson.predictor, gain, lesson.fate, Text(_cut(lesson.text, 200)), style=style)
    return table


def _examples(run: LoggedRun, most: int) -> Iterator[RenderableType]:
    frame = run.examples()
    for split, some in frame.groupby("split", sort=False):
        counts = some["change"].value_counts()
        said = ", ".join(f"{counts.get(change, 0)} {change}" for change in ("broken", "fixed", "same"))
        yield f"[bold]Examples, {split}[/]: {said}"
        lost = some[some["change"] == "broken"].head(most).to_dict("records")
        yield from (
            f"  [red]{escape(row['example'])}[/] {_score(row['before'])} → {_score(row['after'])}" for row in lost
        )


def _table(*head: str, caption: str | None = None, left: Sequence[str] = ()) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=caption)
    for name in head:
        # Words may fold where there is little room, figures never.
        words = name in left and name != "run"
        justify: Literal["left", "right"] = "left" if name in left else "right"
        table.add_column(name, justify=justify, no_wrap=not words, min_width=11 if words else None)
    return table


def _missing(value: Any) -> bool:
    return value is None or value != value  # NaN is what pandas makes of None among numbers


def _score(value: Any) -> str:
    return "–" if _missing(value) else f"{value:.3f}"


def _change(before: Any, after: Any) -> str:
    return "–" if _missing(before) and _missing(after) else f"{_score(before)} → {_score(after)}"


def _whole(value: Any) -> str:
    return "–" if _missing(value) else f"{value:,.0f}" if isinstance(value, int | float) else str(value)


def _dollars(value: Any) -> str:
    return "–" if _missing(value) or not value else f"${value:,.4f}"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}"


def _cut(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
