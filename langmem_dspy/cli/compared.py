"""Worlds as problems to compare optimizers on, and live progress of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from langmem_dspy.optimizers.compare import Problem, Row


def load_problem(world: str, seed: int) -> Problem:
    """A world of the simulation as a problem."""
    from langmem_dspy.optimizers.compare import Problem
    from langmem_dspy.simulation import worlds

    loaded = worlds.load(world, seed=seed)
    return Problem(
        name=world,
        student=loaded.program(),
        metric=loaded.metric,
        trainset=loaded.trainset,
        valset=loaded.valset,
        testset=loaded.testset,
        guidance=loaded.guidance,
    )


@contextmanager
def comparison_progress(console: Console, title: str, runs: int, note: str = "") -> Iterator[Callable[[Row], None]]:
    """A bar that counts runs, with a line for each as it ends. `note` stands behind every line."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(title, total=runs)

        def on_row(row: Row) -> None:
            progress.update(bar, advance=1)
            figures = f"{row.before:.3f} -> {row.after:.3f}  {row.lm_calls:>5} calls  {row.seconds:5.1f} s"
            progress.console.print(f"  {row.optimizer:<14} seed {row.seed}  {figures}{note}", highlight=False)

        yield on_row
