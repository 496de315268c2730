"""What a compile found out: every candidate with its parent, texts, scores and fate; and how that looks."""

from __future__ import annotations

import difflib
import html
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from langmem_dspy.optimizers.contradictions import Contradiction
from langmem_dspy.optimizers.lessons import Lesson, origins
from langmem_dspy.usage import UsageReport

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType


_COLUMNS = ("candidate", "from", "changed", "minibatch", "valset", "fate")


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


@dataclass(frozen=True)
class Candidate:
    """A set of prompts that was tried. Scores are in [0, 1], by example id; `score` is the mean on the valset.

    `parent` is the index it was made from (None for the student). `score` is None when it was never tried there.
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
    `contradictions`: what the feedback says both ways; its author should settle it.
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

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form of all of it."""
        data = asdict(self)
        for candidate, plain in zip(self.candidates, data["candidates"], strict=True):
            plain["score"] = candidate.score
        return {**data, "improvement": self.improvement, "changed": self.changed}

    def to_frame(self) -> pd.DataFrame:
        """One row per candidate."""
        import pandas as pd

        rows = [
            {
                "candidate": c.index,
                "step": c.step,
                "parent": c.parent,
                "changed": ", ".join(c.changed),
                "minibatch": _mean(c.minibatch_scores),
                "valset": c.score,
                "accepted": c.accepted,
                "reason": c.reason,
            }
            for c in self.candidates
        ]
        return pd.DataFrame(rows)

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
        lineage = [self.best]
        while lineage[-1].parent is not None:
            lineage.append(self.candidates[lineage[-1].parent])
        steps: dict[str, int] = {}
        for candidate in reversed(lineage):
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
            f"DetailedResults({self.optimizer}, {_score(self.baseline.score)} -> {_score(self.best.score)}, "
            f"{len(self.candidates)} candidates, {self.usage.lm_calls} LM calls, stopped: {self.stop_reason})"
        )

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.syntax import Syntax
        from rich.text import Text

        parts: list[RenderableType] = [self._summary(), self._table(), *map(Text, self._lesson_lines())]
        parts += [Text(line, "yellow") for line in self._contradiction_lines()]
        if self.changed:
            parts.append(Syntax(self.diff(), "diff", word_wrap=True))
        parts += [Text(f"{fault.where}: {fault.message} (x{fault.count})", "yellow") for fault in self.errors]
        return Group(*parts)

    def _summary(self) -> str:
        note = "  [yellow](offline simulation: says nothing about real models)[/]" if self.simulated else ""
        return (
            f"[bold]{self.optimizer}[/]: valset {_score(self.baseline.score)} -> [bold]{_score(self.best.score)}[/], "
            f"{self.usage.lm_calls} LM calls ({self.usage.task.lm_calls} task, {self.usage.reflection.lm_calls} "
            f"reflection), {self.usage.tokens:,} tokens; stopped: {self.stop_reason}{note}"
        )

    def _table(self) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        table = Table(*_COLUMNS, title="Candidates")
        for row in self._rows():
            table.add_row(*map(Text, row))  # reasons quote prompts, whose brackets are no markup
        return table

    def _repr_html_(self) -> str:
        note = " <em>Offline simulation: says nothing about real models.</em>" if self.simulated else ""
        rows = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in self._rows())
        head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
        diffs = "".join(
            f"<h4>{html.escape(name)}</h4>{prompt_diff_html(self.baseline.prompts[name], self.best.prompts[name])}"
            for name in self.changed
        )
        lessons = "<br>".join(map(html.escape, [*self._lesson_lines(), *self._contradiction_lines()]))
        lessons = f"<p>{lessons}</p>" if lessons else ""
        return (
            f"<div><p><b>{html.escape(self.optimizer)}</b>: valset {_score(self.baseline.score)} &rarr; "
            f"<b>{_score(self.best.score)}</b>, {self.usage.lm_calls} LM calls, {self.usage.tokens:,} tokens; stopped: "
            f"{html.escape(self.stop_reason)}.{note}</p><table><tr>{head}</tr>{rows}</table>{lessons}{diffs}</div>"
        )

    def _lesson_lines(self) -> list[str]:
        """How many lessons met which fate, and what those in force say."""
        fates = ", ".join(f"{count} {fate}" for fate, count in Counter(known.fate for known in self.lessons).items())
        said = [f"  {x.predictor} {x.gain:+.3f} {x.text}" for x in self.lessons if x.fate == "in force"]
        return [f"Lessons: {fates}", *said] if self.lessons else []

    def _contradiction_lines(self) -> list[str]:
        if not self.contradictions:
            return []
        return ["The feedback contradicts itself:", *(f"  {found}" for found in self.contradictions)]

    def _rows(self) -> Iterator[list[str]]:
        for c in self.candidates:
            star = "*" if c.index == self.best_index else ""
            parent = "" if c.parent is None else str(c.parent)
            minibatch = _score(_mean(c.minibatch_scores))
            yield [f"{star}{c.index}", parent, ", ".join(c.changed), minibatch, _score(c.score), c.reason]


def prompt_diff_html(before: str, after: str) -> str:
    """The change of one prompt as coloured lines of self-contained HTML."""
    colours = {"+": "background:#e6ffec;color:#116329", "-": "background:#ffebe9;color:#82071e", " ": ""}
    lines = (line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in colours)
    spans = (f'<div style="{colours[line[0]]}">{html.escape(line)}</div>' for line in lines)
    return f'<div style="font-family:monospace;white-space:pre-wrap">{"".join(spans)}</div>'


def _mean(scores: Mapping[str, float]) -> float | None:
    return sum(scores.values()) / len(scores) if scores else None


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
