"""Where drafts come from: a model's looks at what failed, runs without fault as examples, lessons set aside before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import dspy

from langmem_dspy.errors import ReplyError
from langmem_dspy.optimizers.lessons import Draft, Ledger
from langmem_dspy.optimizers.parts import DEMOS, demo_line
from langmem_dspy.optimizers.prompts import Prompt
from langmem_dspy.optimizers.proposing import drafts_by
from langmem_dspy.optimizers.rollouts import Rollout
from langmem_dspy.optimizers.tracing import complaint, said_about
from langmem_dspy.optimizers.trajectories import Trajectory

LOOKS = 3  # requests about the same trajectories, while each brings something new
TELLING = 2  # new drafts from one look that promise more: a model that has more to say says more than one thing
EARLIER = 2  # runs of an example to look at again
ASKED_FOR_AGAIN = 0.5  # share of a lesson's words in one sentence of feedback


def looked_at(
    proposer: dspy.Module, prompt: Prompt, trajectories: list[Trajectory], looks: int = LOOKS, telling: int = TELLING
) -> tuple[list[Draft], str]:
    """Drafts from some trajectories, in several looks; and why the last look gave none, if it failed."""
    found: list[Draft] = []
    for _ in range(looks):
        try:
            drafts = drafts_by(proposer, prompt, trajectories, found)
        except ReplyError as error:
            return found, str(error)
        known = {draft.text for draft in found}
        new = [draft for draft in drafts if draft.text not in known]
        found += new
        if len(new) < telling:
            break
    return found, ""


def said_before(now: Trajectory, remembered: Iterable[Rollout]) -> list[Trajectory]:
    """Earlier runs of the example, under other prompts, in which something was said that is not said now.

    A complaint comes in other words, or with its grounds, beside other faults; most that is new comes first.
    """
    runs = {r.trajectory.feedback: r.trajectory for r in remembered if (r.score or 0) < 1}
    new = {text: len({*said_about(run)} - {*said_about(now)}) for text, run in runs.items()}
    return [runs[text] for text in sorted(runs, key=lambda text: (-new[text], text)) if new[text]][:EARLIER]


def set_aside(ledger: Ledger, failing: Iterable[Rollout]) -> list[Draft]:
    """Lessons tried before that did nothing where they were tried, and that feedback asks for again.

    What stood in their way then may be mended now. The ledger keeps count, and lets none come back for ever.
    """
    drafts: dict[int, Draft] = {}
    in_force = {ledger.lessons[i].text for i in ledger.in_force}
    for rollout in failing:
        for lesson in ledger.lessons:
            if lesson.fate not in ("idle", "rejected", "dropped") or lesson.text in in_force:
                continue
            if complaint(lesson.text, rollout.trajectory) >= ASKED_FOR_AGAIN:
                known = drafts.get(lesson.id, Draft(lesson.predictor, lesson.text, lesson.replaces))
                drafts[lesson.id] = replace(known, evidence=(*known.evidence, rollout.example_id))
    return list(drafts.values())


def shown_runs(ledger: Ledger, board: Mapping[str, Rollout], failing: Iterable[str]) -> list[Draft]:
    """For each predictor that takes examples, one call of a run without fault that it has not been shown yet."""
    known = {(lesson.predictor, lesson.text) for lesson in ledger.lessons}
    perfect = [rollout.trajectory for rollout in board.values() if (rollout.score or 0) >= 1]
    drafts: dict[str, Draft] = {}
    for step in (step for trajectory in perfect for step in trajectory.steps if step.outputs):
        name, line = f"{step.predictor}{DEMOS}", demo_line(step.inputs, step.outputs or {})
        if name in ledger.base and line and (name, line) not in known:
            drafts.setdefault(name, Draft(name, line, evidence=tuple(failing)))
    return list(drafts.values())


def placed(draft: Draft, owners: Sequence[str]) -> Draft:
    """The draft in the prompt of the one predictor whose output it is about, where that can be told."""
    return replace(draft, predictor=owners[0]) if len(owners) == 1 else draft
