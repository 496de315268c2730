"""Which optimizer gets most out of the same budget, ours or those people would pick instead?

Hypothesis: a search by lessons, each tried and credited by itself, reaches with a tenth of the calls what a search over
whole prompts reaches; optimizers without validation end below the untuned program where most prompts are right already.
Baseline: the untuned program.

    python experiments/peers/environments.py make
    langmem-dspy run experiments/optimizers_compared.py --vary world=support_desk,expense_office
    langmem-dspy run experiments/optimizers_compared.py --variants gradient --model openai/gpt-4.1-mini

Ours run here; LangMem, TextGrad and Trace in environments of their own, through their own public interfaces
(`peers/`); GEPA, MIPROv2, SIMBA and COPRO as DSPy ships them. All work on the same model, cases, metric and budget;
every request is counted where it reaches the model, and none is answered once the budget is spent. DSPy's optimizers
have DSPy's cache, the others a memory of the same reach. `placed_P`, `placed_R`: precision and recall of the rules
written into prompts; `sound_kept`: the share of prompts that were right and stayed as they were; `peak_minus_final`:
what was lost again on the way. COPRO and MIPROv2 read no feedback, and most of what is to be learned here stands in it.

Cost: at most --lm-calls calls a cell; those of the held-out scores are not counted. Offline 5 to 60 s a cell on a core.
Without --model the offline simulation answers: its figures say nothing about real models.
"""

from __future__ import annotations

from dataclasses import dataclass

from optimizer_runs import UNTUNED, VARIANTS, RunConfig, measured

from langmem_dspy.experimenting import Cell, Row, experiment
from langmem_dspy.simulation import worlds


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """The problem and the budget.

    Parameters
    ----------
    world
        The problem; its rules differ by seed. `langmem_dspy.simulation.worlds.names()` has them all.
    """

    world: str = "support_desk"


@experiment(Config, variants=VARIANTS, baseline=UNTUNED, score="held_out", measured=("seconds",))
def optimizers_compared(cell: Cell[Config]) -> Row:
    """One optimizer on one world."""
    return measured(cell, worlds.load(cell.config.world, cell.seed))


if __name__ == "__main__":
    optimizers_compared.main()
