"""How good does a live program get from its users' feedback, how soon, and does wrong feedback spoil it later?

Hypothesis: lessons tried only where they were asked for, and on a few observations kept, bring world A to 0.80 held-out
within 100 LM calls (task and reflection) beside the live runs; and wrong feedback afterwards lowers it never, since a
version is promoted only if it is not worse on the regression set.

    python experiments/online_learning.py --seeds 5
    python experiments/online_learning.py --seeds 5 --metric          # replays scored by the metric, not the complaint
    python experiments/online_learning.py --seeds 3 --noise 0.05 --wrong-rate 0.15

Cost: a seed has `live` + `further` live runs, about 150 to 300 calls of learning, and 60 held-out examples at each new
version. Offline, about 15 s of CPU per seed. The offline simulation answers: its figures say nothing about real models.

What counts: `calls` are those of learning alone; `with live` adds the live runs' own, which happen anyway. In the
second part every `wrong_every`-th run is complained of by the rules of another world, in words like the true ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean

import cyclopts
import dspy
from rich.console import Console
from rich.table import Table

from langmem_dspy import OnlineOptimizer, simulation
from langmem_dspy.simulation import worlds


@dataclass
class Curve:
    """Held-out scores of one seed by calls of learning, and what else is told of it."""

    untuned: float
    points: list[tuple[int, int, float]] = field(default_factory=list)  # calls, live calls by then, score
    later: list[float] = field(default_factory=list)  # after the first part
    calls: int = 0
    precision: float = 0.0
    recall: float = 0.0
    broken: int = 0

    def score_at(self, calls: int) -> float:
        return next((score for spent, _, score in reversed(self.points) if spent <= calls), self.untuned)

    def reached(self, score: float) -> tuple[int, int] | None:
        return next(((spent, spent + live) for spent, live, found in self.points if found >= score), None)


def main(
    *,
    world: str = "support_desk",
    seeds: int = 5,
    live: int = 120,
    further: int = 200,
    wrong_every: int = 10,
    wrong_rate: float = 0.08,
    noise: float = 0.0,
    metric: bool = False,
    every: int = 12,
    controls: int = 3,
    profile: str = "middle",
) -> None:
    """Run it and print the table.

    Parameters
    ----------
    world
        The problem; its rules differ by seed.
    seeds
        How many problems.
    live
        Live runs with feedback in the first part.
    further
        Live runs in the second part.
    wrong_every
        In the second part, each so-many-th feedback is another world's.
    wrong_rate
        Share of complaints that are wrong all along.
    noise
        Standard deviation of an error on the metric.
    metric
        Score replays by the metric; without it, by what was said.
    every
        Complaints to a reflection.
    controls
        Observations a new version is tried on beside those it was made from.
    profile
        Of the offline model: weak, middle or strong.
    """
    console = Console()
    console.print("offline simulation: the figures say nothing about real models")
    table = Table("seed", "untuned", "at 100 calls", "0.80 at", "with live", "before", "lowest after", "end", "P / R")
    curves = []
    for seed in range(seeds):
        lm = simulation.offline_lm(profile, seed=seed)
        voice = worlds.Voice(wrong=wrong_rate, noise=noise)
        posed = worlds.load(world, seed=seed, n_train=live + further, voice=voice)
        other = worlds.load(world, seed=seed + 1000, voice=worlds.Voice(silent=0.0, vague=0.0))
        with dspy.context(lm=lm):
            optimizer = OnlineOptimizer(
                posed.program(), metric=posed.metric if metric else None, every=every, controls=controls
            )
            curves.append(run(posed, other, optimizer, live, wrong_every))
        table.add_row(str(seed), *shown(curves[-1]))
    console.print(table)
    console.print(
        f"mean: {fmean(c.score_at(100) for c in curves):.3f} at 100 calls, "
        f"{fmean(c.points[-1][2] for c in curves):.3f} after {live} live runs, "
        f"{fmean(c.later[-1] for c in curves):.3f} after {further} more; "
        f"variables broken: {sum(c.broken for c in curves)}"
    )


def run(posed: worlds.World, other: worlds.World, optimizer: OnlineOptimizer, live: int, wrong_every: int) -> Curve:
    """Feed one world's live runs, and judge each new version on the held-out examples."""
    curve = Curve(held_out(posed, optimizer.program))
    score, live_calls = curve.untuned, 0
    for number, example in enumerate(posed.trainset, 1):
        made = optimizer.run(**example.inputs())
        live_calls += len(made.trajectory.steps)
        judged = posed.metric(example, made.prediction)
        if number > live and number % wrong_every == 0:
            judged = dspy.Prediction(score=judged.score, feedback=other.metric(example, made.prediction).feedback)
        feedback = judged.feedback or (judged.score if judged.score >= 1 else None)
        learned = optimizer.learn(made, feedback, example=example if optimizer.metric else None)
        if learned.promoted is not None:
            score = held_out(posed, optimizer.program)
        if number <= live:
            curve.points.append((optimizer.spent.whole_run.lm_calls, live_calls, score))
        else:
            curve.later.append(score)
    placed = posed.placement(optimizer.program)
    curve.precision, curve.recall = placed.precision, placed.recall
    curve.calls, curve.broken = optimizer.spent.whole_run.lm_calls, len(posed.broken_variables(optimizer.program))
    return curve


def held_out(posed: worlds.World, program: dspy.Module) -> float:
    return fmean(posed.metric(example, program(**example.inputs())).score for example in posed.testset)


def shown(curve: Curve) -> list[str]:
    reached = curve.reached(0.8)
    return [
        f"{curve.untuned:.3f}",
        f"{curve.score_at(100):.3f}",
        "never" if reached is None else f"{reached[0]}",
        "never" if reached is None else f"{reached[1]}",
        f"{curve.points[-1][2]:.3f} ({curve.points[-1][0]})",
        f"{min(curve.later):.3f}",
        f"{curve.later[-1]:.3f} ({curve.calls})",
        f"{curve.precision:.2f} / {curve.recall:.2f}",
    ]


if __name__ == "__main__":
    cyclopts.run(main)
