"""What an experiment is: a question's config, its variants with a baseline, and the function that measures a cell."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from langmem_dspy.errors import InputError
from langmem_dspy.experimenting.cells import Cell, Row
from langmem_dspy.experimenting.configs import check_type
from langmem_dspy.experimenting.varying import plan

if TYPE_CHECKING:
    import os

    from rich.console import Console

    from langmem_dspy.experimenting.outcomes import Outcome

C = TypeVar("C")


@dataclass(frozen=True)
class Experiment(Generic[C]):
    """One question. Made by `@experiment`; called with a `Cell`, it measures that cell and nothing else.

    `score` is the column that counts, `higher_is_better` says which way; `measured` are columns of wall or CPU time,
    which no second run repeats. `x`: the column or varied field that is the x axis of the plot, where there is one.
    `columns`: those a printed table shows, all if there are none named; files always hold all.
    """

    config: type[C]
    variants: tuple[str, ...]
    baseline: str
    score: str
    measure: Callable[[Cell[C]], Row] = field(repr=False)
    higher_is_better: bool = True
    seeds: int = 3
    measured: frozenset[str] = frozenset()
    x: str | None = None
    columns: tuple[str, ...] = ()

    def __call__(self, cell: Cell[C]) -> Row:
        return self.measure(cell)

    @property
    def name(self) -> str:
        return self.measure.__name__

    @cached_property
    def source(self) -> Path:
        """The file that the experiment is written in."""
        return Path(inspect.getsourcefile(inspect.unwrap(self.measure)) or self.measure.__module__).absolute()

    @property
    def text(self) -> str:
        """The docstring of its file: question, hypothesis, command and cost."""
        module = sys.modules.get(self.measure.__module__)
        return inspect.cleandoc((module and module.__doc__) or self.measure.__doc__ or "")

    def run(
        self,
        config: C | None = None,
        *,
        seeds: int | None = None,
        variants: Sequence[str] = (),
        vary: Sequence[str] = (),
        fresh: bool = False,
        track: bool = True,
        tracking_uri: str | os.PathLike[str] | None = None,
        folder: str | os.PathLike[str] | None = None,
        console: Console | None = None,
    ) -> Outcome:
        """Measure every cell that is not finished yet, and put all of them together.

        `seeds`: how many, from 0. `variants`: which, all if none is named; the baseline always. `vary` as on the
        command line: `["lm_calls=100,400", "seed=0..4"]`. `fresh`: measure finished cells again. `track`: leave the
        cells in MLflow (`tracking_uri` as for `tracking.enable`). `folder`: where finished cells are kept,
        `.langmem/experiments` if None. Whatever a cell raises ends the run; the cells finished before are kept.
        """
        from langmem_dspy.experimenting.running import Running

        config = self._default() if config is None else config
        cells = plan(config, self.variants, self.baseline, variants, self.seeds if seeds is None else seeds, vary)
        running = Running(self, cells, track=track, tracking_uri=tracking_uri, folder=folder, console=console)
        return running.run(fresh=fresh)

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """The experiment's own command line; `--help` explains it. `arguments`: sys.argv's if None."""
        from langmem_dspy.experimenting.command import main

        main(self, arguments)

    def _default(self) -> C:
        try:
            return self.config()
        except TypeError as error:
            raise InputError(f"{self.name} needs a config: {error}") from None


def experiment(
    config: type[C],
    *,
    variants: Sequence[str],
    baseline: str,
    score: str,
    higher_is_better: bool = True,
    seeds: int = 3,
    measured: Sequence[str] = (),
    x: str | None = None,
    columns: Sequence[str] = (),
) -> Callable[[Callable[[Cell[C]], Row]], Experiment[C]]:
    """Makes an `Experiment` of the function that measures one cell; see there for what is given."""
    check_type(config)
    if baseline not in variants:
        raise InputError(f"the baseline is one of the variants {list(variants)}, not {baseline!r}")

    def made(measure: Callable[[Cell[C]], Row]) -> Experiment[C]:
        times = frozenset(measured)
        shown = tuple(columns)
        return Experiment(config, tuple(variants), baseline, score, measure, higher_is_better, seeds, times, x, shown)

    return made


def find_experiment(module: Any, where: str) -> Experiment[Any]:
    """The one experiment of a module."""
    made = (value for value in vars(module).values() if isinstance(value, Experiment))
    found = {id(value): value for value in made if value.measure.__module__ == module.__name__}
    if len(found) != 1:
        raise InputError(f"{where} has {len(found)} experiments; a file has one, made by @experiment(...)")
    return next(iter(found.values()))
