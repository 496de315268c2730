"""One compile under way: its candidates, rollouts, meter, journal and listeners. The loop decides; this keeps."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import dspy

from langmem_dspy.errors import EvaluationError
from langmem_dspy.events import Announcer, CandidateEvaluated, CompileFinished, CompileStarted, StepFinished
from langmem_dspy.optimizers.acceptance import Verdict
from langmem_dspy.optimizers.contradictions import SaidSoFar
from langmem_dspy.optimizers.lessons import Lesson
from langmem_dspy.optimizers.results import Candidate, DetailedResults, Fault, RevisedPrompt
from langmem_dspy.optimizers.rollouts import Rollout, RolloutRunner, raise_if_cut
from langmem_dspy.usage import Meter, UsageReport

Examples = Mapping[str, dspy.Example]


@dataclass(frozen=True)
class Task:
    """What is to be optimized: named examples to learn from and to judge on, the student's prompts, and the models."""

    optimizer: str
    settings: Mapping[str, Any]
    trainset: Examples
    valset: Examples
    prompts: Mapping[str, str]
    models: Mapping[str, str]

    @property
    def simulated(self) -> bool:
        """Whether the offline model takes part."""
        return are_simulated(self.models)

    def dataset(self) -> dict[str, Any]:
        """Sizes and digests, by split."""
        splits = {"train": self.trainset, "val": self.valset}
        return {
            name: {"size": len(ids), "digest": hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()[:16]}
            for name, ids in splits.items()
        }

    def identity(self) -> dict[str, Any]:
        """What must be the same for a journal to be gone on with. Budget, steps and threads may change."""
        free = {"budget", "max_steps", "num_threads", "log_dir"}
        settings = {key: value for key, value in self.settings.items() if key not in free}
        return {
            "optimizer": self.optimizer,
            "settings": settings,
            "prompts": dict(self.prompts),
            "models": dict(self.models),
            "dataset": self.dataset(),
        }


class Run:
    """The state of one compile. `candidates[0]` is the student."""

    def __init__(
        self, task: Task, meter: Meter, announce: Announcer, runner: RolloutRunner | None, run_id: str | None = None
    ) -> None:
        self.task, self.meter, self.announce, self.runner = task, meter, announce, runner
        self.run_id = run_id or uuid4().hex[:16]
        self.candidates = [Candidate(0, 0, None, dict(task.prompts), accepted=True, reason="the student")]
        self.best = self.candidates[0]
        self.credit: list[Mapping[str, float]] = []
        self.faults: Counter[tuple[str, str]] = Counter()
        self.lessons: list[Lesson] = []
        self.feedback = SaidSoFar()
        self._rollouts_before: set[tuple[str, str]] = set()

    # --- what happened ---

    def begin(self) -> None:
        task = self.task
        self.announce(
            CompileStarted(
                self.run_id, task.optimizer, task.settings, task.models, task.simulated, task.prompts, task.dataset()
            )
        )

    def add(self, step: int, revisions: Sequence[RevisedPrompt]) -> Candidate:
        """A new candidate: the best one's prompts with these revisions."""
        prompts = {**self.best.prompts, **{r.predictor: r.after for r in revisions}}
        spent = self.meter.report().whole_run
        candidate = Candidate(
            len(self.candidates),
            step,
            self.best.index,
            prompts,
            tuple(revisions),
            lm_calls=spent.lm_calls,
            tokens=spent.tokens,
            cost=spent.cost,
        )
        self.candidates.append(candidate)
        return candidate

    def roll_out(
        self, prompts: Mapping[str, str], split: str, names: Sequence[str], *, must_score: bool = True
    ) -> list[Rollout]:
        """Rollouts under these prompts on some of "minibatch" or "valset". Raises `BudgetExhausted` if one is cut."""
        if self.runner is None:
            raise EvaluationError("there is no metric to evaluate with")
        source = self.task.trainset if split == "minibatch" else self.task.valset
        rollouts = self.runner.run(prompts, {name: source[name] for name in names}, must_score=must_score)
        for rollout in rollouts:
            if rollout.fault is not None:
                self.note_fault("rollout", rollout.fault)
        raise_if_cut(rollouts, self.meter)
        return rollouts

    def mark_step(self) -> None:
        """A step begins; see `forget_since_step`."""
        self._rollouts_before = self.runner.known() if self.runner else set()

    def forget_since_step(self) -> None:
        """Ask anew for every rollout that was made since the step began, and for every reply that is remembered."""
        if self.runner is not None:
            self.runner.forget(self._rollouts_before)

    def record(self, candidate: Candidate, split: str, scores: Mapping[str, float], step: int) -> Candidate:
        """Write down a candidate's scores by example, and tell the listeners."""
        values = tuple(scores.values())
        self.announce(
            CandidateEvaluated(self.run_id, step, candidate.index, split, mean(scores) or 0.0, values, tuple(scores))
        )
        return self.update(candidate, **{"valset_scores" if split == "valset" else "minibatch_scores": dict(scores)})

    def update(self, candidate: Candidate, **changes: Any) -> Candidate:
        changed = replace(self.candidates[candidate.index], **changes)
        self.candidates[candidate.index] = changed
        if self.best.index == candidate.index:
            self.best = changed
        return changed

    def settle(self, candidate: Candidate, verdict: Verdict) -> Candidate:
        """Write down what became of a candidate; an accepted one is the best from now on."""
        settled = self.update(candidate, accepted=verdict.accepted, reason=verdict.reason)
        if verdict.accepted:
            self.best = settled
        return settled

    def settle_undecided(self, reason: str) -> Verdict:
        """Write down why the latest candidate has no verdict, if it has none."""
        verdict = Verdict(False, reason)
        if not self.candidates[-1].reason:
            self.settle(self.candidates[-1], verdict)
        return verdict

    def note_fault(self, where: str, error: BaseException | str) -> None:
        message = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        self.faults[where, message[:500]] += 1

    def end_step(
        self,
        step: int,
        verdict: Verdict,
        *,
        parent: Candidate,
        candidate: Candidate | None = None,
        train_before: float | None = None,
    ) -> None:
        tried = None if candidate is None else self.candidates[candidate.index]
        spent = self.meter.report().whole_run
        self.announce(
            StepFinished(
                self.run_id,
                step=step,
                candidate=None if tried is None else tried.index,
                parent=parent.index,
                accepted=verdict.accepted,
                reason=verdict.reason,
                train_before=train_before,
                train_after=None if tried is None else mean(tried.minibatch_scores),
                candidate_score=None if tried is None else tried.score,
                best_score=self.best.score,
                credit=self.credit[step - 1] if len(self.credit) >= step else {},
                lm_calls=spent.lm_calls,
                tokens=spent.tokens,
                cost=spent.cost,
            )
        )

    def finish(
        self, stop_reason: str, error: BaseException | None = None, usage: UsageReport | None = None
    ) -> DetailedResults:
        results = DetailedResults(
            self.run_id,
            self.task.optimizer,
            self.task.settings,
            self.task.models,
            self.task.simulated,
            tuple(self.candidates),
            self.best.index,
            tuple(self.credit),
            usage or self.meter.report(),
            stop_reason,
            tuple(Fault(where, message, count) for (where, message), count in self.faults.items()),
            tuple(self.lessons),
            tuple(self.feedback.contradictions()),
            self.runner.scores.noise() if self.runner else 0.0,
        )
        # An interrupt has a name and says nothing.
        failed = None if error is None else ": ".join(filter(None, (type(error).__name__, str(error))))
        self.announce(CompileFinished(self.run_id, stop_reason, results.to_dict(), failed))
        return results


def are_simulated(models: Mapping[str, str]) -> bool:
    """Whether one of these is the offline model: it is told apart by its name, over HTTP too."""
    return any("simulation" in name for name in models.values())


def scores_of(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """The scores by example, of those that have one."""
    return {rollout.example_id: rollout.score for rollout in rollouts if rollout.score is not None}


def mean(scores: Mapping[str, float]) -> float | None:
    """The mean score, None of no scores."""
    return sum(scores.values()) / len(scores) if scores else None
