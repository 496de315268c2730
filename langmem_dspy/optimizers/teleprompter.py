"""PromptOptimizer: checks what it is given, opens what a run needs, and hands over to the loop in `search`."""

from __future__ import annotations

import copy
import functools
import inspect
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import is_dataclass
from typing import Any

import dspy
from dspy.teleprompt import Teleprompter
from dspy.utils.callback import BaseCallback

from langmem_dspy.errors import InputError
from langmem_dspy.events import Announcer, Listener
from langmem_dspy.metered_lm import MeteredLM
from langmem_dspy.optimizers.acceptance import Acceptance, Helps
from langmem_dspy.optimizers.choosing_credit import CreditKind, credit_by
from langmem_dspy.optimizers.interventions import RunInterventions
from langmem_dspy.optimizers.journal import Journal
from langmem_dspy.optimizers.lesson_search import LessonSearch
from langmem_dspy.optimizers.metrics import Metric, MetricFunction
from langmem_dspy.optimizers.parts import checked_change, read_parts
from langmem_dspy.optimizers.progress import default_listeners
from langmem_dspy.optimizers.prompts import Prompt, held_resources, outline, read_prompts, task_models, with_prompts
from langmem_dspy.optimizers.rollouts import RolloutRunner, by_id
from langmem_dspy.optimizers.run import Run, Task
from langmem_dspy.replies import as_lm
from langmem_dspy.usage import Budget, Meter

Examples = Sequence[dspy.Example]


class PromptOptimizer(Teleprompter):
    """Compiles better prompts for any `dspy.Module` by reflection on its rollouts.

    Each step looks at what went wrong on a minibatch, asks `credit` which prompts are to blame and `proposer` what they
    should say, and tries each change by what happens without it; see `lesson_search`. The result is judged on the
    valset, and is never worse there than the student.

    `proposer`: a module (prompt=, trajectories=) -> Prediction(prompt=, rationale=).
    `metric`: see `metrics.Metric`; scores in [0, 1]. None: the trainset's examples carry `trajectory` and `feedback`,
    each valid revision is taken, and no improvement is claimed.
    `reflection_lm`: what proposer and credit ask; `dspy.settings.lm` if None.
    `credit`: which prompts are to blame: "trace" (None too: for no calls), "model", "counterfactual", "auto", or a
    module such as `CreditAssigner()`; see `choosing_credit`.
    `guidance`: {predictor: {"when_to_update": ..., "update_instructions": ...}}; a prompt whose `when_to_update` begins
    with "never" is never touched.
    `log_dir`: a folder for the journal; started again with it, a killed run goes on where it was. The journal then
    takes the place of DSPy's response cache.
    `acceptance`: what decides whether a lesson is kept; `Helps()` if None. `seed`: the order of the trainset.
    `change`: what may change: "instructions", "demos" (few-shot examples), "tools" (their descriptions); see `parts`.
    `max_steps`: None goes on until nothing is left to learn or the budget ends.
    """

    def __init__(
        self,
        proposer: dspy.Module,
        *,
        metric: MetricFunction | None = None,
        reflection_lm: str | dspy.BaseLM | None = None,
        credit: CreditKind | Callable[..., dspy.Prediction] | None = None,
        guidance: Mapping[str, Mapping[str, str]] | None = None,
        budget: Budget | None = None,
        minibatch_size: int = 12,
        max_steps: int | None = None,
        num_threads: int | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        seed: int = 0,
        callbacks: Sequence[Listener | BaseCallback] = (),
        acceptance: Acceptance | None = None,
        change: Sequence[str] = ("instructions",),
    ) -> None:
        super().__init__()
        if not isinstance(proposer, dspy.Module):
            raise InputError(f"proposer is a dspy.Module such as Gradient(), got {proposer!r}")
        for name, value in (("minibatch_size", minibatch_size), ("max_steps", max_steps), ("num_threads", num_threads)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InputError(f"{name} must be an int of at least 1, got {value!r}")
        if budget is not None and not isinstance(budget, Budget):
            raise InputError(f"budget is a Budget(lm_calls=..., ...), got {budget!r}")
        self.proposer, self.metric, self.reflection_lm = proposer, metric, reflection_lm
        self.credit: CreditKind | Callable[..., dspy.Prediction] | None = credit_by(credit or "trace")
        self.guidance, self.budget = guidance or {}, budget or Budget()
        self.minibatch_size, self.max_steps, self.num_threads = minibatch_size, max_steps, num_threads
        self.log_dir, self.seed = log_dir, seed
        # DSPy reads `callbacks` of a teleprompter itself, and expects its own kind there.
        self.callbacks = [listener for listener in callbacks if isinstance(listener, BaseCallback)]
        self.listeners = [listener for listener in callbacks if not isinstance(listener, BaseCallback)]
        self.acceptance = acceptance or Helps()
        self.change = checked_change(change)

    def get_params(self) -> dict[str, Any]:
        """The settings in plain words. A copy: trackers are known to write into what they are given."""
        return {
            "proposer": type(self.proposer).__name__,
            "max_reflection_steps": getattr(self.proposer, "max_reflection_steps", 1),
            "metric": None if self.metric is None else _named(self.metric),
            "credit": _named(credit_by(self.credit or "trace")),
            "acceptance": _named(self.acceptance),
            "guidance": {name: dict(entry) for name, entry in self.guidance.items()},
            "budget": self.budget.limits(),
            "minibatch_size": self.minibatch_size,
            "max_steps": self.max_steps,
            "num_threads": self.num_threads,
            "seed": self.seed,
            **({"change": list(self.change)} if self.change != ("instructions",) else {}),
        }

    def __repr__(self) -> str:
        said = {name: value for name, value in self.get_params().items() if value not in (None, {}, [])}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in said.items())})"

    def compile(
        self,
        student: dspy.Module,
        *,
        trainset: Examples,
        teacher: dspy.Module | None = None,
        valset: Examples | None = None,
        **kwargs: Any,
    ) -> dspy.Module:
        """A copy of `student` with the best prompts found, and `.detailed_results`. The student is never changed.

        `valset=None` judges on the trainset, with a warning. Raises `InputError` for an empty trainset and for a
        student without predictors, `EvaluationError` when nothing could be scored, `dspy.LMError` when the model is
        gone; the error then carries what was found so far as `.detailed_results`.
        """
        if teacher is not None or kwargs:
            given = ["teacher"] * (teacher is not None) + sorted(kwargs)
            raise InputError(f"compile takes trainset and valset; {', '.join(given)} would have no effect here")
        prompts = read_prompts(student, self.guidance)
        if "instructions" not in self.change:
            prompts = [Prompt(**{**prompt, "when_to_update": "never"}) for prompt in prompts]
        prompts += [Prompt(name=name, prompt=text) for name, text in read_parts(student, self.change).items()]
        trainset, valset = _examples(trainset, "trainset"), None if valset is None else _examples(valset, "valset")
        task = self._task(student, prompts, trainset, valset)
        with ExitStack() as open_files:
            journal = None
            if self.log_dir is not None:
                journal = open_files.enter_context(Journal(self.log_dir, task.identity()))
            meter = Meter(self.budget, replies=journal)
            runner = self._runner(student, meter)
            announce = Announcer([*self.listeners, *(() if self.listeners else default_listeners())])
            run = Run(task, meter, announce, runner, journal.run_id if journal else None)
            run.begin()
            try:
                stop_reason = self._search(run, student, prompts).run_to_the_end()
            except BaseException as error:
                error.detailed_results = run.finish("error", error)  # type: ignore[attr-defined]
                raise
            results = run.finish(stop_reason)
        compiled = with_prompts(student, run.best.prompts)
        compiled.detailed_results = results
        compiled._compiled = True
        return compiled

    def _task(self, student: dspy.Module, prompts: list[Prompt], trainset: Examples, valset: Examples | None) -> Task:
        if self.metric is None and (missing := [e for e in trainset if e.get("trajectory") is None]):
            raise InputError(f"without a metric, examples carry `trajectory` and `feedback`; {missing[0]!r} has none")
        if valset is None and self.metric is not None:
            warnings.warn(
                "no valset: candidates are judged on the examples they were made from, so the score found is "
                "optimistic; pass valset=",
                stacklevel=5,  # past DSPy's two wrappers of compile
            )
        models = {"reflection": as_lm(self.reflection_lm).model}
        if self.metric is not None:
            models["task"] = task_models(student)
        judged_on = trainset if valset is None else valset
        return Task(
            optimizer=type(self).__name__,
            settings=self.get_params(),
            trainset=by_id(trainset),
            valset=by_id(judged_on),
            prompts={prompt["name"]: prompt["prompt"] for prompt in prompts},
            models=models,
        )

    def _runner(self, student: dspy.Module, meter: Meter) -> RolloutRunner | None:
        if self.metric is None:
            return None
        threads = self.num_threads or dspy.settings.num_threads or 8
        return RolloutRunner(student, Metric(self.metric), meter, threads, task_lm=dspy.settings.lm)

    def _search(self, run: Run, student: dspy.Module, prompts: list[Prompt]) -> LessonSearch:
        def metered(lm: dspy.BaseLM) -> dspy.BaseLM:
            return MeteredLM(lm, run.meter, "reflection", whole=True)

        def own(module: Any) -> Any:
            if not isinstance(module, dspy.Module):
                return copy.deepcopy(module)
            return with_prompts(module, {}, {id(lm): metered(lm) for lm in held_resources(module, dspy.BaseLM)})

        return LessonSearch(
            run,
            proposer=own(self.proposer),
            credit=_credit_in(run, own(credit_by(self.credit or "trace")), student),
            acceptance=self.acceptance,
            reflection_lm=metered(as_lm(self.reflection_lm)),
            minibatch_size=self.minibatch_size,
            guided=prompts,
            max_steps=self.max_steps,
            num_threads=self.num_threads or 8,
            seed=self.seed,
        )


def _examples(given: Any, name: str) -> list[dspy.Example]:
    examples = [] if given is None else list(given)
    if not examples:
        raise InputError(f"{name} is empty; give at least one dspy.Example")
    for example in examples:
        if not isinstance(example, dspy.Example):
            raise InputError(f"{name} holds dspy.Example values, got {type(example).__name__} {example!r:.120}")
    return examples


def _named(part: Any) -> str:
    """A setting in words that are the same in every process: no addresses."""
    if hasattr(part, "__qualname__"):
        return str(part.__qualname__)
    return repr(part) if is_dataclass(part) else type(part).__name__


def _credit_in(
    run: Run, credit: Callable[..., dspy.Prediction], student: dspy.Module
) -> Callable[..., dspy.Prediction]:
    """`credit`, handed what it takes of this run: the program's outline, and interventions."""
    takes = inspect.signature(type(credit).forward if isinstance(credit, dspy.Module) else credit).parameters
    offered = {"outline": outline(student), "interventions": RunInterventions(run)}
    return functools.partial(credit, **{name: value for name, value in offered.items() if name in takes})
