"""Trajectories: what a program or an agent did, step by step, and what people or a metric said about it.

Three sources, one form: recorded conversations with feedback (`read_trajectories`), rollouts of a program
(`optimizers.rollouts`), and recorded `Trajectory` values.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import dspy

from langmem_dspy.errors import MessagesError
from langmem_dspy.messages import (
    Message,
    chunk,
    escape,
    estimated_tokens,
    is_message,
    packed,
    read_messages,
    render,
    split_text,
)
from langmem_dspy.optimizers.showing_runs import as_text, step_html, step_rich, trajectory_html, trajectory_rich

if TYPE_CHECKING:
    from rich.console import RenderableType

_TALK = ("messages", "conversation", "trajectory")  # the keys a trajectory's own content may stand under


@dataclass(frozen=True)
class Step:
    """One call of a predictor: what it saw and said. `outputs` is None and `error` says why when it failed."""

    predictor: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any] | None = None
    error: str | None = None

    def _repr_html_(self) -> str:
        return step_html(self)

    def __rich__(self) -> RenderableType:
        return step_rich(self)


@dataclass(frozen=True)
class Trajectory:
    """One conversation or one run of a program, with what was said about it.

    `score` is in [0, 1], None where none was given. `predictor_feedback` is what was said about one predictor (or
    named prompt) alone. `error` is set when the run ended early; its steps are those that came before.
    """

    id: str
    messages: tuple[Message, ...] = ()
    steps: tuple[Step, ...] = ()
    feedback: str = ""
    predictor_feedback: Mapping[str, str] = field(default_factory=dict)
    score: float | None = None
    error: str | None = None

    @property
    def has_content(self) -> bool:
        """Whether there is anything to learn from."""
        said = any(message.content.strip() or message.tool_calls for message in self.messages)
        return said or bool(self.steps) or bool(self.feedback.strip()) or bool(self.predictor_feedback)

    def __rich__(self) -> RenderableType:
        return trajectory_rich(self)

    def _repr_html_(self) -> str:
        return trajectory_html(self)

    def about(self, predictor: str) -> Trajectory:
        """Only that predictor's steps and feedback, and the last step: what came out in the end."""
        steps = (step for step in self.steps[:-1] if step.predictor == predictor)
        said = {name: text for name, text in self.predictor_feedback.items() if name == predictor}
        return replace(self, steps=(*steps, *self.steps[-1:]), predictor_feedback=said)

    def speaks_of(self, predictor: str) -> bool:
        """Whether it holds a step of, or feedback on, that predictor."""
        return predictor in self.predictor_feedback or any(step.predictor == predictor for step in self.steps)

    def render(self) -> str:
        """The trajectory as a model reads it."""
        score = "" if self.score is None else f' score="{self.score:.2f}"'
        parts = [f'<trajectory id="{escape(self.id)}"{score}>']
        if self.messages:
            parts += ["<conversation>", render(self.messages), "</conversation>"]
        parts += map(_render_step, self.steps)
        if self.error:
            parts.append(f"The run ended with an error: {escape(self.error)}")
        if self.feedback:
            parts.append(f"<feedback>{escape(self.feedback)}</feedback>")
        for name, text in self.predictor_feedback.items():
            parts.append(f'<feedback for="{escape(name)}">{escape(text)}</feedback>')
        return "\n".join([*parts, "</trajectory>"])


def _render_step(step: Step) -> str:
    outputs = f"failed: {escape(step.error or '')}" if step.outputs is None else _render_fields(step.outputs)
    return (
        f'<step predictor="{escape(step.predictor)}">\n<inputs>\n{_render_fields(step.inputs)}\n</inputs>\n'
        f"<outputs>\n{outputs}\n</outputs>\n</step>"
    )


def _render_fields(fields: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {escape(as_text(value))}" for name, value in fields.items())


# --- reading ---


def read_trajectories(value: Any, names: Sequence[str] = ()) -> list[Trajectory]:
    """The trajectories in any readable form, those without content left out. Raises `MessagesError`.

    Read: text; one conversation; a list of conversations, `(conversation, feedback)` pairs, dicts with `messages` and
    `feedback`, or `Trajectory` values. `names`: prompts that a feedback dict may speak about one by one.
    """
    if value is None:
        return []
    if isinstance(value, Trajectory):
        return [value] if value.has_content else []
    if isinstance(value, str | Mapping | dspy.Example) or (isinstance(value, tuple) and _is_pair(value)):
        items: Sequence[Any] = [value]
    elif isinstance(value, Iterable) and not isinstance(value, bytes):
        items = list(value)
        if items and all(is_message(item) for item in items):
            items = [items]  # the messages of one conversation
    else:
        raise MessagesError(f"trajectories is text or a list, got {type(value).__name__} {value!r}")
    read = [_read_one(item, f"t{i + 1}", names) for i, item in enumerate(items)]
    return [trajectory for trajectory in read if trajectory.has_content]


def _read_one(item: Any, name: str, names: Sequence[str]) -> Trajectory:
    if isinstance(item, Trajectory):
        return item
    if isinstance(item, dspy.Example):
        item = item.toDict()
    if isinstance(item, Mapping) and not is_message(item):
        return _read_dict(item, name, names)
    if _is_pair(item):
        return _with_feedback(_read_one(item[0], name, names), item[1], names)
    return Trajectory(name, read_messages(item))


def _read_dict(item: Mapping[str, Any], name: str, names: Sequence[str]) -> Trajectory:
    if unknown := sorted(map(str, set(item) - {*_TALK, "feedback", "score", "id"})):
        raise MessagesError(
            f"trajectory {name} has keys we do not know: {', '.join(unknown)}; use messages, feedback, score, id"
        )
    talks = [item[key] for key in _TALK if item.get(key) is not None]
    if len(talks) > 1:
        raise MessagesError(f"trajectory {name} is given twice; use one of the keys {', '.join(_TALK)}")
    read = _read_one(talks[0], name, names) if talks else Trajectory(name)
    if item.get("id"):
        read = replace(read, id=str(item["id"]))
    if (score := item.get("score")) is not None:
        # On no scale we know, it is still something that was said.
        on_scale = read_score(score) is not None
        read = replace(read, score=read_score(score)) if on_scale else _with_feedback(read, score, ())
    return _with_feedback(read, item.get("feedback"), names)


def _is_pair(item: Any) -> bool:
    # ("user", "hi") is a message; ([...], "too long") and ("the talk", "too long") are conversations with feedback.
    if not isinstance(item, tuple | list) or len(item) != 2 or is_message(item):
        return False
    first, second = item
    if isinstance(first, str):
        return isinstance(item, tuple) or not is_message(second)
    return not is_message(first) and not _is_talk(second)


def _is_talk(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(key in value for key in _TALK)
    if isinstance(value, list | tuple):
        return bool(value) and all(is_message(item) for item in value)
    return isinstance(value, Trajectory | dspy.Example)


def _with_feedback(trajectory: Trajectory, feedback: Any, names: Sequence[str]) -> Trajectory:
    if isinstance(feedback, Mapping) and feedback and set(feedback) <= set(names):
        said = {name: read_feedback(text) for name, text in feedback.items()}
        return replace(trajectory, predictor_feedback={**trajectory.predictor_feedback, **said})
    score = trajectory.score
    if score is None:
        score = read_score(feedback.get("score") if isinstance(feedback, Mapping) else feedback)
    text = "\n".join(filter(None, (trajectory.feedback, read_feedback(feedback))))
    return replace(trajectory, feedback=text, score=score)


def read_score(value: Any) -> float | None:
    """A score in [0, 1], or None where the value is on no scale we know."""
    return float(value) if isinstance(value, bool | numbers.Real) and 0 <= float(value) <= 1 else None


def read_feedback(feedback: Any) -> str:
    """Feedback as text: none, text, a score, an edit or any dict or list of these. Raises `MessagesError`."""
    if feedback is None:
        return ""
    if isinstance(feedback, str):
        return feedback
    if isinstance(feedback, bool | numbers.Real):
        return f"score: {feedback}"
    if is_message(feedback):
        return render(read_messages(feedback))
    if isinstance(feedback, Mapping):
        return "\n".join(f"{key}: {as_text(value)}" for key, value in feedback.items() if value is not None)
    if isinstance(feedback, list | tuple):
        return "\n".join(filter(None, map(read_feedback, feedback)))
    raise MessagesError(
        f"cannot read feedback from {type(feedback).__name__} {feedback!r}; give text, a score, a dict such as "
        '{"score": 0.2, "comment": "too long"}, or None'
    )


# --- fitting into a request ---

PART = ", part "  # between the id of a trajectory and the number of its part


def fit(trajectories: Iterable[Trajectory], max_tokens: int, about: str | None = None) -> list[str]:
    """The trajectories rendered into as few texts of at most about `max_tokens` as hold them all, in order.

    `about`: of each trajectory only what concerns that predictor.
    """
    focused = (trajectory.about(about) if about else trajectory for trajectory in trajectories)
    parts = (part for trajectory in focused for part in _parts(trajectory, max_tokens))
    return ["\n\n".join(run) for run in packed(parts, estimated_tokens, max_tokens)]


def _parts(trajectory: Trajectory, max_tokens: int) -> list[str]:
    whole = trajectory.render()
    if estimated_tokens(whole) <= max_tokens:
        return [whole]
    # What was said about the talk goes with every part of it: feedback without its subject teaches nothing.
    first, *further = split_text(trajectory.feedback, max_tokens // 4)
    said = replace(trajectory, messages=(), steps=(), feedback=first)
    room = max(max_tokens - estimated_tokens(said.render()), max_tokens // 4)
    runs = [replace(said, messages=run) for run in chunk(trajectory.messages, room)]
    pieces = (piece for step in trajectory.steps for piece in _split_step(step, room))
    runs += [replace(said, steps=tuple(run)) for run in packed(pieces, _step_size, room)]
    runs = [*(runs or [said]), *(replace(said, feedback=text) for text in further)]
    return [replace(run, id=f"{run.id}{PART}{i} of {len(runs)}").render() for i, run in enumerate(runs, 1)]


def _step_size(step: Step) -> int:
    return estimated_tokens(_render_step(step))


def _split_step(step: Step, max_tokens: int) -> list[Step]:
    """The step, or one that is too long as several with a piece of a field each."""
    if _step_size(step) <= max_tokens:
        return [step]
    seen = [replace(step, inputs=piece, outputs={}, error=None) for piece in _split_fields(step.inputs, max_tokens)]
    if step.outputs is None:
        return [*seen, replace(step, inputs={})]
    return seen + [replace(step, inputs={}, outputs=piece) for piece in _split_fields(step.outputs, max_tokens)]


def _split_fields(fields: Mapping[str, Any], max_tokens: int) -> Iterator[dict[str, str]]:
    for name, value in fields.items():
        texts = split_text(as_text(value), max_tokens // 2)
        for i, text in enumerate(texts, 1):
            yield {name if len(texts) == 1 else f"{name} ({i} of {len(texts)})": text}
