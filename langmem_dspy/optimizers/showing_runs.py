"""How a run looks, in a notebook and in a terminal: its steps, what was said of it, and who was blamed for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langmem_dspy.markup import Markup, folded, heat_map, joined, table, tag, verbatim

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from langmem_dspy.optimizers.credit import Blame
    from langmem_dspy.optimizers.trajectories import Step, Trajectory

_HEAD = 90  # characters of a step that are seen while it is folded


def as_text(value: Any) -> str:
    """A value of a field as a model or a person reads it."""
    if isinstance(value, str):
        return value
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    return json.dumps(value, ensure_ascii=False, default=str)


# --- notebook ---


def trajectory_html(trajectory: Trajectory) -> Markup:
    """Its score, the conversation and the steps, each behind a line to click on, and the feedback."""
    score = "" if trajectory.score is None else f", score {trajectory.score:.2f}"
    said = "\n".join(_talk(trajectory))
    talk = folded(f"{len(trajectory.messages)} messages", verbatim(said)) if said else ""
    about = trajectory.predictor_feedback.items()
    return tag(
        "div",
        tag("p", tag("b", trajectory.id), score),
        talk,
        *map(step_html, trajectory.steps),
        tag("p", "ended with an error: ", trajectory.error) if trajectory.error else "",
        tag("p", "feedback: ", trajectory.feedback) if trajectory.feedback else "",
        *(tag("p", "feedback for ", tag("b", name), ": ", text) for name, text in about),
    )


def step_html(step: Step) -> Markup:
    """The predictor and what it said on a line to click on; what it saw behind it."""
    rows = [("in", name, verbatim(as_text(value))) for name, value in step.inputs.items()]
    rows += [("out", name, verbatim(as_text(value))) for name, value in (step.outputs or {}).items()]
    said = _outcome(step)
    said = said if len(said) <= _HEAD else f"{said[: _HEAD - 1]}…"
    return folded(joined(tag("b", step.predictor), " ", said), table(("", "field", "value"), rows))


def credit_html(blame: Sequence[Blame], dropped: Sequence[str]) -> Markup:
    """Who is blamed and why; and which trajectories that rests on, as a map, where there are several."""
    ids = list(dict.fromkeys(id for entry in blame for id in entry.evidence))
    reasons = table(("prompt", "reason"), ((entry.name, entry.reason) for entry in blame))
    rows = {entry.name: [float(id in entry.evidence) for id in ids] for entry in blame}
    map_ = heat_map("blamed for", ids, rows, "of this trajectory") if len(ids) > 1 else ""
    nobody = "" if blame else tag("p", tag("em", "nobody is blamed"))
    return tag("div", nobody, reasons, map_, *(tag("p", line) for line in dropped))


# --- terminal ---


def trajectory_rich(trajectory: Trajectory) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    score = "" if trajectory.score is None else f"  score {trajectory.score:.2f}"
    parts = [Text.assemble((trajectory.id, "bold"), score), *map(Text, _talk(trajectory))]
    parts += map(step_rich, trajectory.steps)
    if trajectory.error:
        parts.append(Text(f"ended with an error: {trajectory.error}", "red"))
    if trajectory.feedback:
        parts.append(Text(f"feedback: {trajectory.feedback}", "yellow"))
    parts += [Text(f"feedback for {name}: {text}", "yellow") for name, text in trajectory.predictor_feedback.items()]
    return Group(*parts)


def step_rich(step: Step) -> Text:
    from rich.text import Text

    shown = Text.assemble("  ", (step.predictor, "bold"))
    for name, value in step.inputs.items():
        shown.append(f"\n    {name}: {as_text(value)}", "dim")
    return shown.append(f"\n    -> {_outcome(step)}", "red" if step.outputs is None else "")


def credit_rich(blame: Sequence[Blame], dropped: Sequence[str]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    lines = [Text.assemble((entry.name, "bold"), f": {entry.reason}  ({', '.join(entry.evidence)})") for entry in blame]
    return Group(*(lines or [Text("nobody is blamed")]), *(Text(line, "yellow") for line in dropped))


def _talk(trajectory: Trajectory) -> list[str]:
    return [f"{message.role}: {message.content}" for message in trajectory.messages]


def _outcome(step: Step) -> str:
    return f"failed: {step.error or ''}" if step.outputs is None else _fields(step.outputs)


def _fields(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {as_text(value)}" for name, value in fields.items())
