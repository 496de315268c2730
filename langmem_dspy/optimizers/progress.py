"""Progress of a compile, where someone is looking: a line per step in a terminal or a log, one line in a notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from langmem_dspy.events import CandidateEvaluated, CompileFinished, CompileStarted, Event, Listener, StepFinished
from langmem_dspy.optimizers.notebook_progress import NotebookBar, NotebookProgress, in_notebook

if TYPE_CHECKING:
    from rich.console import Console

# Where a compile that is part of a comparison tells how far it is; a compile on its own tells it by itself.
_telling: ContextVar[Callable[[str], None] | None] = ContextVar("langmem_dspy_telling", default=None)


class Progress:
    """A listener that prints a line for each step. Hand it to `callbacks` for a log, which gets none unasked."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console

    def __call__(self, event: Event) -> None:
        if line := _line(event):
            self._print(line)

    def _print(self, line: str) -> None:
        if self._console is None:
            from rich.console import Console

            self._console = Console(stderr=True)
        self._console.print(line, highlight=False, soft_wrap=True)


def default_listeners() -> list[Listener]:
    """Progress where someone is looking."""
    if (tell := _telling.get()) is not None:
        return [lambda event: tell(line.strip()) if (line := _line(event)) else None]
    if in_notebook():
        return [NotebookProgress()]
    return [Progress()] if _on_a_terminal() else []


@contextmanager
def comparison_progress(console: Console | None, runs: int) -> Iterator[Callable[[str], None]]:
    """A bar over the runs of a comparison; what it yields ends one run with a line about it.

    On `console`; without one on the terminal or in the notebook someone looks at, and in a log nothing. Beside the bar
    stands the step of the compile under way.
    """
    if console is not None or _on_a_terminal():
        shown = _terminal_bar(console, runs)
    elif in_notebook():
        shown = _notebook_bar(runs)
    else:
        yield lambda line: None
        return
    with shown as (ended, tell):
        outer = _telling.set(tell)
        try:
            yield ended
        finally:
            _telling.reset(outer)


Bar = tuple[Callable[[str], None], Callable[[str], None]]  # ends a run; tells of the run under way


@contextmanager
def _terminal_bar(console: Console | None, runs: int) -> Iterator[Bar]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.text import Text

    columns = (BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console or Console(file=sys.stderr)) as bar:
        task = bar.add_task("", total=runs)

        def ended(line: str) -> None:
            bar.update(task, advance=1, description="")
            bar.console.print(line, highlight=False)

        def tell(line: str) -> None:
            step = Text.from_markup(line)
            step.truncate(max(10, bar.console.width - 40), overflow="ellipsis")  # or the bar would have no room
            bar.update(task, description=step.markup)

        yield ended, tell


@contextmanager
def _notebook_bar(runs: int) -> Iterator[Bar]:
    from rich.text import Text

    bar = NotebookBar(runs)
    try:
        yield (
            (lambda line: bar.advance(Text.from_markup(line).plain)),
            lambda line: bar.tell(Text.from_markup(line).plain),
        )
    finally:
        bar.end()


def _line(event: Event) -> str | None:
    from rich.markup import escape

    if isinstance(event, CompileStarted):
        note = " [yellow](offline simulation)[/]" if event.simulated else ""
        train, val = event.dataset["train"]["size"], event.dataset["val"]["size"]
        prompts = f"{len(event.prompts)} prompt{'s' if len(event.prompts) > 1 else ''}"
        return f"[bold]{event.optimizer}[/]{note}: {prompts}, {train} to learn from, {val} to judge on"
    if isinstance(event, CandidateEvaluated) and event.candidate == 0 and event.split == "valset":
        return f"  student: {event.score:.3f}"
    if isinstance(event, StepFinished):
        mark = "[green]✓[/]" if event.accepted else "·"
        best = "" if event.best_score is None else f"  best {event.best_score:.3f}"
        return f"  step {event.step} {mark} {escape(event.reason)}{best}  [dim]{event.lm_calls} calls[/]"
    if isinstance(event, CompileFinished):
        return f"  stopped: {escape(event.why)}"
    return None


def _on_a_terminal() -> bool:
    return not in_notebook() and sys.stderr is not None and sys.stderr.isatty()
