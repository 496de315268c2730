"""Measuring the cells of a plan: one after the other, each kept before the next begins."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from langmem_dspy._version import __version__
from langmem_dspy.events import CompileStarted, subscribe
from langmem_dspy.experimenting.cells import Cell, Found, cell_key, checked
from langmem_dspy.experimenting.configs import files_digest, is_simulated, models_of, to_json
from langmem_dspy.experimenting.ending import if_it_ends_early
from langmem_dspy.experimenting.keeping import DEFAULT_FOLDER, Kept, digests
from langmem_dspy.experimenting.logged import Logged
from langmem_dspy.experimenting.outcomes import Outcome
from langmem_dspy.experimenting.sources import code_digest, local_sources
from langmem_dspy.experimenting.varying import Plan
from langmem_dspy.optimizers.progress import comparison_progress

if TYPE_CHECKING:
    from rich.console import Console

    from langmem_dspy.experimenting.defining import Experiment

C = TypeVar("C")


@dataclass(frozen=True)
class Task(Generic[C]):
    """One cell to be measured."""

    key: str
    config: C
    varied: Mapping[str, str]
    variant: str
    seed: int


class Running(Generic[C]):
    """One run of an experiment."""

    def __init__(
        self,
        experiment: Experiment[C],
        plan: Plan[C],
        *,
        track: bool = True,
        tracking_uri: str | os.PathLike[str] | None = None,
        folder: str | os.PathLike[str] | None = None,
        console: Console | None = None,
    ) -> None:
        self.experiment, self.plan, self.console = experiment, plan, console
        self.kept = Kept(Path(folder) if folder is not None else DEFAULT_FOLDER, experiment.name)
        self.models = models_of(plan.configs[0][1])
        self.simulated = is_simulated(plan.configs[0][1])
        self.sources = local_sources(experiment.source)
        self.versions = {**versions(simulated=self.simulated), "code": code_digest(self.sources, experiment.measure)}
        self.tasks = list(self._tasks())
        self.track, self.tracking_uri = track, tracking_uri

    def run(self, *, fresh: bool = False) -> Outcome:
        """Every cell of the plan, measured now or read back."""
        self._announce()
        known = {} if fresh else {task.key: read for task in self.tasks if (read := self._kept(task))}
        if known:
            how = "with the same code, config and data; --fresh measures them again"
            self._say(f"{len(known)} of {len(self.tasks)} cells were finished before, {how}.")
        found: list[Found] = []
        with (
            if_it_ends_early(lambda: self._kept_of({*known, *(cell.key for cell in found)}, fresh=fresh)),
            Logged(self) if self.track else _untracked() as log,
            comparison_progress(self.console, self.plan.size) as show,
        ):
            for task in self.tasks:
                cell = known.get(task.key) or self._measured(task)
                found.append(cell)
                log.cell(cell)
                show(f"  {cell.said}  {self._figures(cell)}" + ("  [dim]read back[/]" if task.key in known else ""))
            outcome = Outcome(self.experiment, tuple(found), log.run_id)
            log.finished(outcome)
        return outcome

    def measure(self, task: Task[C]) -> Found:
        """The cell, measured now; its files are left in the folder of the finished cells."""
        compiles: list[str] = []
        forget = subscribe(lambda event: compiles.append(event.run_id) if isinstance(event, CompileStarted) else None)
        with self.kept.workplace(task.key) as folder:
            cell = Cell(task.config, task.variant, task.seed, folder)
            began = time.monotonic()
            try:
                row = checked(self.experiment(cell), f"{self.experiment.name}, {task.variant}, seed {task.seed},")
            finally:
                forget()
            seconds, files = time.monotonic() - began, digests(folder)
        return Found(
            key=task.key,
            experiment=self.experiment.name,
            variant=task.variant,
            seed=task.seed,
            config=to_json(task.config),
            varied=dict(task.varied),
            row=row,
            points=tuple(cell.points),
            files=files,
            compiles=tuple(compiles),
            simulated=self.simulated,
            versions=self.versions,
            source=str(self.experiment.source),
            seconds=seconds,
            at=time.time(),
        )

    def _kept(self, task: Task[C]) -> Found | None:
        """The finished cell, as one of this plan: it may have been measured where other fields varied, or none."""
        found = self.kept.read(task.key)
        return None if found is None else replace(found, varied=dict(task.varied))

    def _measured(self, task: Task[C]) -> Found:
        found = self.measure(task)
        self.kept.write(found)
        return found

    def _tasks(self) -> Iterator[Task[C]]:
        decides = {name: self.versions.get(name) for name in ("langmem_dspy", "dspy", "simulation", "code")}
        for varied, config in self.plan.configs:
            facts = {"config": to_json(config), "files": files_digest(config), **decides}
            for seed in self.plan.seeds:
                for variant in self.plan.variants:
                    key = cell_key(experiment=self.experiment.name, variant=variant, seed=seed, **facts)
                    yield Task(key, config, varied, variant, seed)

    def _announce(self) -> None:
        if self.models is not None and self.console is not None:
            loaded: Any = self.models.load()
            self.models.announce(self.console, *(loaded if isinstance(loaded, tuple) else (loaded,)))
        variants = ", ".join(self.plan.variants)
        self._say(f"{self.experiment.name}: {len(self.tasks)} cells; {variants}; baseline {self.experiment.baseline}")

    def _kept_of(self, keys: Set[str], *, fresh: bool) -> str:
        how = "the same command without --fresh" if fresh else "the same command"
        return f"{len(keys)} of {len(self.tasks)} cells are finished and kept; {how} goes on with the rest."

    def _figures(self, cell: Found) -> str:
        score = cell.row.get(self.experiment.score)
        told = f"{score:.3f}" if isinstance(score, float) else str(score)
        return f"{self.experiment.score} {told}  [dim]{cell.seconds:.1f} s[/]"

    def _say(self, line: str) -> None:
        if self.console is not None:
            self.console.print(line, highlight=False, soft_wrap=True)


class _Untracked:
    run_id: str | None = None

    def cell(self, found: Found) -> None:
        """Kept on disk alone."""

    def finished(self, outcome: Outcome) -> None:
        """Told by who asked for it."""


@contextmanager
def _untracked() -> Iterator[_Untracked]:
    yield _Untracked()


def versions(*, simulated: bool) -> dict[str, str]:
    """What a figure depends on besides code and config."""
    found = {"python": platform.python_version(), "langmem_dspy": __version__}
    for package in ("dspy", "faiss-cpu", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # vendored, or built from source
            found[package] = "unknown"
    if simulated:
        from langmem_dspy.simulation import fingerprint

        found["simulation"] = fingerprint()
    return found
