"""How good does a live program get from its users' feedback, how soon, and does wrong feedback spoil it later?

Hypothesis: lessons tried only where they were asked for, and on a few observations kept, bring world A to 0.80 held-out
within 100 LM calls (task and reflection) beside the live runs; and wrong feedback afterwards lowers it never, since a
version is promoted only if it is not worse on the regression set. Baseline: the untuned program.

    langmem-dspy run experiments/online_learning.py --seeds 5
    langmem-dspy run experiments/online_learning.py --seeds 3 --noise 0.05 --wrong-rate 0.15

`complaints` replays what was observed and looks whether the complaint is gone; `metric` scores replays by the metric.
In a second part every `wrong-every`-th run is complained of by the rules of another world, in words like the true ones:
`lowest_after` is the lowest held-out score there, `end` the last. Held-out scores are without noise. `lm_calls` are
those of learning alone; `with_live` adds the live runs' own, which happen anyway.

Cost: a seed has `live` + `further` live runs, about 150 to 300 calls of learning, and the held-out examples at each new
version. Offline, about 15 s of CPU per seed. Without --model the offline simulation answers: its figures say nothing
about real models.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import dspy

from langmem_dspy import OnlineOptimizer
from langmem_dspy.experimenting import Cell, ModelOptions, Row, experiment
from langmem_dspy.simulation import worlds

EARLY = 100  # LM calls
GOOD = 0.8


@dataclass(frozen=True, kw_only=True)
class Config:
    """The problem, and how its users speak.

    Parameters
    ----------
    world
        The problem; its rules differ by seed.
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
    every
        Complaints to a reflection.
    controls
        Observations a new version is tried on beside those it was made from.
    """

    world: str = "support_desk"
    live: int = 120
    further: int = 200
    wrong_every: int = 10
    wrong_rate: float = 0.08
    noise: float = 0.0
    every: int = 12
    controls: int = 3
    models: ModelOptions = ModelOptions()


@dataclass
class Curve:
    """Held-out scores of one seed by calls of learning. `later`: those of the second part."""

    untuned: float
    points: list[tuple[int, int, float]] = field(default_factory=list)  # calls, live calls by then, score
    later: list[float] = field(default_factory=list)

    @property
    def first_part(self) -> float:
        return self.points[-1][2] if self.points else self.untuned

    def score_at(self, calls: int) -> float:
        return next((score for spent, _, score in reversed(self.points) if spent <= calls), self.untuned)

    def reached(self, score: float) -> tuple[int | None, int | None]:
        """Calls of learning until this score, and with those of the live runs; None if it was never reached."""
        found = ((spent, spent + live) for spent, live, scored in self.points if scored >= score)
        return next(found, (None, None))


@experiment(Config, variants=("untuned", "complaints", "metric"), baseline="untuned", score="held_out", x="lm_calls")
def online_learning(cell: Cell[Config]) -> Row:
    """One world's live runs, with feedback on each."""
    config = cell.config
    voice = worlds.Voice(wrong=config.wrong_rate, noise=config.noise)
    world = worlds.load(config.world, seed=cell.seed, n_train=config.live + config.further, voice=voice)
    task, reflection = config.models.load(cell.seed)
    with dspy.context(lm=task):
        if cell.variant == "untuned":
            score = world.score(world.program())
            return {"held_out": score, "at_100_calls": score, "lowest_after": score, "end": score, "lm_calls": 0}
        optimizer = OnlineOptimizer(
            world.program(),
            metric=world.metric if cell.variant == "metric" else None,
            reflection_lm=reflection,
            every=config.every,
            controls=config.controls,
        )
        curve = learned_live(cell, world, optimizer)
    placed = world.placement(optimizer.program)
    calls, with_live = curve.reached(GOOD)
    return {
        "held_out": curve.first_part,
        "at_100_calls": curve.score_at(EARLY),
        "calls_to_080": calls,
        "with_live": with_live,
        "lowest_after": min(curve.later, default=curve.first_part),
        "end": curve.later[-1] if curve.later else curve.first_part,
        "placed_P": placed.precision,
        "placed_R": placed.recall,
        "variables_kept": not world.broken_variables(optimizer.program),
        "lm_calls": optimizer.spent.whole_run.lm_calls,
    }


def learned_live(cell: Cell[Config], world: worlds.World, optimizer: OnlineOptimizer) -> Curve:
    """Feed the live runs one by one, and judge each new version on the held-out examples."""
    config = cell.config
    other = worlds.load(config.world, seed=cell.seed + 1000, voice=worlds.Voice(silent=0.0, vague=0.0))
    curve = Curve(world.score(optimizer.program))
    score, live_calls = curve.untuned, 0
    cell.point(lm_calls=0, held_out=score)
    for number, example in enumerate(world.trainset, 1):
        made = optimizer.run(**example.inputs())
        live_calls += len(made.trajectory.steps)
        judged = world.metric(example, made.prediction)
        said = judged
        if number > config.live and number % config.wrong_every == 0:
            said = other.metric(example, made.prediction)
        feedback = said.feedback or (judged.score if judged.score >= 1 else None)
        learned = optimizer.learn(made, feedback, example=example if optimizer.metric else None)
        spent = optimizer.spent.whole_run.lm_calls
        if learned.promoted is not None:
            score = world.score(optimizer.program)
            cell.point(lm_calls=spent, held_out=score)
        if number <= config.live:
            curve.points.append((spent, live_calls, score))
        else:
            curve.later.append(score)
    return curve


if __name__ == "__main__":
    online_learning.main()
