"""Progress of a compile, where someone is looking: one line per step, in a terminal, a notebook or a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from langmem_dspy.events import CandidateEvaluated, CompileFinished, CompileStarted, Event, Listener, StepFinished

if TYPE_CHECKING:
    from rich.console import Console


class Progress:
    """A listener that prints what happens. Hand it to `callbacks`; without any, a compile on a terminal uses it."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console

    def __call__(self, event: Event) -> None:
        if line := self._line(event):
            self._print(line)

    def _print(self, line: str) -> None:
        if self._console is None:
            from rich.console import Console

            self._console = Console(stderr=True)
        self._console.print(line, highlight=False, soft_wrap=True)

    def _line(self, event: Event) -> str | None:
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
            return f"  stopped: {escape(event.error or event.stop_reason)}"
        return None


def default_listeners() -> list[Listener]:
    """Progress where someone is looking."""
    return [Progress()] if _watched() else []


@contextmanager
def comparison_progress(console: Console | None, runs: int) -> Iterator[Callable[[str], None]]:
    """A bar over the runs of a comparison; what it yields ends one run with a line about it."""
    if console is None and not _watched():
        yield lambda line: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console or Console(file=sys.stderr)) as bar:
        task = bar.add_task("compare", total=runs)

        def show(line: str) -> None:
            bar.advance(task)
            bar.console.print(line, highlight=False)

        yield show


def _watched() -> bool:
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())
