"""What compiling costs as programs and trainsets grow: LM calls to a score, and until the search stops by itself.

    python benchmarks/optimizer_scaling.py
    python benchmarks/optimizer_scaling.py --kind gradient --seeds 5

Prompts: one broken prompt in a chain of 2 to 16, a rollout being one call a prompt: `calls a prompt` must not grow.
`calls to 0.95`: LM calls spent when a candidate first scored that on held-out cases; those that never did count whole.
Cases: the museum desk, trainsets of 20 to 160: calls must grow more slowly than they do. Offline simulation.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from statistics import fmean

import cyclopts
import dspy
from rich.console import Console
from rich.table import Table

from langmem_dspy import Budget, simulation
from langmem_dspy.optimizers.compare import OPTIMIZERS, Settings
from langmem_dspy.optimizers.results import DetailedResults
from langmem_dspy.simulation import worlds
from langmem_dspy.simulation.worlds import World

PROMPTS, CASES = (2, 4, 8, 16), (20, 40, 80, 160)
REACHED = 0.95


def compiled(kind: str, world: World, seed: int) -> tuple[float, int, int, float]:
    """Held-out score, LM calls to a score of `REACHED`, LM calls, and CPU seconds of one compile."""
    lm = simulation.offline_lm(seed=seed)
    settings = Settings(world.metric, world.guidance, Budget(lm_calls=20_000), seed, lm, 1, ())
    began = time.process_time()
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        program = OPTIMIZERS[kind](settings).compile(world.program(), trainset=world.trainset, valset=world.valset)
        seconds = time.process_time() - began
        results = program.detailed_results
        return world.score(program), calls_to(world, results), results.usage.lm_calls, seconds


def calls_to(world: World, results: DetailedResults) -> int:
    """What had been spent when the prompts first were as good as `REACHED`."""
    for candidate in results.lineage():
        if world.score(world.with_prompts(candidate.prompts)) >= REACHED:
            return candidate.lm_calls
    return results.usage.lm_calls


def measured(kind: str, drawn: Iterable[World]) -> list[float]:
    """Means of what `compiled` tells."""
    runs = [compiled(kind, world, seed) for seed, world in enumerate(drawn)]
    return [fmean(run[i] for run in runs) for i in range(4)]


def main(*, kind: str = "multi_prompt", seeds: int = 3) -> None:
    """Print both tables.

    Parameters
    ----------
    kind
        Which of our optimizers.
    seeds
        Worlds for each row.
    """
    console, numbers = Console(), range(seeds)
    table = Table(title=f"{kind}: one broken prompt of k in a chain ({simulation.fingerprint()})")
    for name in ("prompts", "held-out", f"calls to {REACHED}", "LM calls", "calls a prompt", "CPU s"):
        table.add_column(name, justify="right")
    for k in PROMPTS:
        score, reached, calls, seconds = measured(
            kind, (worlds.load("guilty_prompt", s, prompts=k, n_test=20) for s in numbers)
        )
        table.add_row(str(k), f"{score:.3f}", f"{reached:.0f}", f"{calls:.0f}", f"{calls / k:.0f}", f"{seconds:.1f}")
    console.print(table)
    table = Table(title=f"{kind}: the museum desk by the size of its trainset")
    for name in ("cases", "held-out", f"calls to {REACHED}", "LM calls", "calls a case", "CPU s"):
        table.add_column(name, justify="right")
    for n in CASES:
        score, reached, calls, seconds = measured(kind, (worlds.load("museum_desk", s, n_train=n) for s in numbers))
        table.add_row(str(n), f"{score:.3f}", f"{reached:.0f}", f"{calls:.0f}", f"{calls / n:.1f}", f"{seconds:.1f}")
    console.print(table)


if __name__ == "__main__":
    cyclopts.run(main)
