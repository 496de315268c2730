"""One of k prompts was broken on purpose: how often is it the one blamed, and how often is a sound one?

Hypothesis: the trace tells who is to blame where feedback names what only one prompt writes, and misleads where an
error runs on (chains, loops) or where prompts write the same field (branches, shared signatures); a model reads the
same trajectories and does little better; trying a change in each prompt tells, at a price that grows with k. Baseline:
`everyone`, which blames all and so is never wrong about the broken one.

    langmem-dspy run experiments/credit_assignment.py --vary prompts=2,4,8,16 --vary shape=chain,loop,branch,shared
    langmem-dspy run experiments/credit_assignment.py --feedback outcome --vary prompts=2,4,8,16

Ways: `model`, which is asked; `trace`, for no calls; `assigner`, which asks a model only about what the trace leaves
open (CreditAssigner); `trial`, a counterfactual: what the feedback asks for is written into each prompt alone, what
follows is replayed, and the prompt with the largest gain is blamed; `replay`, another: each step's output is corrected
by someone who knows, what follows is replayed, and the step whose correction gains most is blamed; `labels`, the same
by CounterfactualCredit, from nothing but the labels of the cases (chains and loops have one for each step; the others
for none or for the route), which say what a right program would have said, not what was right given what a step saw.

`exact`: the broken prompt is blamed, and no other. `hit`: it is among those blamed. `sound_blamed`: the share of sound
prompts that are blamed. `lm_calls`: for one blame, of a batch of failed trajectories; `corrections`: steps that someone
corrected for it. `--feedback outcome` says only that the result is wrong.

Cost: up to k x k x batch calls a blame for `trial`, else at most one or none. Offline a second to a minute a cell.
Without --model the offline simulation answers: its figures say nothing about real models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import dspy
from peers.desk import CountingEngine, Rolling

from langmem_dspy.experimenting import Cell, ModelOptions, Row, experiment
from langmem_dspy.optimizers.counterfactual import CounterfactualCredit
from langmem_dspy.optimizers.credit import AssignCredit, CreditAssigner, TraceCredit
from langmem_dspy.optimizers.trajectories import Step, Trajectory
from langmem_dspy.simulation import worlds
from langmem_dspy.simulation.worlds import Shape, World
from langmem_dspy.simulation.worlds.pipeline import instructions

UNBOUNDED = 10**9
OUTCOME = "The result is not as it should be."
Batch = Sequence[tuple[dspy.Example, Trajectory]]


@dataclass(frozen=True, kw_only=True)
class Config:
    """The program, and what is said of its failures.

    Parameters
    ----------
    prompts
        How many prompts the program has.
    shape
        How they hang together.
    feedback
        What a complaint says: what was wrong, in part and not always rightly; or only that something was.
    batch
        Failed trajectories that a blame rests on.
    batches
        How often blame is assigned in a cell.
    models
        Which models answer.
    """

    prompts: int = 4
    shape: Shape = "chain"
    feedback: Literal["naming", "outcome"] = "naming"
    batch: int = 4
    batches: int = 4
    models: ModelOptions = ModelOptions()


@experiment(
    Config,
    variants=("everyone", "model", "trace", "assigner", "trial", "replay", "labels"),
    baseline="everyone",
    score="exact",
    x="prompts",
)
def credit_assignment(cell: Cell[Config]) -> Row:
    """One program with one broken prompt, blamed in one way."""
    config = cell.config
    sizes = {"n_train": 40 + 10 * config.prompts, "n_val": 1, "n_test": 1}  # a branch of many fails seldom
    world = worlds.load("guilty_prompt", cell.seed, prompts=config.prompts, shape=config.shape, **sizes)
    guilty, names = world.guilty[0], [stage.name for stage in world.stages]
    runs = Runs(world, config, cell.seed)
    blame = WAYS[cell.variant]
    blamed = [blame(runs, batch) for batch in runs.failed()]
    return {
        "exact": fmean(found == {guilty} for found, _ in blamed),
        "hit": fmean(guilty in found for found, _ in blamed),
        "sound_blamed": fmean(len(found - {guilty}) / (len(names) - 1) for found, _ in blamed),
        "lm_calls": runs.calls / len(blamed),
        "corrections": fmean(corrections for _, corrections in blamed),
        "prompts": config.prompts,
    }


class Runs:
    """A world's program, run under any prompts; `calls` counts what was asked since the failures were found."""

    def __init__(self, world: World, config: Config, seed: int) -> None:
        self.world, self.config = world, config
        self.start = instructions(world.program())
        self.engine = CountingEngine(config.models.profile, seed, UNBOUNDED)
        task, _ = config.models.load(seed)
        self.lm = dspy.LM(task.model, engine=self.engine, cache=False) if config.models.simulated else task
        self.rolling = Rolling(world, self.lm)
        self._judge = world.metric
        self.uncounted = 0

    @property
    def calls(self) -> int:
        return self.engine.lm_calls - self.uncounted

    def run(
        self,
        prompts: Mapping[str, str],
        example: dspy.Example,
        corrected: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Trajectory:
        outputs, steps = self.rolling.outputs(prompts, example, corrected)
        said = self._judge(example, dspy.Prediction(**outputs))
        told = said.feedback if self.config.feedback == "naming" else OUTCOME
        return Trajectory(example.case, steps=tuple(Step(**step) for step in steps), feedback=told, score=said.score)

    def failed(self) -> list[Batch]:
        """Batches of failed runs under the prompts to start from."""
        ran = ((example, self.run(self.start, example)) for example in self.world.trainset)
        wrong = [(example, trajectory) for example, trajectory in ran if (trajectory.score or 0) < 1]
        size, most = self.config.batch, self.config.batches
        self.uncounted = self.engine.lm_calls
        return [wrong[at : at + size] for at in range(0, len(wrong), size)][:most]

    def gain(self, prompts: Mapping[str, str], batch: Batch) -> float:
        """The mean score under `prompts` minus that of the batch."""
        return fmean((self.run(prompts, e).score or 0) - (t.score or 0) for e, t in batch)


Way = Callable[[Runs, Batch], tuple[set[str], int]]  # the prompts blamed, and how many corrections that took


def everyone(runs: Runs, batch: Batch) -> tuple[set[str], int]:
    return set(runs.start), 0


def model(runs: Runs, batch: Batch) -> tuple[set[str], int]:
    rendered = "\n".join(f'<prompt name="{name}">\n{text}\n</prompt>' for name, text in runs.start.items())
    told = "\n\n".join(trajectory.render() for _, trajectory in batch)
    outline = "The prompts belong to one system: " + ", ".join(runs.start)
    with dspy.context(lm=runs.lm, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        said = dspy.Predict(AssignCredit)(system_outline=outline, prompts=rendered, trajectories=told)
    return {entry.prompt_name for entry in said.blamed} & set(runs.start), 0


def by(assign: Callable[[], Callable[..., dspy.Prediction]]) -> Way:
    def way(runs: Runs, batch: Batch) -> tuple[set[str], int]:
        prompts = [{"name": name, "prompt": text} for name, text in runs.start.items()]
        with dspy.context(lm=runs.lm, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
            said = assign()(prompts, [trajectory for _, trajectory in batch])
        return {blame.name for blame in said.blame}, 0

    return way


def trial(runs: Runs, batch: Batch) -> tuple[set[str], int]:
    asked = "\n".join(dict.fromkeys(f"- {trajectory.feedback}" for _, trajectory in batch))
    changed = ((name, {**runs.start, name: f"{text}\n{asked}"}) for name, text in runs.start.items())
    return _largest((name, runs.gain(prompts, batch)) for name, prompts in changed), 0


def replay(runs: Runs, batch: Batch) -> tuple[set[str], int]:
    right = runs.world.perfect_prompts()  # stands for whoever corrects: what a step should say, given what it saw

    def gain(name: str) -> float:
        before = runs.rolling.asked[name]
        found = runs.gain({**runs.start, name: right[name]}, batch)
        runs.uncounted += runs.rolling.asked[name] - before  # a person's work, not the model's
        return found

    return _largest((name, gain(name)) for name in runs.start), sum(len(t.steps) for _, t in batch)


def labels(runs: Runs, batch: Batch) -> tuple[set[str], int]:
    prompts = [{"name": name, "prompt": text} for name, text in runs.start.items()]
    said = CounterfactualCredit(by_trace=False)(prompts, [t for _, t in batch], Labels(runs, batch))
    return {blame.name for blame in said.blame}, 0


class Labels:
    """Interventions on the runs of a batch; a correction is what the labels of the case say."""

    def __init__(self, runs: Runs, batch: Batch) -> None:
        self.runs, self.examples = runs, {example.case: example for example, _ in batch}
        self.stages = {stage.name: stage for stage in runs.world.stages}

    def score_with(self, example_id: str, predictor: str, outputs: Mapping[str, str]) -> float | None:
        return self.runs.run(self.runs.start, self.examples[example_id], {predictor: outputs}).score

    def corrections(self, example_id: str, predictor: str, said: Mapping[str, str]) -> list[Mapping[str, str]]:
        gold, wire = self.examples[example_id].gold, self.stages[predictor].wire
        found = {name: gold[wire(name)] for name in said if wire(name) in gold}
        return [{**said, **found}] if found and found.items() - said.items() else []

    def lm_calls(self) -> int:
        return self.runs.calls


def _largest(gains: Iterator[tuple[str, float]]) -> set[str]:
    found = dict(gains)
    most = max(found.values())
    return {name for name, gain in found.items() if most > 1e-9 and gain > most - 1e-9}


WAYS: dict[str, Way] = {
    "everyone": everyone,
    "model": model,
    "trace": by(TraceCredit),
    "assigner": by(CreditAssigner),
    "trial": trial,
    "replay": replay,
    "labels": labels,
}


if __name__ == "__main__":
    credit_assignment.main()
