"""Feedback taken apart into wants: single things that somebody missed in the output of one predictor.

A want holds in a replay if what it names is handled differently there than in the output complained of: `"billing"` in
quotes, that stood not in the output and does now (or did, and does not). So complaints can be judged without a metric,
for no calls; those that name nothing to look for cannot.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from langmem_dspy.optimizers.tracing import Fields, sentences
from langmem_dspy.optimizers.trajectories import Trajectory

ALIKE = 0.6  # likeness of two longer texts that say the same, as difflib has it
SHORT = 40  # characters up to which a text is a label, and must be the same

_QUOTED, _NAMED = re.compile(r"\"([^\"]+)\""), re.compile(r"`(\w+)`")


@dataclass(frozen=True)
class Want:
    """One thing that was missed. `was`: what the predictor had said in `field` ("": in all of its fields).

    `right`: what it should have said, where the feedback is an edit. `things`: what should be handled differently.
    """

    predictor: str
    text: str
    field: str = ""
    was: str = ""
    right: str | None = None
    things: tuple[str, ...] = ()

    def holds(self, trajectory: Trajectory) -> bool | None:
        """Whether it is met in another run; None where that cannot be told from the output."""
        said = said_by(trajectory, self.predictor, self.field)
        if said is None or (self.right is None and not self.things):
            return None
        if self.right is not None:
            return _alike(said, self.right) if len(self.right) <= SHORT else _nearer(said, self.was, self.right)
        return any((thing in said) != (thing in self.was) for thing in self.things)


# --- edits: {output field: what it should have been} ---


def split_edits(feedback: Any, signatures: Mapping[str, Any]) -> tuple[dict[str, str], Any]:
    """The edits in a feedback dict, and the rest of it."""
    if not isinstance(feedback, Mapping) or set(feedback) <= set(signatures):
        return {}, feedback
    written = {name for signature in signatures.values() for name in signature.output_fields}
    edits = {name: str(value) for name, value in feedback.items() if name in written and value is not None}
    return edits, {name: value for name, value in feedback.items() if name not in written} or None


def _writers(name: str, signatures: Mapping[str, Any]) -> list[str]:
    return [predictor for predictor, signature in signatures.items() if name in signature.output_fields]


def with_edits(live: Trajectory, edits: Mapping[str, str], signatures: Mapping[str, Any]) -> Trajectory:
    said = dict(live.predictor_feedback)
    for name, right in edits.items():
        for writer in _writers(name, signatures):
            said[writer] = f"{said.get(writer, '')} {_edit_text(name, right)}".strip()
    return replace(live, predictor_feedback=said)


def _edit_text(name: str, right: str) -> str:
    return f'`{name}` should have been "{right}".'


def edit_wants(live: Trajectory, edits: Mapping[str, str], signatures: Mapping[str, Any]) -> Iterable[Want]:
    for name, right in edits.items():
        for writer in _writers(name, signatures):
            yield Want(writer, _edit_text(name, right), name, said_by(live, writer, name) or "", right=right)


# --- wants in text ---


def wants_in(live: Trajectory, signatures: Mapping[str, Any], edits: Mapping[str, str]) -> Iterable[Want]:
    fields = Fields([live])
    told = [(name, text) for name, said in live.predictor_feedback.items() for text in sentences(said)]
    alone = list(signatures) if len(signatures) == 1 else []
    told += [(owner, text) for text in sentences(live.feedback) for owner in fields.owners(text) or alone]
    known = {_edit_text(name, right) for name, right in edits.items()}
    for predictor, text in told:
        if predictor in signatures and text not in known:
            yield want_of(predictor, text, live, signatures[predictor])


def want_of(predictor: str, text: str, live: Trajectory, signature: Any) -> Want:
    """What one sentence about a predictor asks for, beside what it said in this run."""
    named = [name for name in dict.fromkeys(_NAMED.findall(text)) if name in signature.output_fields]
    name = named[0] if len(named) == 1 else ""
    was = said_by(live, predictor, name) or ""
    seen = {
        key: _text(value) for step in live.steps if step.predictor == predictor for key, value in step.inputs.items()
    }
    things = [q for q in _QUOTED.findall(text) if not any(q.lower() in value.lower() for value in seen.values())]
    if not things and not _QUOTED.search(text):  # "`reply` must repeat `customer`"
        things = [seen[key] for key in _NAMED.findall(text) if key in seen and key not in named]
    return Want(predictor, text, name, was, things=tuple(thing for thing in things if thing.strip()))


def said_by(trajectory: Trajectory, predictor: str, name: str) -> str | None:
    """What a predictor said last, in one field or in all; None if it did not come to that."""
    for step in reversed(trajectory.steps):
        if step.predictor == predictor and step.outputs is not None:
            values = [step.outputs.get(name)] if name else list(step.outputs.values())
            return "\n".join(map(_text, values))
    return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def all_kept(before: Trajectory, after: Trajectory) -> bool:
    """Whether all that the steps of a right run said is still said."""
    new = _outputs(after)
    return all(_alike(new.get(key, ""), value) for key, value in _outputs(before).items())


def _outputs(trajectory: Trajectory) -> dict[tuple[str, str], str]:
    return {(s.predictor, name): _text(v) for s in trajectory.steps for name, v in (s.outputs or {}).items()}


def _alike(a: str, b: str) -> bool:
    plain = [" ".join(text.lower().split()) for text in (a, b)]
    return plain[0] == plain[1] or (min(map(len, plain)) > SHORT and _likeness(*plain) >= ALIKE)


def _nearer(said: str, was: str, right: str) -> bool:
    """Whether `said` is nearer to `right` than `was`, by half of the way."""
    then = _likeness(was, right)
    return _likeness(said, right) >= then + (1 - then) / 2


def _likeness(a: str, b: str) -> float:
    return difflib.SequenceMatcher(a=a.split(), b=b.split(), autojunk=False).ratio()
