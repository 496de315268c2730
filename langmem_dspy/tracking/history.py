"""One run put together from its events: what it started from, its steps, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from langmem_dspy.optimizers.contradictions import Contradiction
from langmem_dspy.optimizers.lessons import Lesson
from langmem_dspy.optimizers.results import Candidate, DetailedResults, Fault, RevisedPrompt
from langmem_dspy.tracking.examples import ExampleRow, example_rows
from langmem_dspy.usage import Usage, UsageReport

T = TypeVar("T")


class RunHistory:
    """Events as they were written, by kind. A run that was killed and goes on starts again, and so does its history."""

    def __init__(self) -> None:
        self.started: dict[str, Any] = {}
        self._forget()

    def _forget(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.blames: list[dict[str, Any]] = []
        self.scores: dict[int, float] = {}  # by candidate, on the validation set
        self.finished: dict[str, Any] = {}
        self.held_out: dict[str, Any] = {}

    def add(self, event: dict[str, Any]) -> None:
        match event.get("event"):
            case "CompileStarted":
                self.started = event
                self._forget()
            case "StepFinished":
                self.steps.append(event)
            case "CreditAssigned":
                self.blames.append(event)
            case "CandidateEvaluated" if event["split"] == "valset":
                self.scores[event["candidate"]] = event["score"]
            case "CompileFinished":
                self.finished = event
            case "HeldOutEvaluated":
                self.held_out = event

    @property
    def run_id(self) -> str:
        return str(self.started.get("run_id", ""))

    @property
    def seconds(self) -> float:
        """Wall time so far, as the optimizer measured it where it did."""
        measured = (self.result.get("usage") or {}).get("seconds")
        last = self.finished or (self.steps[-1] if self.steps else self.started)
        return float(measured) if measured else float(last["at"]) - float(self.started["at"])

    @property
    def result(self) -> Mapping[str, Any]:
        return self.finished.get("result") or {}

    @property
    def detailed(self) -> DetailedResults | None:
        """The results, if the run has left any."""
        return read_results(self.result) if self.result.get("candidates") else None

    @property
    def score_before(self) -> float | None:
        results = self.detailed
        return results.baseline.score if results else self.scores.get(0)

    @property
    def score_after(self) -> float | None:
        results = self.detailed
        if results:
            return results.best.score
        return next((s["best_score"] for s in reversed(self.steps) if s.get("best_score") is not None), None)

    def step_of(self, candidate: int) -> int | None:
        """The step that made a candidate; 0 for the student, None if that step has not ended yet."""
        if candidate == 0:
            return 0
        return next((int(s["step"]) for s in self.steps if s.get("candidate") == candidate), None)

    @property
    def best_curve(self) -> list[tuple[int, float]]:
        """The best score so far, by the step that brought it; an optimizer may have found that out only at the end."""
        results = self.detailed
        scored = [(c.step, c.score) for c in results.candidates if c.score is not None] if results else []
        curve: list[tuple[int, float]] = []
        for step, score in sorted(scored):
            best = max(score, curve[-1][1]) if curve else score
            curve = [*(point for point in curve if point[0] != step), (step, best)]
        last = max([0, *(int(s["step"]) for s in self.steps)])
        return [*curve, (last, curve[-1][1])] if curve and curve[-1][0] < last else curve

    @property
    def examples(self) -> dict[str, list[ExampleRow]]:
        """Scores by example, before and after, of each split that was judged on."""
        results, unseen = self.detailed, self.held_out
        judged = example_rows(results.baseline.valset_scores, results.best.valset_scores) if results else []
        held_out = example_rows(unseen["scores_before"], unseen["scores_after"]) if unseen else []
        return {split: rows for split, rows in (("validation", judged), ("held out", held_out)) if rows}

    @property
    def credit(self) -> list[Mapping[str, float]]:
        """Blame shares by predictor, step by step."""
        return [step.get("credit") or {} for step in self.steps]


def read_results(data: Mapping[str, Any]) -> DetailedResults:
    """What `DetailedResults.to_dict` wrote, read back; what this version does not know is left out."""
    candidates = (
        {**c, "revisions": tuple(_read(RevisedPrompt, r) for r in c.get("revisions", ()))} for c in data["candidates"]
    )
    usage = data.get("usage") or {}
    report = {key: _read(Usage, value) if isinstance(value, Mapping) else value for key, value in usage.items()}
    whole = {
        **data,
        "candidates": tuple(_read(Candidate, c) for c in candidates),
        "errors": tuple(_read(Fault, fault) for fault in data.get("errors", ())),
        "lessons": tuple(_read_lesson(lesson) for lesson in data.get("lessons", ())),
        "contradictions": tuple(_read_contradiction(said) for said in data.get("contradictions", ())),
        "credit": tuple(data.get("credit", ())),
        "usage": _read(UsageReport, report),
    }
    return _read(DetailedResults, whole)


def _read_lesson(data: Mapping[str, Any]) -> Lesson:
    lists = {key: tuple(data.get(key, ())) for key in ("evidence", "tried_on")}
    return _read(Lesson, {**data, **lists})


def _read_contradiction(data: Mapping[str, Any]) -> Contradiction:
    return _read(Contradiction, {name: tuple(v) if isinstance(v, list) else v for name, v in data.items()})


def _read(kind: type[T], data: Mapping[str, Any]) -> T:
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    return kind(**{key: value for key, value in data.items() if key in known})
