"""Rollouts: run a program on examples; record what each predictor saw and said; score; count."""

from __future__ import annotations

import contextvars
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import dspy
from dspy.utils.exceptions import AdapterParseError, LMError

from langmem_dspy.errors import BudgetExhausted, EvaluationError, InputError
from langmem_dspy.metered_lm import MeteredLM, counting_repeats
from langmem_dspy.namespaces import context_store, memory_context
from langmem_dspy.optimizers.known_rollouts import KnownRollouts, Pair
from langmem_dspy.optimizers.metrics import Judgement, Metric, MetricFailed
from langmem_dspy.optimizers.noise import Scores
from langmem_dspy.optimizers.prompts import answers_once, held_resources, with_prompts
from langmem_dspy.optimizers.recording import Recorder, first_line
from langmem_dspy.optimizers.trajectories import Trajectory
from langmem_dspy.records import SupportsScratch
from langmem_dspy.usage import Meter

FIRST_TRIED = 8  # examples

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Rollout:
    """One run of the program on one example.

    `score` is in [0, 1], or None when there is none: `fault` then holds the error of the LM or the metric, and `cut`
    says that the budget ended the run. A run that failed by its own doing scores 0, and `error` is what it raised.
    `prediction`: what the program returned. `doubt`: the standard error of the score where the metric is noisy.
    """

    example_id: str
    trajectory: Trajectory
    score: float | None = None
    fault: Exception | None = None
    cut: bool = False
    error: Exception | None = None
    prediction: Any = None
    doubt: float = 0.0


Board = Mapping[str, Rollout]  # by example


def by_id(examples: Sequence[dspy.Example]) -> dict[str, dspy.Example]:
    """The examples, each by a short, stable name of its content; the same content again gets a counter."""
    seen: dict[str, int] = {}
    named = {}
    for example in examples:
        digest = hashlib.sha256(json.dumps(example.toDict(), sort_keys=True, default=str).encode()).hexdigest()[:8]
        seen[digest] = seen.get(digest, 0) + 1
        named[digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"] = example
    return named


class RolloutRunner:
    """Runs copies of `student` under the prompts given, remembers every rollout, and never runs the same one twice.

    Each rollout gets a copy of its own, in which every LM is metered and every store is a scratch view, so that it
    leaves no trace and threads cannot meet.
    """

    def __init__(
        self, student: dspy.Module, metric: Metric, meter: Meter, num_threads: int, *, task_lm: dspy.BaseLM | None
    ) -> None:
        self.student, self.metric, self.meter, self.num_threads = student, metric, meter, num_threads
        self._task_lm = None if task_lm is None else MeteredLM(task_lm, meter, "task", memo=True)
        self.scores = Scores()
        self._known: KnownRollouts[Rollout] = KnownRollouts()
        self._metered = {id(lm): MeteredLM(lm, meter, "task", memo=True) for lm in held_resources(student, dspy.BaseLM)}
        self._stores = [s for s in held_resources(student, SupportsScratch) if not isinstance(s, type | dspy.Module)]

    def run(
        self, prompts: Mapping[str, str], examples: Mapping[str, dspy.Example], *, must_score: bool = True
    ) -> list[Rollout]:
        """One rollout per example, in order.

        `must_score`: raise `EvaluationError` when LM or metric failed on every one of them.
        """
        version = hashlib.sha256(json.dumps(dict(prompts), sort_keys=True).encode()).hexdigest()
        missing = [name for name in examples if (version, name) not in self._known]
        # A cut evaluation is of no use: better not to begin it.
        self.meter.require_metric_calls(self._known.unasked((version, name) for name in missing))
        # The first ones alone tell whether the model and the metric are there at all: retries on all would take long.
        probed = FIRST_TRIED if not self._known and must_score else 0

        def rolled_out(name: str) -> Rollout:
            return self._known.once((version, name), lambda: self._roll_out(prompts, name, examples[name]))

        fresh: dict[str, Rollout] = {}
        for names in filter(None, (missing[:probed], missing[probed:])):
            ran = in_threads(rolled_out, names, self.num_threads)
            fresh |= {rollout.example_id: rollout for rollout in ran}
            if must_score and len(missing) == len(examples):
                _raise_if_none_scored(list(fresh.values()))
        rollouts = [fresh.get(name) or rolled_out(name) for name in examples]
        return in_threads(lambda r: self._settled(r, examples[r.example_id]), rollouts, self.num_threads)

    def intervene(
        self,
        prompts: Mapping[str, str],
        name: str,
        example: dspy.Example,
        outputs: Mapping[str, Mapping[str, Any]],
    ) -> Rollout:
        """A rollout in which the first answer of these predictors is the one given; no model is asked for it."""
        rollout = self._roll_out(prompts, name, example, outputs)
        raise_if_cut([rollout], self.meter)
        return self._settled(rollout, example)

    def remembered(self, name: str) -> list[Rollout]:
        """The scored rollouts of this example, under whatever prompts."""
        return self._known.of(name)

    def known(self) -> set[Pair]:
        """The rollouts that are remembered, by prompts and example."""
        return self._known.pairs()

    def forget(self, but: set[Pair]) -> None:
        """Forget all rollouts but these, and every reply."""
        self._known.keep(but)
        for lm in (*self._metered.values(), *([self._task_lm] if self._task_lm else [])):
            lm.forget()

    def _roll_out(
        self,
        prompts: Mapping[str, str],
        name: str,
        example: dspy.Example,
        given: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Rollout:
        scratch = {id(store): store.scratch() for store in self._stores}
        around = context_store()
        around = around.scratch() if isinstance(around, SupportsScratch) else None
        program = with_prompts(self.student, prompts, replacing={**self._metered, **scratch})
        for predictor, outputs in (given or {}).items():
            answers_once(dict(program.named_predictors())[predictor], outputs)
        recorder = Recorder(program)
        settings = {"trace": [], **({"lm": self._task_lm} if self._task_lm else {})}
        try:
            with counting_repeats(), memory_context(store=around), dspy.context(**settings):
                prediction = _finished(program, example)
                judged = self._judge(example, prediction, recorder)
        except InputError:
            raise  # the metric's result is no score, and will not be one for the next example either
        except Exception as error:  # noqa: BLE001 - whatever the program raises is what became of this rollout
            rollout = _failed(name, recorder, error)
        else:
            trajectory = Trajectory(
                name,
                steps=recorder.steps(),
                score=judged.score,
                feedback=judged.feedback,
                predictor_feedback=judged.predictor_feedback,
            )
            rollout = Rollout(name, trajectory, score=judged.score, prediction=prediction)
            self.scores.add((name, _told(prediction)), judged.score)
        if self.meter.replies is not None:
            self.meter.replies.check()
        if self.meter.refused and not rollout.cut:
            # The program swallowed the refusal: what it made of it is no result.
            return _failed(name, recorder, BudgetExhausted(self.meter.refused, 0))
        return rollout

    def _settled(self, rollout: Rollout, example: dspy.Example) -> Rollout:
        """The rollout with its score as sure as it has to be: a noisy metric is asked again, for no LM call."""
        key = rollout.example_id, _told(rollout.prediction)
        if rollout.prediction is None or rollout.score is None:
            return rollout
        try:
            for _ in range(self.scores.missing(key) if self.meter.budget.metric_calls is None else 0):
                self.scores.add(key, self.metric(example, rollout.prediction, meter=self.meter).score)
        except MetricFailed:
            pass  # it is known by the scores it has
        return replace(rollout, score=self.scores.mean(key), doubt=self.scores.error(key))

    def _judge(self, example: dspy.Example, prediction: Any, recorder: Recorder) -> Judgement:
        judged = self.metric(example, prediction, meter=self.meter)
        if judged.score < 1 and self.metric.judges_predictors and not judged.predictor_feedback:
            return self.metric.about_predictors(judged, example, prediction, recorder, meter=self.meter)
        return judged


def _told(prediction: Any) -> str:
    """A prediction as text: equal for equal ones."""
    return repr(prediction.toDict() if isinstance(prediction, dspy.Example) else prediction)


def evaluate(
    program: dspy.Module, examples: Mapping[str, dspy.Example], metric: Metric, num_threads: int
) -> list[Rollout]:
    """One rollout of the program as it is on each example, under no budget. Raises `EvaluationError` as a run does."""
    runner = RolloutRunner(program, metric, Meter(), num_threads, task_lm=dspy.settings.lm)
    return runner.run({}, examples)


def raise_if_cut(rollouts: Iterable[Rollout], meter: Meter) -> None:
    """Raise `BudgetExhausted` if it ended one: at the first limit used up, which is the same for any threads."""
    if any(rollout.cut for rollout in rollouts):
        limit = meter.spent() or "lm_calls"
        raise BudgetExhausted(limit, getattr(meter.budget, limit))


def _raise_if_none_scored(rollouts: Sequence[Rollout]) -> None:
    faults = [rollout.fault for rollout in rollouts if rollout.fault is not None]
    if rollouts and len(faults) == len(rollouts):
        raise EvaluationError(
            f"none of {len(rollouts)} examples could be scored; the first error: {_named(faults[0])}"
        ) from faults[0]


class _ProgramFailed(Exception):
    """The program raised; the cause is what it raised."""


def _finished(program: dspy.Module, example: dspy.Example) -> Any:
    try:
        return program(**example.inputs())
    except InputError as error:
        raise _ProgramFailed from error  # apart from the metric's


def _failed(name: str, recorder: Recorder, error: Exception) -> Rollout:
    if isinstance(error, _ProgramFailed) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    trajectory = Trajectory(name, steps=recorder.steps())
    if isinstance(error, BudgetExhausted):
        return Rollout(name, replace(trajectory, error="the budget was spent"), cut=True)
    if isinstance(error, MetricFailed):
        return Rollout(name, trajectory, fault=error.cause)
    if isinstance(error, LMError):
        return Rollout(name, replace(trajectory, error=_named(error)), fault=error)
    said = "the model's answer could not be parsed" if isinstance(error, AdapterParseError) else _named(error)
    return Rollout(name, replace(trajectory, error=said, score=0.0), score=0.0, error=error)


def in_threads(work: Callable[[T], R], items: Iterable[T], num_threads: int) -> list[R]:
    """`work` on every item, at most `num_threads` at once, each in a copy of this context; results in order.

    After an error no further item is begun; the first error in the order of the items is raised, once those under way
    have ended.
    """
    items = list(items)
    if num_threads == 1 or len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(max_workers=min(num_threads, len(items)), thread_name_prefix="langmem-dspy") as pool:
        futures = [pool.submit(contextvars.copy_context().run, work, item) for item in items]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(cancel_futures=True)
    raised = [future for future in futures if not future.cancelled() and future.exception() is not None]
    return [future.result() for future in raised or futures]


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
