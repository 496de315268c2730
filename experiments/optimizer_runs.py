"""One optimizer on one world under one budget, whoever wrote it, and what it is judged by.

Ours run in this process, peers at a desk in environments of their own (`peers/`); calls are counted for all of them
where they reach the model. What is judged is what the optimizer would have given back after so many calls.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, TypeVar

import dspy
from peers.desk import Checkpoint, CountingEngine, Rolling
from peers.running import PEERS, as_settings, run_peer

from langmem_dspy import Budget
from langmem_dspy.errors import InputError
from langmem_dspy.events import StepFinished
from langmem_dspy.experimenting import Cell, ModelOptions, Row
from langmem_dspy.optimizers.compare import OPTIMIZERS, Settings
from langmem_dspy.simulation import SimulatedEngine
from langmem_dspy.simulation.worlds import World
from langmem_dspy.simulation.worlds.pipeline import instructions

UNTUNED = "untuned"
OURS = tuple(name for name in OPTIMIZERS if name != "gepa")
VARIANTS = (UNTUNED, *OURS, *PEERS)
POINTS = 8  # of a curve, at most; each costs an evaluation on the test set


@dataclass(frozen=True)
class Optimized:
    """What an optimizer gave back. `leaks`: replies of the simulation with a rule that no request held; must be 0."""

    prompts: Mapping[str, str]
    checkpoints: Sequence[Checkpoint]
    lm_calls: int
    tokens: int
    seconds: float = 0.0
    leaks: int | None = None


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The problem and the budget.

    Parameters
    ----------
    world
        The problem; its rules differ by seed.
    lm_calls
        Budget of each run.
    models
        Which models answer.
    """

    world: str
    lm_calls: int = 1500
    models: ModelOptions = ModelOptions()


C = TypeVar("C", bound=RunConfig)


def measured(cell: Cell[C], world: World) -> Row:
    """The row of the cell's optimizer on `world`."""
    config = cell.config
    result = optimized(cell.variant, world, config.lm_calls, config.models, cell.seed)
    return judged(cell, world, result)


def optimized(variant: str, world: World, budget: int, models: ModelOptions, seed: int) -> Optimized:
    """Run the optimizer of this name. Raises `InputError` for one there is none of, or for a peer on a real model."""
    if variant == UNTUNED:
        return Optimized(instructions(world.program()), (), 0, 0)
    if variant in OURS:
        return _ours(variant, world, budget, models, seed)
    if variant not in PEERS:
        raise InputError(f"no optimizer is named {variant!r}; there are {', '.join(VARIANTS)}")
    if not models.simulated:
        raise InputError(f"{variant} is a peer, and peers run on the offline model alone; leave out --model")
    run = run_peer(variant, world, as_settings(world), profile=models.profile, seed=seed, budget=budget)
    if run.failure:
        raise RuntimeError(f"{variant} on {world.name}, seed {seed}:\n{run.failure}")
    return Optimized(run.prompts, run.checkpoints, run.lm_calls, run.tokens, run.seconds, len(run.leaks))


def judged(cell: Cell[C], world: World, result: Optimized) -> Row:
    """The row of a run, and its curve: held-out score over LM calls and tokens."""
    judge = HeldOut(world, cell.config.models, cell.seed)
    start = instructions(world.program())
    curve = [(0, 0, judge.score(start))]
    for point in _thinned(result.checkpoints):
        curve.append((point.lm_calls, point.tokens, judge.score(point.prompts)))
    final = judge.score(result.prompts)
    curve.append((result.lm_calls, result.tokens, final))
    for calls, tokens, score in curve:
        cell.point(lm_calls=calls, held_out=score, tokens=tokens)
    program = world.with_prompts(result.prompts)
    placed = world.placement(program)
    sound = len(world.stages) - len(world.guilty)
    return {
        "held_out": final,
        "untuned": curve[0][2],
        "perfect": judge.score(world.perfect_prompts()),
        "peak_minus_final": max(score for _, _, score in curve) - final,
        "harmed": final < curve[0][2] - 1e-9,
        "placed_P": placed.precision,
        "placed_R": placed.recall,
        "variables_kept": not world.broken_variables(program),
        "sound_kept": 1 - len(world.touched(program)) / sound if sound else None,
        "lm_calls": result.lm_calls,
        "tokens": result.tokens,
        "leaks": result.leaks,
        "seconds": result.seconds,
    }


class HeldOut:
    """Prompts by their score on the test set, without noise, off any account."""

    def __init__(self, world: World, models: ModelOptions, seed: int) -> None:
        self.world = world
        lm = dspy.LM("offline/simulation", engine=SimulatedEngine(models.profile, seed), cache=False)
        self._rolling = Rolling(world, lm if models.simulated else models.load(seed)[0])
        self._judge = world.metric.without_noise()

    def score(self, prompts: Mapping[str, str]) -> float:
        outputs = (self._rolling.outputs(prompts, example)[0] for example in self.world.testset)
        said = zip(self.world.testset, outputs, strict=True)
        return fmean(self._judge(example, dspy.Prediction(**fields)).score for example, fields in said)


def _ours(variant: str, world: World, budget: int, models: ModelOptions, seed: int) -> Optimized:
    engine = CountingEngine(models.profile, seed, 10 * budget)  # our own meter stops it long before
    task, reflection = models.load(seed)
    if models.simulated:
        task = reflection = dspy.LM(task.model, engine=engine, cache=False)
    ends: list[StepFinished] = []

    def note(event: Any) -> None:
        if isinstance(event, StepFinished):
            ends.append(event)

    settings = Settings(world.metric, world.guidance, Budget(lm_calls=budget), seed, reflection, 1, (note,))
    started = time.monotonic()
    with dspy.context(lm=task, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        compiled = OPTIMIZERS[variant](settings).compile(world.program(), trainset=world.trainset, valset=world.valset)
    result = compiled.detailed_results  # type: ignore[attr-defined]
    taken = [end for end in ends if end.accepted and end.candidate is not None]
    checkpoints = [Checkpoint(end.lm_calls, end.tokens, result.candidates[end.candidate].prompts) for end in taken]
    return Optimized(
        instructions(compiled),
        checkpoints,
        result.usage.lm_calls,
        result.usage.tokens,
        time.monotonic() - started,
        len(engine.leaks) if models.simulated else None,
    )


def _thinned(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Those at which the prompts changed, and of these no more than can be evaluated in reasonable time."""
    changed = [p for i, p in enumerate(checkpoints) if i == 0 or p.prompts != checkpoints[i - 1].prompts]
    step = max(1, -(-len(changed) // POINTS))
    return changed[::step]
