"""What every search does: takes steps until something ends it, bears faults, asks who is to blame and what to change.

Without a metric that is all: recordings are learned from once, and each valid revision is taken. The search under a
metric is `lesson_search`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import dspy
from dspy.utils.exceptions import LMError

from langmem_dspy.errors import BudgetExhausted, EvaluationError, JournalError
from langmem_dspy.events import ContradictionFound, CreditAssigned, PromptRevised
from langmem_dspy.optimizers.acceptance import Acceptance, Verdict
from langmem_dspy.optimizers.credit import Blame
from langmem_dspy.optimizers.lessons import Lesson
from langmem_dspy.optimizers.parts import DEMOS, TOOL, predictor_of
from langmem_dspy.optimizers.prompts import Prompt, broken_by, is_frozen
from langmem_dspy.optimizers.results import Candidate, RevisedPrompt
from langmem_dspy.optimizers.rollouts import in_threads
from langmem_dspy.optimizers.run import Run
from langmem_dspy.optimizers.trajectories import Trajectory, read_trajectories

MAX_FAULTS_IN_A_ROW = 3


@dataclass
class Search:
    """The steps of one run."""

    run: Run
    proposer: dspy.Module
    credit: Callable[..., dspy.Prediction]
    acceptance: Acceptance
    reflection_lm: dspy.BaseLM
    minibatch_size: int
    guided: list[Prompt]
    max_steps: int | None
    num_threads: int
    seed: int = 0
    steps: int = 0
    fault: Exception | None = None  # the first of those in a row
    faults_in_a_row: int = 0

    def run_to_the_end(self) -> str:
        """Search until something ends it; returns what."""
        try:
            stop_reason = self._learn_from_recorded() if self.run.runner is None else self._search()
        except BudgetExhausted as error:
            self.run.settle_undecided("the budget was spent before it could be judged")
            return f"budget: {error.limit}"
        if self.fault is not None and self.faults_in_a_row == self.steps:
            raise self.fault  # no step came through: a model that is gone must not look like one without ideas
        return stop_reason

    def _search(self) -> str:
        raise NotImplementedError

    def _learn_from_recorded(self) -> str:
        if all(map(is_frozen, self.guided)):
            return "every prompt is frozen"
        for step, names in enumerate(self._batches(list(self.run.task.trainset)), 1):
            self._take(step, partial(self._learn, step, names))
        return "no metric"

    def _batches(self, names: Sequence[str]) -> list[list[str]]:
        size = self.minibatch_size
        return [list(names[start : start + size]) for start in range(0, len(names), size)]

    def _take(self, step: int, attempt: Callable[[], None]) -> None:
        """One step; a fault that passes costs this step, one that stays ends the run."""
        self.steps = step
        parent = self.run.best
        try:
            attempt()
        except (BudgetExhausted, JournalError):
            raise
        except (LMError, EvaluationError) as error:
            self.run.note_fault("step", error)
            verdict = self.run.settle_undecided(f"a fault ended the step: {error}")
            self.run.end_step(step, verdict, parent=parent)
            self.fault = self.fault or error
            self.faults_in_a_row += 1
            if self.faults_in_a_row >= MAX_FAULTS_IN_A_ROW:
                raise self.fault from self.fault.__cause__
        else:
            self.fault, self.faults_in_a_row = None, 0

    def _learn(self, step: int, names: list[str]) -> None:
        """Revise the prompts by recorded trajectories; what is valid is taken."""
        run, parent = self.run, self.run.best
        examples = [run.task.trainset[name] for name in names]
        recorded = read_trajectories([(e["trajectory"], e.get("feedback")) for e in examples], list(parent.prompts))
        candidate = self._revised(step, recorded)
        taken = candidate is not None and bool(candidate.changed)
        verdict = Verdict(taken, "a valid revision; no metric to judge it by" if taken else _why_not(candidate))
        if candidate is not None:
            run.settle(candidate, verdict)
        run.end_step(step, verdict, parent=parent, candidate=candidate)

    def _revised(self, step: int, trajectories: list[Trajectory]) -> Candidate | None:
        """A candidate with the blamed prompts rewritten, or None when nobody proposes a change."""
        with dspy.context(lm=self.reflection_lm):
            work = self._blamed(step, trajectories)
            revisions = in_threads(lambda task: self._propose(*task), work, self.num_threads)
        self._announce(step, revisions)
        return self.run.add(step, revisions) if any(r.changed or r.declined for r in revisions) else None

    def _blamed(self, step: int, trajectories: list[Trajectory]) -> list[tuple[Prompt, list[Trajectory]]]:
        """The prompts to blame as they are now, each with the trajectories that speak against it."""
        for found in self.run.feedback.add(trajectories):
            self.run.announce(ContradictionFound(self.run.run_id, step, **vars(found)))
        texts = self.run.best.prompts
        prompts = {p["name"]: Prompt(**{**p, "prompt": texts[p["name"]]}) for p in self.guided if not is_frozen(p)}
        may_change = {predictor_of(name) for name in prompts if not name.endswith(DEMOS)}  # itself, or a tool of its
        own = [Prompt(**{**p, "prompt": texts[p["name"]]}) for p in self.guided if p["name"] in may_change]
        credit = self.credit(prompts=own, trajectories=trajectories)
        blame = {b.name: b for b in credit.blame}
        self._note_credit(step, list(blame.values()), trajectories)
        for dropped in [*credit.get("dropped", ()), *(f"{n!r} may not change" for n in blame if n not in prompts)]:
            self.run.note_fault("credit", dropped)
        tools = [(name, blame[of]) for name in prompts if TOOL in name and (of := predictor_of(name)) in blame]
        return [(prompts[n], _evidence(b, trajectories)) for n, b in (*blame.items(), *tools) if n in prompts]

    def _announce(self, step: int, revisions: Iterable[RevisedPrompt]) -> None:
        for r in revisions:
            after = r.after if r.changed else None
            self.run.announce(
                PromptRevised(self.run.run_id, step, r.predictor, r.before, after, r.rationale, r.declined)
            )

    def _propose(self, prompt: Prompt, trajectories: list[Trajectory]) -> RevisedPrompt:
        answer = self.proposer(prompt=prompt, trajectories=trajectories)
        before, after = prompt["prompt"], answer.prompt
        declined = answer.get("declined")
        if declined is None and (problems := broken_by(before, after if isinstance(after, str) else "")):
            declined, after = " ".join(problems), before  # proposers of others are not trusted either
        return RevisedPrompt(prompt["name"], before, after, answer.get("rationale") or "", declined)

    def _note_credit(self, step: int, blame: list[Blame], trajectories: list[Trajectory]) -> None:
        shares = {b.name: (len(b.evidence) or len(trajectories)) / max(len(trajectories), 1) for b in blame}
        self.run.credit += [{}] * (step - 1 - len(self.run.credit)) + [shares]
        reasons, evidence = {b.name: b.reason for b in blame}, {b.name: b.evidence for b in blame}
        self.run.announce(CreditAssigned(self.run.run_id, step, reasons, evidence))


def revisions_by(lessons: Sequence[Lesson], before: Mapping[str, str], after: Mapping[str, str]) -> list[RevisedPrompt]:
    """What became of these lessons, as a revision of each prompt that they are for."""
    revisions = []
    for name in dict.fromkeys(lesson.predictor for lesson in lessons):
        own = [lesson for lesson in lessons if lesson.predictor == name]
        told = "\n".join(f"{lesson.fate} ({lesson.gain:+.3f}): {lesson.text}" for lesson in own)
        declined = None if after[name] != before[name] else "no lesson helped where it was asked for"
        revisions.append(RevisedPrompt(name, before[name], after[name], told, declined))
    return revisions


def _why_not(candidate: Candidate | None) -> str:
    declined = [] if candidate is None else [f"{r.predictor}: {r.declined}" for r in candidate.revisions if r.declined]
    return "; ".join(declined) or "no change proposed"


def _evidence(blame: Blame, trajectories: list[Trajectory]) -> list[Trajectory]:
    """The trajectories the blame rests on; where it names none, those that did not go well."""
    named = [trajectory for trajectory in trajectories if trajectory.id in blame.evidence]
    return named or [t for t in trajectories if t.score is None or t.score < 1]
