"""How results look in a notebook and in a terminal: what was gained, why each line is there, and what was tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from langmem_dspy.markup import GREEN, Markup, folded, heat_map, joined, table, tag
from langmem_dspy.tables import FittingTable
from langmem_dspy.word_diffs import diff_html, diff_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from langmem_dspy.optimizers.lessons import Lesson
    from langmem_dspy.optimizers.results import DetailedResults, RevisedPrompt

SIMULATED = "Offline simulation: says nothing about real models."
_COLUMNS = ("candidate", "from", "changed", "minibatch", "valset", "calls", "fate")
_LESSON = ("predictor", "lesson", "gain", "tried on", "asked for by", "step", "fate")
_SHOWN = 5  # contradictions in full; a run of much wrong feedback has hundreds


def score_text(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


# --- notebook ---


def results_html(results: DetailedResults) -> Markup:
    """The gain, the prompts with their changes, and behind lines to click on all that was tried."""
    candidates = folded(f"{len(results.candidates)} candidates", table(_COLUMNS, _candidate_rows(results)))
    return tag(
        "div",
        _headline(results),
        *(_prompt(results, name) for name in results.changed),
        _unchanged(results),
        _lessons(results),
        _credit(results),
        candidates,
        *(_caution(head, lines) for head, lines in cautions(results)),
        *(tag("p", f"⚠ {fault.where}: {fault.message} (×{fault.count})") for fault in results.errors),
    )


def revision_html(revision: RevisedPrompt) -> Markup:
    """What a proposal changes, and why; or why it was declined."""
    head = tag("p", tag("b", revision.predictor), ": ", _fate(revision))
    why = tag("p", revision.rationale) if revision.rationale else ""
    return tag("div", head, why, diff_html(revision.before, revision.after))


def _fate(revision: RevisedPrompt) -> str:
    if revision.declined is not None:
        return f"declined, {revision.declined}"
    return "revised" if revision.changed else "unchanged"


def _headline(results: DetailedResults) -> Markup:
    note = joined(" ", tag("em", SIMULATED)) if results.simulated else ""
    gained = joined(score_text(results.baseline.score), " → ", tag("b", score_text(results.best.score)))
    spent = f"{results.usage.lm_calls:,} LM calls, {results.usage.tokens:,} tokens"
    return tag("p", tag("b", results.optimizer), ": valset ", gained, f"; {spent}; {results.stop_reason}.", note)


def _prompt(results: DetailedResults, name: str) -> Markup:
    before, after = results.baseline.prompts[name], results.best.prompts[name]
    return joined(tag("p", tag("b", name)), diff_html(before, after, dict(results.introduced_at(name))))


def _unchanged(results: DetailedResults) -> Markup:
    kept = [name for name in results.baseline.prompts if name not in results.changed]
    return tag("p", "Unchanged: ", ", ".join(kept)) if kept else Markup()


def _lessons(results: DetailedResults) -> Markup:
    if not results.lessons:
        return Markup()
    # Those in force first: they are what the prompts now say beyond the student's.
    ordered = sorted(results.lessons, key=lambda lesson: lesson.fate != "in force")
    return folded(_counted(results.lessons), table(_LESSON, map(_lesson_row, ordered)))


def _lesson_row(lesson: Lesson) -> list[Any]:
    text = joined(lesson.text or tag("em", "takes a line out"), _replacing(lesson))
    fate = tag("span", lesson.fate, style=f"background:{GREEN}") if lesson.fate == "in force" else lesson.fate
    said = joined(fate, f": {lesson.note}" if lesson.note else "")
    asked = ", ".join(lesson.evidence[:3]) + (f" +{len(lesson.evidence) - 3}" if len(lesson.evidence) > 3 else "")
    gain = f"{lesson.gain:+.3f}" if lesson.tried_on else ""
    return [lesson.predictor, text, gain, len(lesson.tried_on) or "", asked, lesson.step, said]


def _replacing(lesson: Lesson) -> Markup:
    return joined(" (was: ", tag("del", lesson.replaces), ")") if lesson.replaces else Markup()


def _credit(results: DetailedResults) -> Markup:
    if not any(results.credit):
        return Markup()
    rows = {name: [step.get(name, 0.0) for step in results.credit] for name in results.baseline.prompts}
    map_ = heat_map("step", range(1, len(results.credit) + 1), rows, "of the minibatch")
    return folded("Who was blamed, step by step", map_)


def _caution(head: str, lines: list[str]) -> Markup:
    return folded(f"⚠ {head}", tag("ul", *(tag("li", line) for line in lines))) if lines else tag("p", f"⚠ {head}")


# --- terminal ---


def results_rich(results: DetailedResults) -> RenderableType:
    """The same for a terminal, nothing folded."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [
        _summary(results),
        FittingTable(_COLUMNS, list(_candidate_rows(results)), title="Candidates", words=("changed", "fate")),
    ]
    if results.lessons:
        parts.append(_counted(results.lessons))
        parts += [Text(f"  {x.predictor} {x.gain:+.3f} {x.text}") for x in results.lessons if x.fate == "in force"]
    for head, lines in cautions(results):
        parts += [Text(head + (":" if lines else "."), "yellow"), *(Text(f"  {line}", "yellow") for line in lines)]
    for name in results.changed:
        parts += [Text(name, "bold"), diff_text(results.baseline.prompts[name], results.best.prompts[name])]
    parts += [Text(f"{fault.where}: {fault.message} (x{fault.count})", "yellow") for fault in results.errors]
    return Group(*parts)


def revision_rich(revision: RevisedPrompt) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    head = Text(f"{revision.predictor}: {_fate(revision)}", "bold")
    why = [Text(revision.rationale)] if revision.rationale else []
    return Group(head, *why, diff_text(revision.before, revision.after))


def _summary(results: DetailedResults) -> RenderableType:
    from rich.text import Text

    usage = results.usage
    line = Text.assemble(
        (results.optimizer, "bold"),
        f": valset {score_text(results.baseline.score)} -> ",
        (score_text(results.best.score), "bold"),
        f", {usage.lm_calls} LM calls ({usage.task.lm_calls} task, {usage.reflection.lm_calls} reflection), "
        f"{usage.tokens:,} tokens; stopped: {results.stop_reason}",
    )
    return line.append(f"  {SIMULATED}", "yellow") if results.simulated else line


# --- both ---


def _candidate_rows(results: DetailedResults) -> Iterator[list[str]]:
    for c in results.candidates:
        star = "*" if c.index == results.best_index else ""
        parent = "" if c.parent is None else str(c.parent)
        seen = c.minibatch_scores.values()
        minibatch = score_text(sum(seen) / len(seen) if seen else None)
        yield [
            f"{star}{c.index}",
            parent,
            ", ".join(c.changed),
            minibatch,
            score_text(c.score),
            str(c.lm_calls),
            c.reason,
        ]


def _counted(lessons: tuple[Lesson, ...]) -> str:
    fates = Counter(lesson.fate for lesson in lessons)
    return f"Lessons: {', '.join(f'{count} {fate}' for fate, count in fates.items())}"


def cautions(results: DetailedResults) -> list[tuple[str, list[str]]]:
    """What to know about the metric and the feedback before believing the figures: each with its details, if any."""
    found: list[tuple[str, list[str]]] = []
    if results.noise:
        said = f"The metric is noisy: of one and the same prediction its standard deviation is {results.noise:.3f}"
        found.append((f"{said}; scores of what was judged again are means", []))
    if both := results.contradictions:
        times = f", {len(both)} times" if len(both) > 1 else ""
        more = [f"and {len(both) - _SHOWN} more, in `.contradictions`"] if len(both) > _SHOWN else []
        found.append((f"The feedback contradicts itself{times}", [*map(str, both[:_SHOWN]), *more]))
    return found
