"""Trajectories: what a program or an agent did, step by step, and what people or a metric said about it.

Three sources, one form: recorded conversations with feedback (`read_trajectories`), rollouts of a program
(`optimizers.rollouts`), and recorded `Trajectory` values.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from langmem_dspy.errors import MessagesError
from langmem_dspy.messages import Message, chunk, escape, estimated_tokens, is_message, read_messages, render


@dataclass(frozen=True)
class Step:
    """One call of a predictor: what it saw and said. `outputs` is None and `error` says why when it failed."""

    predictor: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any] | None = None
    error: str | None = None


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

    def __rich__(self) -> str:
        from rich.markup import escape as rich_escape

        return rich_escape(self.render())

    def render(self, focus: str | None = None) -> str:
        """The trajectory as a model reads it. `focus`: only that predictor's steps and feedback, and the last step."""
        score = "" if self.score is None else f' score="{self.score:.2f}"'
        parts = [f'<trajectory id="{escape(self.id)}"{score}>']
        if self.messages:
            parts += ["<conversation>", render(self.messages), "</conversation>"]
        last = len(self.steps) - 1
        for i, step in enumerate(self.steps):
            if focus is None or step.predictor == focus or i == last:
                parts.append(_render_step(step))
        if self.error:
            parts.append(f"The run ended with an error: {escape(self.error)}")
        if self.feedback:
            parts.append(f"<feedback>{escape(self.feedback)}</feedback>")
        for name, text in self.predictor_feedback.items():
            if focus in (None, name):
                parts.append(f'<feedback for="{escape(name)}">{escape(text)}</feedback>')
        return "\n".join([*parts, "</trajectory>"])


def _render_step(step: Step) -> str:
    outputs = f"failed: {escape(step.error or '')}" if step.outputs is None else _render_fields(step.outputs)
    return (
        f'<step predictor="{escape(step.predictor)}">\n<inputs>\n{_render_fields(step.inputs)}\n</inputs>\n'
        f"<outputs>\n{outputs}\n</outputs>\n</step>"
    )


def _render_fields(fields: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {escape(_as_text(value))}" for name, value in fields.items())


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    return json.dumps(value, ensure_ascii=False, default=str)


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
    if isinstance(value, str | Mapping):
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
    if isinstance(item, Mapping) and "trajectory" in item:
        return _with_feedback(_read_one(item["trajectory"], name, names), item.get("feedback"), names)
    if isinstance(item, Mapping) and not is_message(item):
        if unknown := sorted(map(str, set(item) - {"messages", "conversation", "feedback", "score", "id"})):
            raise MessagesError(
                f"trajectory {name} has keys we do not know: {', '.join(unknown)}; use messages, feedback, score, id"
            )
        conversation = item.get("messages", item.get("conversation"))
        read = Trajectory(str(item.get("id") or name), read_messages(conversation), score=read_score(item.get("score")))
        return _with_feedback(read, item.get("feedback"), names)
    if _is_pair(item):
        return _with_feedback(Trajectory(name, read_messages(item[0])), item[1], names)
    return Trajectory(name, read_messages(item))


def _is_pair(item: Any) -> bool:
    # ("user", "hi") is a message; ([...], "too long") and ("the talk", "too long") are conversations with feedback.
    if not isinstance(item, tuple | list) or len(item) != 2 or is_message(item):
        return False
    first, second = item
    if isinstance(first, str):
        return isinstance(item, tuple) or not is_message(second)
    return not is_message(first) and not _is_conversation(second)


def _is_conversation(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(is_message(item) for item in value)


def _with_feedback(trajectory: Trajectory, feedback: Any, names: Sequence[str]) -> Trajectory:
    if isinstance(feedback, Mapping) and feedback and set(feedback) <= set(names):
        return replace(trajectory, predictor_feedback={k: read_feedback(v) for k, v in feedback.items()})
    score = trajectory.score
    if score is None and isinstance(feedback, Mapping):
        score = read_score(feedback.get("score"))
    return replace(trajectory, feedback=read_feedback(feedback), score=score)


def read_score(value: Any) -> float | None:
    """A score in [0, 1], or None where the value is on no scale we know."""
    if isinstance(value, bool):
        return float(value)
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None


def read_feedback(feedback: Any) -> str:
    """Feedback as text: none, text, a score, an edit or any dict or list of these. Raises `MessagesError`."""
    if feedback is None:
        return ""
    if isinstance(feedback, str):
        return feedback
    if isinstance(feedback, bool | int | float):
        return f"score: {feedback}"
    if isinstance(feedback, Mapping):
        return "\n".join(f"{key}: {_as_text(value)}" for key, value in feedback.items() if value is not None)
    if is_message(feedback):
        return render(read_messages(feedback))
    if isinstance(feedback, list | tuple):
        return "\n".join(filter(None, map(read_feedback, feedback)))
    raise MessagesError(
        f"cannot read feedback from {type(feedback).__name__} {feedback!r}; give text, a score, a dict such as "
        '{"score": 0.2, "comment": "too long"}, or None'
    )


# --- fitting into a request ---


def fit(trajectories: Iterable[Trajectory], max_tokens: int, focus: str | None = None) -> list[str]:
    """The trajectories rendered into as few texts of at most about `max_tokens` as hold them all, in order."""
    texts: list[str] = []
    room = 0
    for trajectory in trajectories:
        for part in _parts(trajectory, max_tokens, focus):
            cost = estimated_tokens(part)
            if cost > room or not texts:
                texts.append(part)
                room = max_tokens - cost
            else:
                texts[-1] += "\n\n" + part
                room -= cost
    return texts


def _parts(trajectory: Trajectory, max_tokens: int, focus: str | None) -> list[str]:
    whole = trajectory.render(focus)
    if estimated_tokens(whole) <= max_tokens or not trajectory.messages:
        return [whole]
    # What was said about the talk goes with every part of it: feedback without its subject teaches nothing.
    said = estimated_tokens(replace(trajectory, messages=()).render(focus))
    runs = chunk(trajectory.messages, max(max_tokens - said, max_tokens // 4))
    return [
        replace(trajectory, id=f"{trajectory.id}, part {i + 1} of {len(runs)}", messages=run).render(focus)
        for i, run in enumerate(runs)
    ]
