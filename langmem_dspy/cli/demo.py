"""`langmem-dspy demo`: the optimizers side by side on a small problem, tracked in MLflow."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from langmem_dspy.cli.options import ModelOptions, TrackingOptions
from langmem_dspy.experimenting.ending import if_it_ends_early


def demo(
    *,
    world: str = "support_desk",
    optimizers: Annotated[list[str] | None, Parameter(negative=())] = None,
    seeds: int = 2,
    lm_calls: int = 800,
    num_threads: int = 4,
    models: ModelOptions = ModelOptions(),
    tracking: TrackingOptions = TrackingOptions(),
) -> None:
    """Compare the optimizers on a small compound system: held-out score before and after, and the cost.

    Needs no API key. The runs are left in MLflow; `langmem-dspy ui` shows them side by side.

    Parameters
    ----------
    world
        The problem to solve; `--world list` names them.
    optimizers
        Which to compare; repeat the option for several. Default: all.
    seeds
        How many seeds; each is a problem of its own.
    lm_calls
        Budget of each run, in LM calls.
    num_threads
        Calls at the same time.
    """
    from rich.console import Console

    from langmem_dspy.optimizers.compare import OPTIMIZERS, compare_optimizers
    from langmem_dspy.simulation import worlds
    from langmem_dspy.usage import Budget

    console = Console(file=sys.stdout)  # this very stream, also while a peer's chatter is redirected
    if world == "list":
        console.print("\n".join(worlds.names()))
        return
    task, reflection = models.load()
    models.announce(console, task, reflection)
    with if_it_ends_early(lambda: _kept(tracking)), tracking.around(console):
        comparison = compare_optimizers(
            lambda seed: worlds.load(world, seed=seed),
            optimizers=optimizers or OPTIMIZERS,
            budget=Budget(lm_calls=lm_calls),
            seeds=range(seeds),
            task_lm=task,
            reflection_lm=reflection,
            num_threads=num_threads,
            console=console,
        )
        console.print(comparison)


def _kept(tracking: TrackingOptions) -> str:
    return "The runs that ended before are in MLflow: langmem-dspy ui" if tracking.track else "Nothing is kept."
