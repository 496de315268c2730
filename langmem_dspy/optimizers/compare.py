"""Several optimizers on the same problems under one budget, judged on held-out examples."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol

import dspy

from langmem_dspy.errors import InputError
from langmem_dspy.events import Announcer, HeldOutEvaluated, Listener
from langmem_dspy.optimizers.comparison import Comparison, Row
from langmem_dspy.optimizers.kinds import (
    GradientOptimizer,
    MetaPromptOptimizer,
    MultiPromptOptimizer,
    PromptMemoryOptimizer,
)
from langmem_dspy.optimizers.metrics import Metric, MetricFunction
from langmem_dspy.optimizers.peers import GEPA
from langmem_dspy.optimizers.progress import comparison_progress
from langmem_dspy.optimizers.prompts import kept_verbatim, with_prompts
from langmem_dspy.optimizers.results import DetailedResults
from langmem_dspy.optimizers.rollouts import by_id, evaluate
from langmem_dspy.optimizers.run import scores_of
from langmem_dspy.replies import as_lm
from langmem_dspy.usage import Budget

if TYPE_CHECKING:
    from rich.console import Console

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

    def program(self) -> dspy.Module:
        return self.student


class Posed(Protocol):
    """What `compare_optimizers` needs of a problem. `Problem` and the simulation's worlds have it."""

    @property
    def name(self) -> str: ...
    @property
    def metric(self) -> MetricFunction: ...
    @property
    def trainset(self) -> Examples: ...
    @property
    def valset(self) -> Examples: ...
    @property
    def testset(self) -> Examples: ...
    @property
    def guidance(self) -> Mapping[str, Mapping[str, str]]: ...
    def program(self) -> dspy.Module: ...


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


def compare_optimizers(
    problem: Posed | Callable[[int], Posed],
    *,
    optimizers: Iterable[str] | Mapping[str, Callable[[Settings], Compiler]] = tuple(OPTIMIZERS),
    budget: Budget,
    seeds: Sequence[int] = (0, 1, 2),
    task_lm: str | dspy.BaseLM | None = None,
    reflection_lm: str | dspy.BaseLM | None = None,
    num_threads: int | None = None,
    callbacks: Sequence[Listener] = (),
    console: Console | None = None,
    curves: bool = False,
) -> Comparison:
    """Compile the same student with each optimizer and seed, under one budget each, and judge on the testset.

    `problem`: a Problem, or a function from a seed to one, for problems that differ by seed. `optimizers`: names out of
    `OPTIMIZERS`, or {name: function from Settings to an optimizer}. Live progress goes to `console`; to stderr if None
    and someone is looking. `curves`: judge on the testset what was best in between too, for a plot over LM calls; what
    that costs is part of no budget.
    """
    chosen = _chosen(optimizers)
    if not chosen or not seeds:
        raise InputError("nothing to compare: give at least one optimizer and one seed")
    task, reflection = as_lm(task_lm), as_lm(reflection_lm if reflection_lm is not None else task_lm)
    runs: list[tuple[Row, DetailedResults]] = []
    with dspy.context(lm=task), comparison_progress(console, len(chosen) * len(seeds)) as show:
        for seed in seeds:
            posed = problem(seed) if callable(problem) else problem
            student = posed.program()
            before = _held_out(posed, student, num_threads)
            for name, make in chosen.items():
                settings = Settings(
                    posed.metric, posed.guidance, budget, seed, reflection, num_threads, tuple(callbacks)
                )
                row, result = _run(name, make(settings), posed, student, settings, before, curves)
                runs.append((row, result))
                note = "  (simulation)" if result.simulated else ""
                figures = f"{row.before:.3f} -> {row.after:.3f}  {row.lm_calls:>5} calls  {row.seconds:5.1f} s"
                show(f"  {name:<14} seed {seed}  {figures}{note}")
    models = {"task": task.model, "reflection": reflection.model}
    rows, results = zip(*runs, strict=True) if runs else ((), ())
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


def _held_out(problem: Posed, program: dspy.Module, num_threads: int | None) -> dict[str, float]:
    examples = by_id(problem.testset)
    return scores_of(evaluate(program, examples, Metric(problem.metric), num_threads or 8))


def _run(
    name: str,
    optimizer: Compiler,
    problem: Posed,
    student: dspy.Module,
    settings: Settings,
    before: Mapping[str, float],
    curves: bool,
) -> tuple[Row, DetailedResults]:
    started = time.monotonic()
    compiled = optimizer.compile(student, trainset=problem.trainset, valset=problem.valset)
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
            curve=_curve(problem, student, result, means, settings.num_threads) if curves else (),
        ),
        result,
    )


def _curve(
    problem: Posed, student: dspy.Module, result: DetailedResults, ends: tuple[float, float], num_threads: int | None
) -> tuple[tuple[float, float], ...]:
    """The held-out score at the start, of each candidate on the way to the best one, and at the end."""
    between = result.lineage()[1:-1]
    scores = [_held_out(problem, with_prompts(student, c.prompts), num_threads) for c in between]
    spent = [float(candidate.lm_calls) for candidate in between]
    spent_at_end, made_at = float(result.usage.lm_calls), float(result.best.lm_calls)
    best = [(made_at, ends[1])] if result.best_index and made_at < spent_at_end else []
    points = [(0.0, ends[0]), *zip(spent, (fmean(found.values()) for found in scores), strict=True), *best]
    return (*points, (spent_at_end, ends[1]))


def _variables_kept(result: DetailedResults) -> bool:
    before, after = result.baseline.prompts, result.best.prompts
    return all(kept_verbatim(before[name]) == kept_verbatim(after[name]) for name in before)
