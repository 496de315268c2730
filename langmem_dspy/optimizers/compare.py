"""Several optimizers on the same problems under one budget, judged on held-out examples."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Protocol

import dspy

from langmem_dspy.errors import InputError
from langmem_dspy.events import Announcer, HeldOutEvaluated, Listener
from langmem_dspy.optimizers.kinds import (
    GradientOptimizer,
    MetaPromptOptimizer,
    MultiPromptOptimizer,
    PromptMemoryOptimizer,
)
from langmem_dspy.optimizers.metrics import Metric, MetricFunction
from langmem_dspy.optimizers.peers import GEPA
from langmem_dspy.optimizers.prompts import kept_verbatim
from langmem_dspy.optimizers.results import DetailedResults
from langmem_dspy.optimizers.rollouts import evaluate, example_ids
from langmem_dspy.optimizers.run import scores_of
from langmem_dspy.replies import as_lm
from langmem_dspy.usage import Budget

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

Examples = Sequence[dspy.Example]


@dataclass(frozen=True)
class Problem:
    """A program to optimize, a metric, and three disjoint splits; only the result is ever judged on `testset`."""

    name: str
    student: dspy.Module
    metric: MetricFunction
    trainset: Examples
    valset: Examples
    testset: Examples
    guidance: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


class Compiler(Protocol):
    """What is compared: anything with DSPy's `compile` that leaves `.detailed_results` in our form."""

    def compile(self, student: dspy.Module, *, trainset: Examples, valset: Examples) -> dspy.Module: ...


@dataclass(frozen=True)
class Settings:
    """What every optimizer of a comparison is given alike."""

    metric: MetricFunction
    guidance: Mapping[str, Mapping[str, str]]
    budget: Budget
    seed: int
    reflection_lm: dspy.BaseLM | None
    num_threads: int | None
    callbacks: Sequence[Listener]


def _ours(face: Callable[..., Compiler]) -> Callable[[Settings], Compiler]:
    return lambda s: face(**{name: getattr(s, name) for name in Settings.__dataclass_fields__}, max_steps=1000)


def _gepa(s: Settings) -> Compiler:
    shared = ("metric", "budget", "seed", "reflection_lm", "num_threads", "callbacks")
    return GEPA(**{name: getattr(s, name) for name in shared})


OPTIMIZERS: dict[str, Callable[[Settings], Compiler]] = {
    "gradient": _ours(GradientOptimizer),
    "metaprompt": _ours(MetaPromptOptimizer),
    "prompt_memory": _ours(PromptMemoryOptimizer),
    "multi_prompt": _ours(MultiPromptOptimizer),
    "gepa": _gepa,
}


@dataclass(frozen=True)
class Row:
    """One optimizer on one problem with one seed. `before` and `after` are means on the held-out testset, [0, 1]."""

    optimizer: str
    problem: str
    seed: int
    before: float
    after: float
    lm_calls: int
    tokens: int
    prompts_changed: int
    variables_kept: bool
    seconds: float
    stop_reason: str
    run_id: str

    @property
    def gain(self) -> float:
        return self.after - self.before


@dataclass(frozen=True)
class Comparison:
    """The rows of a comparison, and how they look. `simulated`: the figures say nothing about real models."""

    rows: tuple[Row, ...]
    budget: Budget
    models: Mapping[str, str]
    simulated: bool
    results: tuple[DetailedResults, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """One row per run."""
        import pandas as pd

        return pd.DataFrame([{**asdict(row), "gain": row.gain} for row in self.rows])

    def summary(self) -> list[dict[str, Any]]:
        """Means per optimizer over seeds, the best held-out score first. `spread`: standard deviation of `after`."""
        names = dict.fromkeys(row.optimizer for row in self.rows)
        return sorted((self._mean_of(name) for name in names), key=lambda entry: -entry["after"])

    def _mean_of(self, name: str) -> dict[str, Any]:
        rows = [row for row in self.rows if row.optimizer == name]
        means = {key: fmean(getattr(row, key) for row in rows) for key in _MEANS}
        spread = stdev(row.after for row in rows) if len(rows) > 1 else 0.0
        kept = sum(row.variables_kept for row in rows)
        return {
            "optimizer": name,
            **means,
            "spread": spread,
            "variables_kept": f"{kept}/{len(rows)}",
            "runs": len(rows),
        }

    def __rich__(self) -> RenderableType:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        seeds = max(entry["runs"] for entry in self.summary())
        note = "; offline simulation: says nothing about real models" if self.simulated else ""
        title = f"Held-out score before and after, mean of {seeds} seed{'s' if seeds > 1 else ''}{note}"
        models = f"task {self.models['task']}, reflection {self.models['reflection']}"
        table = Table(title=title, caption=models, box=SIMPLE_HEAD, padding=(0, 1))
        table.add_column("optimizer", no_wrap=True)
        for heading in _HEADINGS[1:]:
            table.add_column(heading, justify="right", no_wrap=True)
        for cells in self._cells():
            table.add_row(*cells)
        return table

    def _cells(self) -> list[list[str]]:
        return [
            [
                entry["optimizer"],
                f"{entry['before']:.3f}",
                f"{entry['after']:.3f} ±{entry['spread']:.2f}",
                f"{entry['gain']:+.3f}",
                f"{entry['lm_calls']:.0f}",
                f"{entry['tokens'] / 1000:,.0f}k",
                f"{entry['prompts_changed']:.1f}",
                entry["variables_kept"],
                f"{entry['seconds']:.1f}",
            ]
            for entry in self.summary()
        ]

    def _repr_html_(self) -> str:
        note = "<p><em>Offline simulation: says nothing about real models.</em></p>" if self.simulated else ""
        head = "".join(f"<th>{name}</th>" for name in _HEADINGS)
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>" for cells in self._cells())
        return f"{note}<table><tr>{head}</tr>{body}</table>"


_MEANS = ("before", "after", "gain", "lm_calls", "tokens", "prompts_changed", "seconds")
_HEADINGS = ("optimizer", "before", "after", "gain", "calls", "tokens", "changed", "vars kept", "sec")


def compare_optimizers(
    problem: Problem | Callable[[int], Problem],
    *,
    optimizers: Iterable[str] | Mapping[str, Callable[[Settings], Compiler]] = tuple(OPTIMIZERS),
    budget: Budget,
    seeds: Sequence[int] = (0, 1, 2),
    task_lm: str | dspy.BaseLM | None = None,
    reflection_lm: str | dspy.BaseLM | None = None,
    num_threads: int | None = None,
    callbacks: Sequence[Listener] = (),
    on_row: Callable[[Row], None] | None = None,
) -> Comparison:
    """Compile the same student with each optimizer and seed, under one budget each, and judge on the testset.

    `problem`: a Problem, or a function from a seed to one, for problems that differ by seed. `optimizers`: names out of
    `OPTIMIZERS`, or {name: function from Settings to an optimizer}. `on_row` hears of every run as it ends.
    """
    chosen = _chosen(optimizers)
    task, reflection = as_lm(task_lm), as_lm(reflection_lm if reflection_lm is not None else task_lm)
    rows: list[Row] = []
    results: list[DetailedResults] = []
    with dspy.context(lm=task):
        for seed in seeds:
            posed = problem(seed) if callable(problem) and not isinstance(problem, Problem) else problem
            before = _held_out(posed, posed.student, num_threads)
            for name, make in chosen.items():
                settings = Settings(
                    posed.metric, posed.guidance, budget, seed, reflection, num_threads, tuple(callbacks)
                )
                row, result = _run(name, make(settings), posed, settings, before)
                rows.append(row)
                results.append(result)
                if on_row is not None:
                    on_row(row)
    models = {"task": task.model, "reflection": reflection.model}
    return Comparison(tuple(rows), budget, models, any(result.simulated for result in results), tuple(results))


def _chosen(optimizers: Any) -> Mapping[str, Callable[[Settings], Compiler]]:
    if isinstance(optimizers, Mapping):
        return optimizers
    names = [optimizers] if isinstance(optimizers, str) else list(optimizers)
    if unknown := [name for name in names if name not in OPTIMIZERS]:
        raise InputError(f"unknown optimizers {unknown}; choose from {list(OPTIMIZERS)}")
    if not names:
        raise InputError(f"no optimizers to compare; choose from {list(OPTIMIZERS)}")
    return {name: OPTIMIZERS[name] for name in names}


def _held_out(problem: Problem, program: dspy.Module, num_threads: int | None) -> dict[str, float]:
    examples = dict(zip(example_ids(problem.testset), problem.testset, strict=True))
    return scores_of(evaluate(program, examples, Metric(problem.metric), num_threads or 8))


def _run(
    name: str, optimizer: Compiler, problem: Problem, settings: Settings, before: Mapping[str, float]
) -> tuple[Row, DetailedResults]:
    started = time.monotonic()
    compiled = optimizer.compile(problem.student, trainset=problem.trainset, valset=problem.valset)
    seconds = time.monotonic() - started
    result: DetailedResults = compiled.detailed_results
    after = _held_out(problem, compiled, settings.num_threads)
    shared = before.keys() & after.keys()
    announce = Announcer(settings.callbacks)
    means = fmean(before[i] for i in shared), fmean(after[i] for i in shared)
    announce(HeldOutEvaluated(result.run_id, name, problem.name, settings.seed, *means, dict(before), dict(after)))
    return (
        Row(
            optimizer=name,
            problem=problem.name,
            seed=settings.seed,
            before=means[0],
            after=means[1],
            lm_calls=result.usage.lm_calls,
            tokens=result.usage.tokens,
            prompts_changed=len(result.changed),
            variables_kept=_variables_kept(result),
            seconds=seconds,
            stop_reason=result.stop_reason,
            run_id=result.run_id,
        ),
        result,
    )


def _variables_kept(result: DetailedResults) -> bool:
    before, after = result.baseline.prompts, result.best.prompts
    return all(kept_verbatim(before[name]) == kept_verbatim(after[name]) for name in before)
