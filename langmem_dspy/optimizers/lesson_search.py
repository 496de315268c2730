"""The search by lessons: run some examples, collect lessons from what went wrong, try them, keep those that help.

A wave is a handful of training examples. Its rollouts are read again after each round of lessons (a trial leaves them
behind, so that costs nothing) until they teach nothing more; then the next wave comes. What is left failing after all
waves is looked at in ever smaller groups, since a model shown one case overlooks less than one shown six.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import dspy

from langmem_dspy.errors import BudgetExhausted
from langmem_dspy.optimizers.acceptance import Effect, Verdict
from langmem_dspy.optimizers.doubts import doubted, doubtful
from langmem_dspy.optimizers.drafting import looked_at, placed, said_before, set_aside, shown_runs
from langmem_dspy.optimizers.lessons import Draft, Ledger, Lesson
from langmem_dspy.optimizers.narrowing import Narrowing, needed_more
from langmem_dspy.optimizers.prompts import Prompt, is_frozen
from langmem_dspy.optimizers.results import Candidate, RevisedPrompt
from langmem_dspy.optimizers.rollouts import Rollout, in_threads
from langmem_dspy.optimizers.run import mean, scores_of
from langmem_dspy.optimizers.search import Search, revisions_by
from langmem_dspy.optimizers.tracing import Fields
from langmem_dspy.optimizers.trajectories import Trajectory
from langmem_dspy.optimizers.trials import seen_elsewhere, try_lessons
from langmem_dspy.optimizers.validation import Validation, check_student

SHOWN_AT_ONCE = (6, 3, 1)  # trajectories in one request, by how often the training examples have been gone through
PATIENCE = 2  # times to go through the training examples in vain before giving up
_NO_CHANGE = Verdict(False, "no change proposed")
DOUBTS = 6  # lessons in force to test against examples that keep failing, in one step


@dataclass
class LessonSearch(Search):
    """Searches by lessons where there is a metric; without one, it learns from recordings as `Search` does."""

    board: dict[str, Rollout] = field(default_factory=dict)  # the latest scored rollout of each training example
    learned: bool = True  # whether the last step changed anything
    rounds: int = 0  # how often the training examples have been gone through
    dry: int = 0  # of these, the last that taught nothing
    in_force_before: tuple[int, ...] = ()  # lessons, when the step began

    def __post_init__(self) -> None:
        frozen = [prompt["name"] for prompt in self.guided if is_frozen(prompt)]
        self.ledger = Ledger(self.run.task.prompts, frozen)
        self.run.lessons = self.ledger.lessons
        self.validation = Validation(self.run)
        self.narrowing = Narrowing(self.ledger)

    def _search(self) -> str:
        run = self.run
        if all(map(is_frozen, self.guided)):
            self.validation.judge(run.best, 0)
            return "every prompt is frozen"
        with run.meter.holding_back(self.validation.share_kept()):
            try:
                stop_reason = self._learn_from_rollouts()
            except BudgetExhausted as error:
                run.forget_since_step()  # which of the last rollouts came through depends on the threads
                run.settle_undecided("the budget was spent before it could be judged")
                stop_reason = f"budget: {error.limit}"
        run.best = run.candidates[self.validation.decide(run.best, self.steps).index]
        return stop_reason

    def _learn_from_rollouts(self) -> str:
        if self.validation.affordable(0):
            self.validation.judge(self.run.best, 0)
            if self.validation.perfect(self.run.best):
                return "perfect score on the valset"
        for step, (wave, shown) in enumerate(self._waves(), 1):
            if self.max_steps is not None and step > self.max_steps:
                return "max_steps"
            self._take(step, partial(self._step, step, wave, shown))
            if self.validation.perfect(self.run.best):
                return "perfect score on the valset"
        return "nothing left to learn"

    def _waves(self) -> Iterator[tuple[list[str], int]]:
        """The examples of each step, and how many to show at once; the same again while they teach something."""
        luck = random.Random(self.seed)
        waiting = luck.sample(list(self.run.task.trainset), len(self.run.task.trainset))
        for shown in itertools.cycle(SHOWN_AT_ONCE):
            before = self.ledger.in_force
            for wave in self._batches(waiting):
                self.learned = True
                while self.learned:
                    yield wave, shown
            self.rounds += 1
            self.dry = self.dry + 1 if self.ledger.in_force == before else 0
            failing = [name for name in self.run.task.trainset if self._may_teach(name)]
            if self.dry > PATIENCE or (self.dry and not failing):
                return
            # Where nothing more was learned from what had failed, what once went well is looked at again too.
            waiting = list(self.run.task.trainset) if self.dry or not failing else failing
            luck.shuffle(waiting)
            for name in waiting:
                self.board.pop(name, None)

    def _may_teach(self, name: str) -> bool:
        return name not in self.board or (self.board[name].score or 0) < 1

    def _step(self, step: int, wave: list[str], shown: int) -> None:
        """Collect lessons from a wave and try them; where it teaches nothing new, doubt the lessons in force."""
        run, parent = self.run, self.run.best
        run.mark_step()
        self.in_force_before = self.ledger.in_force
        self.learned = True  # should a fault end this step, the same wave is tried again
        self._roll_out_missing(wave)
        failing = {name: self.board[name] for name in wave if name in self.board and (self.board[name].score or 0) < 1}
        before = mean(scores_of([self.board[name] for name in wave if name in self.board]))
        candidate = None
        if not failing:
            self.learned = False
            verdict = Verdict(False, "nothing to learn: a perfect minibatch")
        else:
            candidate, verdict = self._learned_from(step, wave, failing, shown)
        if candidate is not None:
            run.settle(candidate, verdict)
        run.end_step(step, verdict, parent=parent, candidate=candidate, train_before=before)

    def _learned_from(
        self, step: int, wave: Sequence[str], failing: Mapping[str, Rollout], shown: int
    ) -> tuple[Candidate | None, Verdict]:
        drafts, declined = self._drafts(step, failing, shown)
        taken_up = self.ledger.take_up(drafts, step)
        for lesson in taken_up:
            if lesson.fate == "refused" and lesson.predictor in self.ledger.base:
                _add_reason(declined, lesson.predictor, lesson.note)
        self.learned = False
        if fresh := [lesson for lesson in taken_up if lesson.fate == "trial"]:
            return self._tried(step, fresh, wave, failing, declined)
        candidate, verdict = self._doubted(step, wave, failing)
        return (candidate, verdict) if candidate or not declined else self._declined(step, declined)

    def _declined(self, step: int, declined: Mapping[str, str]) -> tuple[Candidate, Verdict]:
        """A candidate like its parent, which holds why nothing else became of this step."""
        texts = self.run.best.prompts
        revisions = [RevisedPrompt(n, texts[n], texts[n], declined=why) for n, why in declined.items()]
        self._announce(step, revisions)
        verdict = Verdict(False, "; ".join(f"{name}: {why}" for name, why in declined.items()))
        return self.run.add(step, revisions), verdict

    def _roll_out_missing(self, wave: Sequence[str]) -> None:
        missing = [name for name in wave if name not in self.board]
        self.board |= self._roll_out(self.ledger.prompts(), missing)
        if not self.run.candidates[0].valset_scores and self.steps == 1:
            check_student([self.board[name] for name in missing if name in self.board])

    def _roll_out(self, prompts: Mapping[str, str], names: Sequence[str]) -> dict[str, Rollout]:
        # Of a single example that cannot be scored, nothing is learned; a model that is gone shows in the next wave.
        rollouts = self.run.roll_out(prompts, "minibatch", names, must_score=len(names) > 1) if names else []
        return {rollout.example_id: rollout for rollout in rollouts if rollout.score is not None}

    def _drafts(self, step: int, failing: Mapping[str, Rollout], shown: int) -> tuple[list[Draft], dict[str, str]]:
        """What the proposer wants changed, each draft in the prompt whose output it is about; and why it declined."""
        trajectories = [rollout.trajectory for rollout in failing.values()]
        if self.dry and self.run.runner is not None:
            remembered = self.run.runner.remembered
            trajectories += [run for now in list(trajectories) for run in said_before(now, remembered(now.id))]
        with dspy.context(lm=self.reflection_lm):
            work = [
                (prompt, evidence[start : start + shown])
                for prompt, evidence in self._blamed(step, trajectories)
                for start in range(0, len(evidence), shown)
            ]
            looks = in_threads(lambda w: looked_at(self.proposer, *w), work, self.num_threads)
        fields = Fields(rollout.trajectory for rollout in self.board.values())
        drafts = [placed(draft, fields.owners(draft.text)) for found, _ in looks for draft in found]
        drafts += shown_runs(self.ledger, self.board, failing)
        if self.rounds:
            drafts += set_aside(self.ledger, failing.values())
        declined: dict[str, str] = {}
        for (prompt, _), (_, why) in zip(work, looks, strict=True):
            _add_reason(declined, prompt["name"], why)
        return drafts, declined

    def _tried(
        self,
        step: int,
        fresh: list[Lesson],
        wave: Sequence[str],
        failing: Mapping[str, Rollout],
        declined: Mapping[str, str],
    ) -> tuple[Candidate, Verdict]:
        how = (self._roll_out, self.num_threads, self.acceptance)
        trial = try_lessons(self.ledger, fresh, failing, *how)
        # What is proposed late is likelier wrong.
        effects = seen_elsewhere(self.ledger, trial.effects, self.board, *how) if self.rounds else trial.effects
        kept = [effect for effect in effects if self._is_kept(effect)]
        for effect in effects:
            fate = "in force" if effect in kept else "rejected" if effect.moved else "idle"
            self.ledger.settle(effect.lesson.id, fate, effect.gain, effect.examples)
        if kept:
            # The trial's rollouts stand for the prompts with the kept lessons alone, save where a rejected one showed.
            shown_without = (e.without for e in effects if e not in kept and e.moved)
            self.board |= {**trial.after, **{n: r for seen in shown_without for n, r in seen.items()}}
        idle = [effect.lesson for effect in effects if self.rounds and not effect.moved]
        instead = self.narrowing.put_in_place(idle, self.board, self._roll_out)
        self.board |= {name: run for runs in instead for name, run in runs.items()}
        helping = len(kept) + len(instead)
        self.learned = helping > 0
        said = "; ".join([f"{helping} of {len(fresh)} lessons help", *(f"{n}: {why}" for n, why in declined.items())])
        return self._candidate(step, [e.lesson.id for e in effects], wave, Verdict(helping > 0, said))

    def _is_kept(self, effect: Effect) -> bool:
        """Late, when most of what is right has been learned, a gone complaint may cost no score at all."""
        return self.acceptance(effect) and (not self.rounds or effect.gain > -max(effect.error, 1e-9))

    def _doubted(
        self, step: int, wave: Sequence[str], failing: Mapping[str, Rollout]
    ) -> tuple[Candidate | None, Verdict]:
        """Test lessons in force on examples that keep failing though nothing new is proposed; drop those that hurt."""
        pairs = doubtful(self.ledger, self.board, failing, all_that_ran=self.dry > 0)[:DOUBTS]

        def doubts(pair: tuple[Lesson, str]) -> Effect:
            return doubted(self.ledger, *pair, self.board, self._roll_out, self.acceptance)

        effects = in_threads(doubts, pairs, self.num_threads)
        gains = {e.lesson.id: self.ledger.lessons[e.lesson.id].gain + e.gain for e in effects}
        hurts = [e for e in effects if self.acceptance.hurts(e, gains[e.lesson.id])]
        if self.rounds:
            hurts = [e for e in hurts if not needed_more(self.ledger, e, self.board, self._roll_out)]
        hurting = [effect.lesson.id for effect in hurts]
        remaining = [i for i in self.ledger.in_force if i not in hurting]
        after = self._roll_out(self.ledger.prompts(remaining), list(failing)) if hurting else {}
        for effect in effects:
            lesson = self.ledger.lessons[effect.lesson.id]
            fate, note = ("dropped", f"hurt on {effect.examples[0]}") if lesson.id in hurting else ("in force", "")
            tried_on = (*lesson.tried_on, *effect.examples)
            self.ledger.settle(lesson.id, fate, gains[lesson.id], tried_on, note)
        if not hurting:
            # Dear: not before all training examples have been gone through.
            return self._narrowed(step, wave, failing, effects) if self.rounds else (None, _NO_CHANGE)
        for lesson_id in hurting:
            self.ledger.reconsider(self.ledger.lessons[lesson_id])
        self.board |= after
        self.learned = True
        return self._candidate(step, hurting, wave, Verdict(True, f"{len(hurting)} lessons taken back: they hurt here"))

    def _narrowed(
        self, step: int, wave: Sequence[str], failing: Mapping[str, Rollout], effects: Sequence[Effect]
    ) -> tuple[Candidate | None, Verdict]:
        """Put narrower lessons in the place of one that says too much, where they do as well; see `narrowing`."""

        def look(predictor: str, prompts: Mapping[str, str], evidence: Sequence[Trajectory]) -> list[Draft]:
            guided = next(prompt for prompt in self.guided if prompt["name"] == predictor)
            with dspy.context(lm=self.reflection_lm):
                return looked_at(self.proposer, Prompt(**{**guided, "prompt": prompts[predictor]}), list(evidence))[0]

        found = self.narrowing.proposed(step, self.rounds, failing, self.board, effects, self._roll_out, look)
        if found is None:
            return None, _NO_CHANGE
        instead = self.narrowing.settled(found, self.board, self._roll_out)
        self.board |= instead
        self.learned = self.learned or bool(instead)
        verdict = Verdict(bool(instead), "a lesson narrowed" if instead else "no narrower lesson does as well")
        return self._candidate(step, [lesson.id for lesson in found.lessons], wave, verdict)

    def _candidate(
        self, step: int, lesson_ids: Sequence[int], wave: Sequence[str], verdict: Verdict
    ) -> tuple[Candidate, Verdict]:
        """The prompts with the lessons now in force as a candidate, judged on the valset where that is affordable."""
        run = self.run
        lessons = [self.ledger.lessons[i] for i in lesson_ids]
        revisions = revisions_by(lessons, run.best.prompts, self.ledger.prompts())
        self._announce(step, revisions)
        candidate = run.add(step, revisions)
        if not verdict.accepted:
            return candidate, verdict
        scores = scores_of([self.board[name] for name in wave if name in self.board])
        parent = run.best
        # What helped is taken before it is judged: a budget that ends in between must not lose it.
        candidate = run.settle(run.record(candidate, "minibatch", scores, step), verdict)
        if self.validation.affordable(step):
            self.validation.judge(candidate, step)
            judged = [c for c in run.candidates[: candidate.index] if c.accepted and c.valset_scores]
            if judged and self.validation.better(candidate, judged[-1]) is False:
                run.best = run.candidates[parent.index]
                return candidate, self._taken_back(judged[-1])
        return candidate, verdict

    def _taken_back(self, better: Candidate) -> Verdict:
        self.ledger.go_back(self.in_force_before, "the prompts were worse on the valset otherwise")
        self.board.clear()  # it holds rollouts with them; those without are remembered, and cost nothing
        self.learned = False
        return Verdict(False, f"worse on the valset than candidate {better.index}")


def _add_reason(reasons: dict[str, str], name: str, why: str) -> None:
    known = reasons.get(name, "")
    if why and why not in known:
        reasons[name] = f"{known} {why}".strip()
