"""Other libraries' optimizers behind our face, so that they run under the same meter and leave the same results."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import dspy
from dspy.teleprompt import Teleprompter

from langmem_dspy.errors import BudgetExhausted
from langmem_dspy.events import Announcer, Listener
from langmem_dspy.metered_lm import MeteredLM
from langmem_dspy.optimizers.metrics import Metric, MetricFunction
from langmem_dspy.optimizers.prompts import held_resources, prompt_texts, with_prompts
from langmem_dspy.optimizers.results import Candidate, RevisedPrompt
from langmem_dspy.optimizers.rollouts import by_id, evaluate
from langmem_dspy.optimizers.run import Run, Task, scores_of
from langmem_dspy.replies import as_lm
from langmem_dspy.usage import Budget, Meter


class GEPA(Teleprompter):
    """`dspy.GEPA` (Agrawal et al., 2025, arXiv:2507.19457) with its own settings, under a Budget of ours.

    Evaluating baseline and best on the valset for the results is not part of its budget.
    """

    def __init__(
        self,
        *,
        metric: MetricFunction,
        reflection_lm: str | dspy.BaseLM | None = None,
        budget: Budget,
        num_threads: int | None = None,
        seed: int = 0,
        callbacks: Sequence[Listener] = (),
        **settings: Any,
    ) -> None:
        super().__init__()
        self.metric, self.reflection_lm, self.budget = metric, reflection_lm, budget
        self.num_threads, self.seed, self.settings = num_threads or 8, seed, settings
        self.listeners = list(callbacks)

    def get_params(self) -> dict[str, Any]:
        return {"budget": self.budget.limits(), "seed": self.seed, "num_threads": self.num_threads, **self.settings}

    def compile(
        self, student: dspy.Module, *, trainset: Sequence[Any], teacher: Any = None, valset: Any = None, **kwargs: Any
    ) -> dspy.Module:
        """A copy of `student` with GEPA's best prompts, and `.detailed_results` in our form."""
        valset = valset or trainset
        prompts = prompt_texts(student)
        task_lm = as_lm(None)
        reflection_lm = as_lm(self.reflection_lm)
        models = {"task": task_lm.model, "reflection": reflection_lm.model}
        train, val = map(by_id, (trainset, valset))
        run = Run(
            Task("GEPA", self.get_params(), train, val, prompts, models),
            Meter(self.budget),
            Announcer(self.listeners),
            None,
        )
        run.begin()
        texts = self._best_texts(student, trainset, valset, run.meter, task_lm, reflection_lm)
        usage = run.meter.report()
        for step, version in enumerate((prompts, texts)):
            scores = scores_of(evaluate(with_prompts(student, version), val, Metric(self.metric), self.num_threads))
            if step == 0:
                run.update(run.candidates[0], valset_scores=scores)
            elif texts != prompts:
                changes = [RevisedPrompt(n, prompts[n], t) for n, t in texts.items() if t != prompts[n]]
                spent = (usage.lm_calls, usage.tokens, usage.cost)
                run.candidates.append(
                    Candidate(1, 1, 0, texts, tuple(changes), {}, scores, True, "GEPA's best", *spent)
                )
                run.best = run.candidates[1]
        compiled = with_prompts(student, texts)
        compiled.detailed_results = run.finish(f"budget: {run.meter.spent() or 'metric_calls'}", usage=usage)
        return compiled

    def _best_texts(
        self, student: Any, trainset: Any, valset: Any, meter: Meter, task_lm: Any, reflection_lm: Any
    ) -> dict[str, str]:
        optimizer = dspy.GEPA(
            metric=self._metric(meter),
            reflection_lm=MeteredLM(reflection_lm, meter, "reflection"),
            max_metric_calls=self.budget.metric_calls or 1_000_000,  # the meter stops it
            num_threads=self.num_threads,
            seed=self.seed,
            warn_on_score_mismatch=False,
            gepa_kwargs={"stop_callbacks": [lambda state: meter.spent() is not None]},
            **self.settings,
        )
        metered = {id(lm): MeteredLM(lm, meter, "task") for lm in held_resources(student, dspy.BaseLM)}
        try:
            with dspy.context(lm=MeteredLM(task_lm, meter, "task")), _quiet():
                best = optimizer.compile(
                    with_prompts(student, {}, metered), trainset=list(trainset), valset=list(valset)
                )
        except BudgetExhausted:
            return prompt_texts(student)
        return prompt_texts(best)

    def _metric(self, meter: Meter) -> MetricFunction:
        metric = Metric(self.metric)

        def gepa_metric(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
            said = metric(gold, pred, meter=meter)
            about = said.predictor_feedback.get(pred_name or "") or said.feedback
            about = about or " ".join(f"{name}: {text}" for name, text in said.predictor_feedback.items())
            return dspy.Prediction(score=said.score, feedback=about or f"This trajectory got a score of {said.score}.")

        return gepa_metric


@contextmanager
def _quiet() -> Iterator[None]:
    # GEPA logs every proposal, and DSPy's evaluation draws bars on stdout; in a comparison ours are enough.
    names = ("dspy", "dspy.teleprompt.gepa.gepa", "dspy.evaluate.evaluate")
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in names}
    for logger in levels:
        logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
