"""When a candidate is judged on the valset, and what that decides. Judging costs calls that learning could use.

Without limits every accepted candidate is judged on all of it. Under a budget, a share of it is kept for the end: there
the result meets the student, example by example, until it is clear which is better; and in between candidates are
judged where that costs little beside what has been spent on learning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from langmem_dspy.errors import BudgetExhausted, EvaluationError
from langmem_dspy.optimizers.results import Candidate
from langmem_dspy.optimizers.rollouts import Rollout
from langmem_dspy.optimizers.run import Run, scores_of

KEPT_FOR_THE_END = 0.12  # share of every limit
SPENT_ON_THE_WAY = 0.25  # of the LM calls so far
CLEAR = 3.0  # standard errors between clear and unclear
AT_LEAST = 4  # examples before anything is clear
AT_A_TIME = 2


@dataclass
class Validation:
    """Judges candidates of one run on its valset."""

    run: Run
    spent: int = 0  # LM calls

    @property
    def unlimited(self) -> bool:
        return all(getattr(self.run.meter.budget, name) is None for name in self.run.meter.budget.__dataclass_fields__)

    @property
    def names(self) -> list[str]:
        return list(self.run.task.valset)

    def share_kept(self) -> float:
        """The share of each limit to keep for the end: what the last judgement may need, within reason."""
        if self.unlimited:
            return 0.0
        allowed = self.run.meter.budget.lm_calls
        unseen = [name for name in self.names if name not in self.run.task.trainset]
        needed = 2 * len(unseen) * len(self.run.task.prompts)
        return KEPT_FOR_THE_END if allowed is None else min(KEPT_FOR_THE_END, needed / max(allowed, 1))

    def perfect(self, candidate: Candidate) -> bool:
        """Whether the candidate was judged on all of the valset, and nothing was wrong."""
        scores = self.run.candidates[candidate.index].valset_scores
        return len(scores) == len(self.names) and all(score >= 1 for score in scores.values())

    def affordable(self, step: int) -> bool:
        """Whether judging a candidate on all of the valset costs little beside what learning has cost."""
        if self.unlimited:
            return True
        used = self.run.meter.report().whole_run.lm_calls
        cost = len(self.names) * len(self.run.task.prompts)
        allowed = self.run.meter.budget.lm_calls
        if step == 0:
            return allowed is None or cost <= 0.1 * allowed
        return self.spent + cost <= SPENT_ON_THE_WAY * used

    def judge(self, candidate: Candidate, step: int) -> None:
        """Score the candidate on all of the valset."""
        before = self.run.meter.report().whole_run.lm_calls
        rollouts = self.run.roll_out(candidate.prompts, "valset", self.names)
        if candidate.index == 0:
            check_student(rollouts)
        self.run.record(candidate, "valset", scores_of(rollouts), step)
        self.spent += self.run.meter.report().whole_run.lm_calls - before

    def better(self, candidate: Candidate, other: Candidate) -> bool | None:
        """Whether `candidate` is better on the valset than `other`; None if not both were judged on it."""
        new, old = (self.run.candidates[c.index].valset_scores for c in (candidate, other))
        shared = new.keys() & old.keys()
        return fmean(new[n] - old[n] for n in shared) > -1e-9 if shared else None

    def decide(self, result: Candidate, step: int) -> Candidate:
        """The better of `result` and the student by the valset, every example of it where the budget reaches.

        Or what was judged on the way and is better than both beyond chance: late lessons rest on few examples.
        """
        student = self.run.candidates[0]
        if result.index == student.index:
            return student
        new, old = dict(result.valset_scores), dict(self.run.candidates[0].valset_scores)
        try:
            for start in range(0, len(self.names), AT_A_TIME):
                some = self.names[start : start + AT_A_TIME]
                for candidate, scores in ((student, old), (result, new)):
                    if missing := [name for name in some if name not in scores]:
                        scores |= scores_of(self.run.roll_out(candidate.prompts, "valset", missing, must_score=False))
                if not self.unlimited and self._must_save(len(self.names) - start) and _clear(old, new) is not None:
                    break
        except BudgetExhausted:
            pass  # what has been seen decides
        for candidate, scores in ((student, old), (result, new)):
            self.run.record(candidate, "valset", scores, step)
        shared = [name for name in self.names if name in old and name in new]
        gains = [new[name] - old[name] for name in shared]
        # Where only a part could be seen, as good as the student is not enough: it might be luck.
        needed = -1e-9 if len(shared) == len(self.names) else _error(gains)
        chosen = result if gains and fmean(gains) > needed else student
        for earlier in [c for c in self.run.candidates if c.accepted and len(c.valset_scores) == len(self.names)]:
            now = self.run.candidates[chosen.index].valset_scores
            gains = [earlier.valset_scores[name] - now[name] for name in now]
            chosen = earlier if gains and fmean(gains) > _error(gains) else chosen
        return chosen

    def _must_save(self, left: int) -> bool:
        """Whether the budget may not reach for the rest of the valset."""
        allowed = self.run.meter.budget.lm_calls
        used = self.run.meter.report().whole_run.lm_calls
        return allowed is None or used + 2 * left * len(self.run.task.prompts) > allowed


def check_student(rollouts: Sequence[Rollout]) -> None:
    """Raise `EvaluationError` if the student fails by its own doing on every example: there is nothing to improve."""
    if rollouts and all(rollout.trajectory.error for rollout in rollouts):
        first = rollouts[0]
        raise EvaluationError(f"the student fails on every example: {first.trajectory.error}") from (
            first.error or first.fault
        )


def _clear(old: Mapping[str, float], new: Mapping[str, float]) -> bool | None:
    """Whether new is better than old beyond doubt (True), or worse (False); None while it is unclear."""
    gains = [new[name] - old[name] for name in old.keys() & new.keys()]
    if len(gains) < AT_LEAST:
        return None
    return None if abs(fmean(gains)) < CLEAR * _error(gains) else fmean(gains) > 0


def _error(gains: Sequence[float]) -> float:
    """The standard error of the mean of these differences, never quite 0: few equal ones prove little."""
    spread = stdev(gains) if len(gains) > 1 else 0.0
    return max(spread, 0.05) / math.sqrt(max(len(gains), 1))
