"""What a compile found out: every candidate with its parent, texts, scores and fate; and how that looks."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from langmem_dspy.optimizers.contradictions import Contradiction
from langmem_dspy.optimizers.frames import Table, frame
from langmem_dspy.optimizers.lessons import Lesson, origins
from langmem_dspy.optimizers.showing import results_html, results_rich, revision_html, revision_rich, score_text
from langmem_dspy.usage import UsageReport

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.console import RenderableType

    from langmem_dspy.optimizers.plots import Picture, Spent


@dataclass(frozen=True)
class RevisedPrompt:
    """One predictor's proposal in a step. `declined` says why it was not taken up into the candidate."""

    predictor: str
    before: str
    after: str
    rationale: str = ""
    declined: str | None = None

    @property
    def changed(self) -> bool:
        return self.before != self.after

    def _repr_html_(self) -> str:
        return revision_html(self)

    def __rich__(self) -> RenderableType:
        return revision_rich(self)


@dataclass(frozen=True)
class Candidate:
    """A set of prompts that was tried. Scores are in [0, 1], by example id; `score` is the mean on the valset.

    `parent` is the index it was made from (None for the student). `score` is None when it was never tried there.
    `lm_calls`, `tokens` and `cost` (US dollars) are what the run had spent when it was made.
    """

    index: int
    step: int
    parent: int | None
    prompts: Mapping[str, str]
    revisions: tuple[RevisedPrompt, ...] = ()
    minibatch_scores: Mapping[str, float] = field(default_factory=dict)
    valset_scores: Mapping[str, float] = field(default_factory=dict)
    accepted: bool = False
    reason: str = ""
    lm_calls: int = 0
    tokens: int = 0
    cost: float = 0.0

    @property
    def score(self) -> float | None:
        return sum(self.valset_scores.values()) / len(self.valset_scores) if self.valset_scores else None

    @property
    def changed(self) -> list[str]:
        return [revision.predictor for revision in self.revisions if revision.changed]


@dataclass(frozen=True)
class Fault:
    """An error that did not end the run, at most a few examples of each kind. `count` is how often it came."""

    where: str
    message: str
    count: int = 1


@dataclass(frozen=True)
class Origin:
    """Where a line of a prompt comes from. `step`: the one that brought it in, 0 if it is the student's own.

    `lesson`: the evidence it stands on and what it was measured to add; None where it came otherwise.
    """

    line: str
    step: int
    lesson: Lesson | None = None

    def __str__(self) -> str:
        if self.lesson is None:
            return f"{self.line}  <- {f'step {self.step}' if self.step else 'the student'}"
        found = f"{self.lesson.gain:+.3f} on {len(self.lesson.tried_on)} tried"
        return f"{self.line}  <- step {self.step}: {found}, asked for by {', '.join(self.lesson.evidence)}"


@dataclass(frozen=True)
class DetailedResults:
    """Everything a run of an optimizer leaves behind, on the compiled program as `.detailed_results`.

    `best` and `baseline` are candidates; `credit` holds, per step, how often each predictor was blamed in that step's
    minibatch (0 to 1). `lessons`: every change that was proposed, with its fate, in the order they came up.
    `contradictions`: what the feedback says both ways; its author should settle it. `noise`: the standard deviation of
    the metric on one and the same prediction, 0 where it never differed; scores of predictions judged again are means.
    `simulated`: the offline model took part, so the figures say nothing about real models.
    """

    run_id: str
    optimizer: str
    settings: Mapping[str, Any]
    models: Mapping[str, str]
    simulated: bool
    candidates: tuple[Candidate, ...]
    best_index: int
    credit: tuple[Mapping[str, float], ...]
    usage: UsageReport
    stop_reason: str
    errors: tuple[Fault, ...] = ()
    lessons: tuple[Lesson, ...] = ()
    contradictions: tuple[Contradiction, ...] = ()
    noise: float = 0.0

    @property
    def baseline(self) -> Candidate:
        return self.candidates[0]

    @property
    def best(self) -> Candidate:
        return self.candidates[self.best_index]

    @property
    def improvement(self) -> float | None:
        """Best minus baseline, over the valset examples that both were scored on; None without a metric."""
        before, after = self.baseline.valset_scores, self.best.valset_scores
        shared = before.keys() & after.keys()
        return sum(after[name] - before[name] for name in sorted(shared)) / len(shared) if shared else None

    @property
    def changed(self) -> list[str]:
        """The predictors whose prompts differ between baseline and best."""
        return [name for name, text in self.best.prompts.items() if text != self.baseline.prompts[name]]

    def lineage(self) -> list[Candidate]:
        """The candidates from the student to the best one, each made from the one before."""
        line = [self.best]
        while line[-1].parent is not None:
            line.append(self.candidates[line[-1].parent])
        return line[::-1]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form of all of it."""
        data = asdict(self)
        for candidate, plain in zip(self.candidates, data["candidates"], strict=True):
            plain["score"] = candidate.score
        return {**data, "improvement": self.improvement, "changed": self.changed}

    def to_frame(self, of: Table = "candidates") -> pd.DataFrame:
        """One row per candidate; or per lesson, per validation example (before and after), or per step (its credit)."""
        return frame(self, of)

    def plot(self, what: Picture | None = None, *, over: Spent = "lm_calls") -> Figure:
        """Scores over what was spent, credit by step, and each validation example before and after; or one of them."""
        from langmem_dspy.optimizers.plots import results_figure

        return results_figure(self, what, over)

    def diff(self) -> str:
        """The change from baseline to best as a unified diff, prompt by prompt."""
        return "\n".join(
            line
            for name in self.changed
            for line in difflib.unified_diff(
                self.baseline.prompts[name].splitlines(),
                self.best.prompts[name].splitlines(),
                f"{name} (before)",
                f"{name} (after)",
                lineterm="",
            )
        )

    def introduced_at(self, predictor: str) -> list[tuple[str, int]]:
        """Each line of the best prompt with the step that brought it in (0: the student's own)."""
        steps: dict[str, int] = {}
        for candidate in self.lineage():
            for line in candidate.prompts[predictor].split("\n"):
                steps.setdefault(line, candidate.step)
        return [(line, steps[line]) for line in self.best.prompts[predictor].split("\n")]

    def why(self, predictor: str) -> list[Origin]:
        """For each line of the best prompt where it comes from. Raises `KeyError` for a predictor there is none of."""
        own = [lesson for lesson in self.lessons if lesson.predictor == predictor and lesson.fate != "refused"]
        base, text = self.baseline.prompts[predictor], self.best.prompts[predictor]
        return [
            Origin(line, 0 if lesson is None else lesson.step, lesson)
            if lesson is not None or line in base.split("\n")
            else Origin(line, step)
            for (line, lesson), (_, step) in zip(origins(base, text, own), self.introduced_at(predictor), strict=True)
        ]

    def __repr__(self) -> str:
        return (
            f"DetailedResults({self.optimizer}, {score_text(self.baseline.score)} -> {score_text(self.best.score)}, "
            f"{len(self.candidates)} candidates, {self.usage.lm_calls} LM calls, stopped: {self.stop_reason})"
        )

    def __rich__(self) -> RenderableType:
        return results_rich(self)

    def _repr_html_(self) -> str:
        return results_html(self)
