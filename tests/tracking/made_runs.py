"""Runs made by hand: the events an optimizer would announce, and the results it would leave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import dspy

from langmem_dspy.events import (
    CandidateEvaluated,
    CompileFinished,
    CompileStarted,
    CreditAssigned,
    Event,
    HeldOutEvaluated,
    PromptRevised,
    StepFinished,
)
from langmem_dspy.optimizers.results import Candidate, DetailedResults, Fault, RevisedPrompt
from langmem_dspy.usage import Usage, UsageReport

BEFORE = {
    "classify": "Sort the ticket into a queue.\nAnswer with one word, for {customer}.",
    "draft": "Write a reply to the customer.\nKeep {{literal}} braces and <b>tags</b> as they are.",
    "sign": "Sign with the team's name.",
}
CLASSIFY_1 = BEFORE["classify"] + '\nIf the ticket mentions "refund", set queue to "billing".'
CLASSIFY_2 = CLASSIFY_1.replace("one word", "exactly one word") + '\nIf the plan is "pro", set priority to "high".'
DRAFT_2 = BEFORE["draft"] + "\nNever promise a date."
IDS = tuple(f"case {number}" for number in range(6))


class Desk(dspy.Module):
    """The program that made runs are about."""

    def __init__(self) -> None:
        self.classify = dspy.Predict(dspy.Signature("ticket -> queue", BEFORE["classify"]))
        self.draft = dspy.Predict(dspy.Signature("ticket, queue -> reply", BEFORE["draft"]))
        self.sign = dspy.Predict(dspy.Signature("reply -> signed", BEFORE["sign"]))


def compiled_desk() -> Desk:
    desk = Desk()
    desk.classify.signature = desk.classify.signature.with_instructions(CLASSIFY_2)
    desk.draft.signature = desk.draft.signature.with_instructions(DRAFT_2)
    return desk


def results(run_id: str, *, before: float = 0.5, after: float = 5 / 6, simulated: bool = True) -> DetailedResults:
    """Candidate 1 was accepted, 2 was left, 3 is the best. Case 0 is broken on the way, three others are fixed."""
    baseline = Candidate(0, 0, None, BEFORE, valset_scores=_scores(before), accepted=True, reason="the student")
    first = _revised(1, 1, 0, {**BEFORE, "classify": CLASSIFY_1}, BEFORE, accepted=True)
    left = _revised(2, 2, 1, {**first.prompts, "sign": "Sign as yourself."}, first.prompts, accepted=False)
    best = _revised(3, 3, 1, {**first.prompts, "classify": CLASSIFY_2, "draft": DRAFT_2}, first.prompts, accepted=True)
    return DetailedResults(
        run_id=run_id,
        optimizer="MultiPromptOptimizer",
        settings={"seed": 0, "minibatch_size": 4, "budget": {"lm_calls": 400}},
        models={"task": "offline/simulation-middle", "reflection": "offline/simulation-middle"},
        simulated=simulated,
        candidates=(
            baseline,
            replace(first, valset_scores=_scores(4 / 6)),
            left,
            replace(best, valset_scores=_tail(after)),
        ),
        best_index=3,
        credit=({"classify": 0.75, "draft": 0.25}, {"sign": 0.5}, {"classify": 0.5, "draft": 1.0}),
        usage=UsageReport(
            Usage(120, 24_000, 6_000, 0.012), Usage(9, 9_000, 3_000, 0.034), metric_calls=60, seconds=12.5
        ),
        stop_reason="max_steps",
        errors=(Fault("rollout", "TimeoutError: no reply", 2),),
    )


def events(run_id: str, **changes: object) -> Iterator[Event]:
    """All events of a run in order; `changes` as for `results`."""
    found = results(run_id, **changes)  # type: ignore[arg-type]
    yield from beginning(run_id, found)
    for step, candidate in enumerate(found.candidates[1:], 1):
        yield from step_events(run_id, step, candidate, found)
    yield CompileFinished(run_id, found.stop_reason, found.to_dict())


def beginning(run_id: str, found: DetailedResults | None = None, **settings: object) -> Iterator[Event]:
    found = found or results(run_id)
    dataset = {"train": {"size": 12, "digest": "aaaa1111"}, "val": {"size": 6, "digest": "bbbb2222"}}
    given = {**found.settings, **settings}
    yield CompileStarted(run_id, found.optimizer, given, found.models, found.simulated, BEFORE, dataset)
    scores = found.baseline.valset_scores
    yield CandidateEvaluated(run_id, 0, 0, "valset", found.baseline.score or 0.0, tuple(scores.values()), tuple(scores))


def step_events(run_id: str, step: int, candidate: Candidate, found: DetailedResults) -> Iterator[Event]:
    shares = found.credit[step - 1]
    yield CreditAssigned(run_id, step, dict.fromkeys(shares, "its rule is missing"), dict.fromkeys(shares, ("case 1",)))
    for revision in candidate.revisions:
        yield PromptRevised(run_id, step, revision.predictor, revision.before, revision.after, revision.rationale)
    best = max(c.score for c in found.candidates[: step + 1] if c.score is not None)
    parent, accepted, reason = candidate.parent or 0, candidate.accepted, candidate.reason
    spent = (30 * step, 9000 * step, 0.01 * step)
    train = (0.4, 0.4 + 0.1 * step)
    yield StepFinished(
        run_id, step, candidate.index, parent, accepted, reason, *train, candidate.score, best, shares, *spent
    )


def held_out(run_id: str) -> HeldOutEvaluated:
    before, after = {"t0": 0.0, "t1": 1.0, "t2": 0.0}, {"t0": 1.0, "t1": 1.0, "t2": 0.5}
    return HeldOutEvaluated(run_id, "multi_prompt", "support desk", 0, 1 / 3, 2.5 / 3, before, after)


def _revised(
    index: int, step: int, parent: int, prompts: Mapping[str, str], old: Mapping[str, str], *, accepted: bool
) -> Candidate:
    revisions = tuple(
        RevisedPrompt(name, old[name], text, f"Failures of {name} all miss this rule.")
        for name, text in prompts.items()
        if text != old[name]
    )
    reason = "better on the validation set" if accepted else "not better on the minibatch"
    return Candidate(index, step, parent, prompts, revisions, {"t1": 0.5}, {}, accepted, reason)


def _scores(mean: float) -> dict[str, float]:
    passed = round(mean * len(IDS))
    return {name: float(number < passed) for number, name in enumerate(IDS)}


def _tail(mean: float) -> dict[str, float]:
    passed = round(mean * len(IDS))
    return {name: float(number >= len(IDS) - passed) for number, name in enumerate(IDS)}
