"""Measuring a logged run again, from nothing but its id in MLflow, and telling whether the figures are the same."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langmem_dspy.errors import InputError
from langmem_dspy.experimenting.cells import Found
from langmem_dspy.experimenting.configs import from_json
from langmem_dspy.experimenting.loading import load_experiment
from langmem_dspy.experimenting.running import Running, Task
from langmem_dspy.experimenting.varying import Plan

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from langmem_dspy.experimenting.defining import Experiment


@dataclass(frozen=True)
class Replayed:
    """A cell measured again. `measured`: columns of time, which are told but not compared.

    `surroundings`: versions that are not those of the logged run, {name: (then, now)}.
    """

    then: Found
    now: Found
    measured: frozenset[str]

    @property
    def changed(self) -> dict[str, tuple[Any, Any]]:
        """Figures that differ, {column: (then, now)}; points of curves and files count as one column each."""
        names = [name for name in dict.fromkeys([*self.then.row, *self.now.row]) if name not in self.measured]
        pairs: dict[str, tuple[Any, Any]] = {name: (self.then.row.get(name), self.now.row.get(name)) for name in names}
        pairs |= {"points": (self._points(self.then), self._points(self.now))}
        files = dict.fromkeys([*self.then.files, *self.now.files])
        pairs |= {f"files/{name}": (self.then.files.get(name), self.now.files.get(name)) for name in files}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    @property
    def surroundings(self) -> dict[str, tuple[str | None, str | None]]:
        then, now = self.then.versions, self.now.versions
        names = dict.fromkeys([*then, *now])
        return {name: (then.get(name), now.get(name)) for name in names if then.get(name) != now.get(name)}

    @property
    def equal(self) -> bool:
        return not self.changed

    def __rich__(self) -> RenderableType:
        from rich.markup import escape

        who = escape(f"{self.then.experiment}, {self.then.said}")
        files = f", {len(self.then.files)} files byte by byte" if self.then.files else ""
        figures = len([name for name in self.then.row if name not in self.measured])
        if self.equal:
            lines = [f"[green]equal[/]    {who}: {figures} figures{files}"]
        else:
            lines = [f"[red]differs[/]  {who}:"]
            lines += [escape(f"  {name}: {_short(a)} then, {_short(b)} now") for name, (a, b) in self.changed.items()]
        lines += [
            f"  [yellow]{escape(f'{name} was {_short(a)[:12]}, is {_short(b)[:12]}')}[/]"
            for name, (a, b) in self.surroundings.items()
        ]
        return "\n".join(lines)

    def _points(self, found: Found) -> list[Mapping[str, float]]:
        return [{n: v for n, v in point.items() if n not in self.measured} for point in found.points]


def replay(
    run_id: str,
    *,
    tracking_uri: str | os.PathLike[str] | None = None,
    file: Path | None = None,
    console: Console | None = None,
) -> Iterator[Replayed]:
    """Measure the logged cell again, or each cell of a logged experiment, with the config that was logged.

    `file`: the experiment's; where it was written when the run was logged if None. Nothing is kept or logged. Raises
    `TrackingError` for a run that is not there, `InputError` for one that no experiment made.
    """
    from langmem_dspy.tracking.reading import read_run

    records = read_run(run_id, tracking_uri=tracking_uri).cells()
    if not records:
        raise InputError(
            f"run {run_id} was not made by an experiment, so what it ran on is not known; "
            "replay takes runs of `langmem-dspy run` and of the cells below them"
        )
    for record in records:
        then = Found.read(record)
        experiment = load_experiment(file or _source(then))
        yield Replayed(then, _measured(experiment, then, console), experiment.measured)


def _measured(experiment: Experiment[Any], then: Found, console: Console | None) -> Found:
    config = from_json(experiment.config, then.config)
    plan = Plan(((then.varied, config),), (then.variant,), (then.seed,))
    with tempfile.TemporaryDirectory(prefix="langmem-dspy-") as folder:
        running = Running(experiment, plan, track=False, folder=folder, console=console)
        return running.measure(Task(then.key, config, then.varied, then.variant, then.seed))


def _source(then: Found) -> Path:
    source = Path(then.source)
    if not source.exists():
        raise InputError(
            f"{source}, where {then.experiment} was written, is not there; its text, and that of what it "
            "imports, is among the artifacts of the experiment's run: give a copy of it with --file"
        )
    return source


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
