"""Which optimizer gets most out of the same budget?

Hypothesis: on a compound system, credit first (multi_prompt) beats revising prompts in turn, since a revision then goes
to the prompt whose output was wrong. Baseline: the untuned program, and dspy.GEPA under the same budget of LM calls.

    python experiments/optimizers_compared.py --seeds 5 --lm-calls 1500
    python experiments/optimizers_compared.py --model openai/gpt-4.1-mini --seeds 3 --lm-calls 600

Cost: optimizers x seeds x lm_calls calls, plus 2 x 60 held-out examples per run. Offline, about 5 s per run of 1,500
calls on one core. Without --model the offline simulation answers: its figures say nothing about real models.
"""

from __future__ import annotations

from pathlib import Path

import cyclopts
from rich.console import Console

from langmem_dspy import Budget, compare_optimizers
from langmem_dspy.cli.options import ModelOptions, TrackingOptions
from langmem_dspy.optimizers.compare import OPTIMIZERS
from langmem_dspy.simulation import worlds


def main(
    *,
    world: str = "support_desk",
    optimizers: list[str] | None = None,
    seeds: int = 5,
    lm_calls: int = 1500,
    num_threads: int = 4,
    csv: Path | None = None,
    models: ModelOptions = ModelOptions(),
    tracking: TrackingOptions = TrackingOptions(),
) -> None:
    """Run the comparison, print the table, leave the runs in MLflow.

    Parameters
    ----------
    world
        The problem; its rules differ by seed.
    optimizers
        Which to compare; repeat for several. Default: all.
    seeds
        How many problems.
    lm_calls
        Budget of each run.
    num_threads
        Calls at the same time.
    csv
        Also write one row per run here.
    """
    console = Console()
    task, reflection = models.load()
    models.announce(console, task, reflection)
    with tracking.around(console):
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
    if csv is not None:
        comparison.to_frame().to_csv(csv, index=False)


if __name__ == "__main__":
    cyclopts.run(main)
