"""How a bulk extraction goes: a bar while it runs, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from langmem_dspy.memories.bulk_extraction import Extracted
from langmem_dspy.usage import Meter, Usage

if TYPE_CHECKING:
    from rich.console import Console

_SHOWN = 10  # reasons that are printed one by one


class Tally:
    """What became of `total` conversations, counted as it comes."""

    def __init__(self, total: int, meter: Meter) -> None:
        self.total, self._meter = total, meter
        self._states: Counter[str] = Counter()
        self._written: Counter[str] = Counter()
        self._faults: list[tuple[str, str]] = []
        self._dropped: list[tuple[str, str]] = []

    @property
    def seen(self) -> int:
        return self._states.total()

    @property
    def finished(self) -> bool:
        """Whether each conversation is done, now or before."""
        return self._states["extracted"] + self._states["known"] == self.total

    @property
    def found_nothing(self) -> bool:
        """Whether conversations were extracted, and nothing came of any."""
        return self._states["extracted"] > 0 and not self._written

    def unreadable(self, name: str, reason: str) -> None:
        self._states["failed"] += 1
        self._faults.append((name, reason))

    def add(self, extracted: Extracted) -> None:
        self._states[extracted.state] += 1
        self._written.update(type(operation).__name__ for operation in extracted.operations)
        name = extracted.conversation.name
        if extracted.state == "failed":
            first, *_ = str(extracted.error).splitlines() or [""]  # DSPy explains itself at length below it
            self._faults.append((name, f"{type(extracted.error).__name__}: {first}"))
        self._dropped += [(name, f"{d.op} {d.id or d.content[:60]}: {d.reason}") for d in extracted.dropped]

    def spent(self) -> str:
        """Calls, tokens and cost up to now."""
        return _spent(self._meter.report().total)

    def line(self) -> str:
        failed = self._states["failed"]
        return self.spent() + (f" · [red]{failed:,} failed[/]" if failed else "")

    def report(self, stopped: str | None, store: Path) -> list[str]:
        """What a person wants to know when it has ended."""
        states, written = self._states, self._written
        left = self.total - states["extracted"] - states["known"] - states["failed"]
        parts = [f"[bold]{states['extracted']:,}[/] of {self.total:,} conversations extracted"]
        parts += [f"{states['known']:,} were done before"] if states["known"] else []
        parts += [f"[red]{states['failed']:,} failed[/]"] if states["failed"] else []
        parts += [f"[yellow]{left:,} left[/]"] if left else []
        lines = [", ".join(parts)]
        lines.append(
            f"Memories in {escape(str(store))}: {written['Insert']:,} new, {written['Update']:,} updated, "
            f"{written['Delete']:,} deleted; {self.spent()}, {self._meter.report().seconds:.1f} s"
        )
        lines += _listed("[red]✗[/]", self._faults, "failures")
        lines += _listed("[yellow]·[/] not done:", self._dropped, "operations that were not done")
        if left:
            limit = self._meter.refused
            why = f"the budget is spent, give a larger --{limit.replace('_', '-')}" if limit else stopped
            lines.append(f"[yellow]Stopped:[/] {escape(why or 'interrupted')}")
        if left:
            lines.append("Run the same command again to go on: what is done is not done twice.")
        elif not self.finished:
            lines.append("Mend what failed and run the same command again: what is done is not done twice.")
        return lines


@contextmanager
def progress(console: Console, tally: Tally) -> Iterator[Callable[[], None]]:
    """A bar; what it yields brings it up to date."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(tally.line(), total=tally.total, completed=tally.seen)
        yield lambda: bar.update(task, completed=tally.seen, description=tally.line())


def _listed(mark: str, faults: list[tuple[str, str]], what: str) -> list[str]:
    """Reasons, one a line, with the first that it was the fault of."""
    names: dict[str, list[str]] = {}
    for name, reason in faults:
        names.setdefault(reason, []).append(name)
    shown = list(names.items())[:_SHOWN]
    lines = [f"{mark} {escape(_first_of(whose))}: {escape(reason)}" for reason, whose in shown]
    more = len(faults) - sum(len(whose) for _, whose in shown)
    return [*lines, f"  and {more:,} more {what}"] if more > 0 else lines


def _first_of(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1:,} more"


def _spent(usage: Usage) -> str:
    cost = f"${usage.cost:,.4f}" if usage.cost else ""
    if usage.unpriced_calls:
        cost = f"at least {cost}" if cost else ""
    tokens = f"{usage.lm_calls:,} calls · {usage.tokens:,} tokens"
    return f"{tokens} · {cost}" if cost else tokens
