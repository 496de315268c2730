"""How do optimizers do on every kind of problem: spread rules, one guilty prompt, bad feedback, noise, long programs?

Hypothesis: what wins where feedback is good and scores are graded need not win where one of many prompts is broken,
where feedback contradicts itself, or where the metric is noisy or all-or-nothing. Baseline: the untuned program.

    python experiments/benchmark_suite.py --quick                                  # ours and GEPA, 1 seed, 300 calls
    python experiments/benchmark_suite.py --full                                   # all, 3 seeds, 1,500 calls
    python experiments/benchmark_suite.py --full --variants gradient --seeds 10    # flags win over all
    python experiments/benchmark_suite.py --harm                                   # ours, 50 seeds, 330 calls

Tune on support_desk and expense_office; report on the others: no optimizer was tuned to them. A guilty prompt is one
of eight. Figures are those of `optimizers_compared`, and `calls_to_90`: LM calls until the held-out score was 0.9 of
the perfect prompts', of the runs that got there. Guards: every reply is checked for rules that its request did not hold
(`leaks`); the simulation's fingerprint stands with every cell; `peers/parity.py` holds each library's own requests to
taking up equally many rules. The curves are in curves.csv (`--out`), over calls and over tokens. `--harm` asks
whether few calls and feedback that is wrong one time in ten leave a program worse than it was (`harmed`).

Cost: at most --lm-calls calls a cell. Offline about 10 minutes of one core for --quick and --harm, 5 hours for --full.
The offline simulation answers unless --model is given: its figures say nothing about real models.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from optimizer_runs import UNTUNED, VARIANTS, RunConfig, measured

from langmem_dspy.errors import InputError
from langmem_dspy.experimenting import Cell, Row, experiment
from langmem_dspy.simulation import worlds

PROMPTS = 8  # of the worlds with one guilty prompt
WORLDS: dict[str, dict[str, object]] = {
    **{name: {} for name in worlds.names() if name != "guilty_prompt"},
    **{f"guilty_{shape}": {"shape": shape, "prompts": PROMPTS} for shape in ("chain", "loop", "branch", "shared")},
}
EVERYWHERE = f"world={','.join(WORLDS)}"
MISLED = {f"{name}_misled": name for name in ("support_desk", "expense_office")}
WRONG = 0.1  # of the complaints there
SCOPES = {
    "--quick": ["--seeds", "1", "--lm-calls", "300", "--vary", EVERYWHERE]
    + [word for name in ("gradient", "multi_prompt", "dspy.GEPA") for word in ("--variants", name)],
    "--full": ["--seeds", "3", "--lm-calls", "1500", "--vary", EVERYWHERE],
    "--harm": ["--seeds", "50", "--lm-calls", "330", "--vary", f"world={','.join(MISLED)}", "--variants", "gradient"],
}


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """The problem and the budget."""

    world: str = "museum_desk"


@experiment(Config, variants=VARIANTS, baseline=UNTUNED, score="held_out", measured=("seconds",))
def benchmark_suite(cell: Cell[Config]) -> Row:
    """One optimizer on one world."""
    row = measured(cell, world_of(cell.config.world, cell.seed))
    reached = (p["lm_calls"] for p in cell.points if p["held_out"] >= 0.9 * float(row["perfect"] or 1))
    return {**row, "calls_to_90": next(reached, None)}


def world_of(name: str, seed: int) -> worlds.World:
    """The suite's world of this name."""
    if name in MISLED:
        return worlds.load(MISLED[name], seed, voice=worlds.Voice(wrong=WRONG))
    if name not in WORLDS:
        raise InputError(f"the suite has no world {name!r}; it has {', '.join((*WORLDS, *MISLED))}")
    family = "guilty_prompt" if name.startswith("guilty_") else name
    return worlds.load(family, seed, **WORLDS[name])  # type: ignore[arg-type]


def arguments(given: list[str]) -> list[str]:
    """The command line with --quick, --full or --harm written out; what is given besides wins over it."""
    scope = next((name for name in SCOPES if name in given), None)
    rest = [word for word in given if word not in SCOPES]
    if scope is None:
        return rest
    pairs = zip(SCOPES[scope][::2], SCOPES[scope][1::2], strict=True)
    return [word for flag, value in pairs if flag not in rest for word in (flag, value)] + rest


if __name__ == "__main__":
    benchmark_suite.main(arguments(sys.argv[1:]))
