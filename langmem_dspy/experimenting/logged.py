"""The runs of an experiment in MLflow. A store that fails is told of once, and never ends the experiment."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from langmem_dspy.experimenting.cells import Found, cell_key
from langmem_dspy.experimenting.configs import flat, to_json

if TYPE_CHECKING:
    from langmem_dspy.experimenting.outcomes import Outcome
    from langmem_dspy.experimenting.running import Running

OUTCOME_FILE = "experiment.json"


class Logged:
    """Keeps MLflow up to date with a running experiment. A context manager: leaving it delivers what is waiting."""

    def __init__(self, running: Running[Any]) -> None:
        from langmem_dspy import tracking
        from langmem_dspy.tracking.cells import CellLog
        from langmem_dspy.tracking.stores import resolve_store

        self.running, self.name = running, running.experiment.name
        self.run_id: str | None = None
        self._log = CellLog(resolve_store(running.tracking_uri), self.name)
        self._enable: Callable[[], Any] = lambda: tracking.enable(self.name, running.tracking_uri)
        self._compiles: dict[str, tuple[str, ...]] = {}
        self._failed = False
        self._outcome: Outcome | None = None

    def __enter__(self) -> Logged:
        self._tracking = self._enable()
        self._try(self._begin)
        return self

    def cell(self, found: Found) -> None:
        """A finished cell; one that stands in MLflow is left as it is."""
        self._compiles[found.key] = found.compiles
        self._try(
            lambda: self._log.cell(
                found.key,
                found.said,
                params={"variant": found.variant, "seed": found.seed, **flat(found.config)},
                metrics={**found.row, "seconds": found.seconds},
                points=found.points,
                tags={**self._tags(), **_texts(found)},
                record=found.to_dict(),
                files=self.running.kept.files(found.key),
                at=found.at,
                seconds=found.seconds,
            )
        )

    def finished(self, outcome: Outcome) -> None:
        """Every cell is there."""
        self._outcome = outcome

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        delivered = self._tracking.flush(60)
        self._tracking.disable()
        status = "FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED"
        self._try(lambda: self._end(status, error))
        if self._failed or not delivered:
            self._say("[yellow]MLflow has not taken everything. The cells are kept: the same command delivers them.[/]")
        elif kind is None:
            self._say(f"In MLflow: experiment {self.name}, run {self.run_id}; [bold]langmem-dspy ui[/] opens it.")

    def _begin(self) -> None:
        running, first = self.running, self.running.plan
        key = cell_key(experiment=self.name, cells=sorted(task.key for task in running.tasks))
        params = {
            **flat(to_json(first.configs[0][1])),
            "variants": ", ".join(first.variants),
            "seeds": ", ".join(map(str, first.seeds)),
            **{
                f"varied.{name}": ", ".join(dict.fromkeys(v[name] for v, _ in first.configs))
                for name in first.configs[0][0]
            },
            "source": str(running.experiment.source),
        }
        note = {"mlflow.note.content": running.experiment.text}
        self.run_id = self._log.begin(
            key, f"{self.name} · {len(running.tasks)} cells", params, {**self._tags(), **note}
        )

    def _end(self, status: str, error: BaseException | None) -> None:
        for key, runs in self._compiles.items():
            self._log.adopt(key, runs)
        tags = {"error": f"{type(error).__name__}: {error}"} if error is not None else {}
        if self._outcome is None:
            self._log.end(status, {}, tags, None)
            return
        with tempfile.TemporaryDirectory(prefix="langmem-dspy-") as folder:
            self._outcome.save(folder)
            for name, path in self.running.sources.items():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, Path(folder) / name)
            record = {"experiment": self.name, "cells": [found.key for found in self._outcome.cells]}
            (Path(folder) / OUTCOME_FILE).write_text(json.dumps(record, indent=1), encoding="utf-8")
            self._log.end(status, self._outcome.means(), tags, Path(folder))

    def _tags(self) -> dict[str, str]:
        return {"simulated": "yes" if self.running.simulated else "no", "experiment": self.name}

    def _try(self, work: Callable[[], object]) -> None:
        if self._failed:
            return
        from rich.markup import escape

        from langmem_dspy.tracking.stores import hushed

        try:
            with hushed(threading.current_thread()):
                work()
        except Exception as error:  # noqa: BLE001 - whatever ails the store, the experiment must not suffer
            self._failed = True
            self._say(f"[yellow]MLflow: {type(error).__name__}: {escape(str(error))}[/]")

    def _say(self, line: str) -> None:
        if self.running.console is not None:
            self.running.console.print(line, highlight=False, soft_wrap=True)


def _texts(found: Found) -> dict[str, str]:
    return {name: str(value) for name, value in found.row.items() if isinstance(value, str | bool)}
