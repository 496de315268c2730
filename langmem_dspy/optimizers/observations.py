"""What live use has shown: a trajectory, what was said about it, and how to tell whether a replay answers that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import dspy

from langmem_dspy.errors import InputError
from langmem_dspy.messages import is_message, read_messages
from langmem_dspy.optimizers.rollouts import Rollout
from langmem_dspy.optimizers.trajectories import Step, Trajectory, read_trajectories
from langmem_dspy.optimizers.wants import Want, all_kept, edit_wants, said_by, split_edits, wants_in, with_edits


@dataclass(frozen=True)
class Observation:
    """One trajectory with feedback, as it is kept. `example`: what to run the program on again, None if unknown.

    `right`: it was said to be as it should. `replayed`: the steps of its latest replay, if there was one. `version`:
    of the prompts, that these steps (else those of the trajectory) were recorded under, with the task model `model`.
    """

    id: str
    trajectory: Trajectory
    example: Mapping[str, Any] | None = None
    input_keys: tuple[str, ...] = ()
    version: int = 0
    model: str = ""
    wants: tuple[Want, ...] = ()
    right: bool = False
    replayed: tuple[Step, ...] = ()

    @property
    def complained_of(self) -> bool:
        """Whether something was missed."""
        return not self.right and (bool(self.wants) or bool(said_in(self.trajectory)))

    @property
    def can_be_judged(self) -> bool:
        """Whether a replay of it can be told from the run itself without a metric."""
        return self.right or any(want.right is not None or want.things for want in self.wants)

    def as_example(self) -> dspy.Example:
        return dspy.Example(**(self.example or {})).with_inputs(*self.input_keys)

    def judged(self, rollout: Rollout) -> Rollout:
        """A replay scored by what was said of this run: the share of the wants that hold, and feedback on the rest."""
        if rollout.score is None or rollout.error is not None:
            return rollout
        trajectory = rollout.trajectory
        if self.right:
            score = float(all_kept(self.trajectory, trajectory))
            said = "" if score == 1 else "This was right before it changed."
            return replace(rollout, score=score, trajectory=replace(trajectory, score=score, feedback=said))
        held = [(want, want.holds(trajectory)) for want in self.wants]
        told = [holds for _, holds in held if holds is not None]
        score = sum(told) / len(told) if told else 0.0
        missed: dict[str, str] = {}
        for want, holds in held:
            unchanged = said_by(trajectory, want.predictor, want.field) == want.was
            if holds is False or (holds is None and unchanged):
                missed[want.predictor] = f"{missed.get(want.predictor, '')} {want.text}".strip()
        return replace(rollout, score=score, trajectory=replace(trajectory, score=score, predictor_feedback=missed))


def observe(
    trajectory: Any, feedback: Any, *, program: dspy.Module, example: Any = None, version: int = 0, model: str = ""
) -> Observation:
    """An observation out of any form of trajectory and feedback.

    Feedback: text, a score, {predictor: text}, {output field: what it should have been}, or any dict or list of these.
    Raises `InputError` where the feedback is what the agent itself has said.
    """
    _refuse_own_words(feedback)
    signatures = {name: predictor.signature for name, predictor in program.named_predictors()}
    edits, rest = split_edits(feedback, signatures)
    read = read_trajectories([(trajectory, rest)], list(signatures))
    if len(read) != 1:
        raise InputError("learn takes one trajectory; there is nothing in this one")
    live = with_edits(_as_step(read[0], program), edits, signatures)
    inputs = _inputs(live, example)
    key = json.dumps(inputs[0] if inputs else live.render(), sort_keys=True, default=str)
    live = replace(live, id=hashlib.sha256(key.encode()).hexdigest()[:10])
    right = live.score is not None and live.score >= 1 and not edits
    wants = () if right else (*edit_wants(live, edits, signatures), *wants_in(live, signatures, edits))
    known, keys = inputs or (None, ())
    return Observation(live.id, live, known, tuple(keys), version, model, tuple(wants), right)


def said_in(trajectory: Trajectory) -> str:
    """All that was said about a trajectory."""
    return "\n".join(filter(None, [trajectory.feedback, *trajectory.predictor_feedback.values()]))


def _refuse_own_words(feedback: Any) -> None:
    given = [feedback] if is_message(feedback) else feedback if isinstance(feedback, list | tuple) else []
    for item in given:
        if is_message(item) and any(message.role == "assistant" for message in read_messages([item])):
            raise InputError("feedback holds a message of the assistant: an agent does not learn from its own words")


# --- what to run the program on again ---


def _inputs(live: Trajectory, example: Any) -> tuple[dict[str, Any], Sequence[str]] | None:
    """The example's fields and which of them are inputs: as given, else out of the trajectory itself."""
    if example is not None:
        given = example if isinstance(example, dspy.Example) else dspy.Example(**example).with_inputs(*example)
        values = given.toDict()
        if not plain(values):
            raise InputError("an example is kept on disk: its fields must be text, numbers, lists or dicts of these")
        return values, sorted(given.inputs().keys())
    made: set[str] = set()
    found: dict[str, Any] = {}
    for step in live.steps:
        found |= {name: value for name, value in step.inputs.items() if name not in made and name not in found}
        made |= set(step.outputs or {})
    return (found, sorted(found)) if found and plain(found) else None


def _as_step(live: Trajectory, program: dspy.Module) -> Trajectory:
    """A conversation of one question and one answer, with a program of one input and one output, as its step."""
    predictors = program.named_predictors()
    said = {role: [m.content for m in live.messages if m.role == role] for role in ("user", "assistant")}
    if live.steps or len(predictors) != 1 or [len(said["user"]), len(said["assistant"])] != [1, 1]:
        return live
    name, signature = predictors[0][0], predictors[0][1].signature
    if len(signature.input_fields) != 1 or len(signature.output_fields) != 1:
        return live
    inputs = dict(zip(signature.input_fields, said["user"], strict=True))
    return replace(
        live, steps=(Step(name, inputs, dict(zip(signature.output_fields, said["assistant"], strict=True))),)
    )


def plain(value: Any) -> bool:
    """Whether JSON holds the value as it is."""
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError):
        return False


# --- on disk ---


def to_json(observation: Observation) -> str:
    return json.dumps(asdict(observation), default=str)


def from_json(text: str) -> Observation:
    data = json.loads(text)
    trajectory = data.pop("trajectory")
    trajectory["messages"] = read_messages(trajectory["messages"])
    trajectory["steps"] = tuple(Step(**step) for step in trajectory["steps"])
    replayed = tuple(Step(**step) for step in data.pop("replayed"))
    wants = tuple(Want(**{**want, "things": tuple(want["things"])}) for want in data.pop("wants"))
    keys = tuple(data.pop("input_keys"))
    return Observation(**data, trajectory=Trajectory(**trajectory), wants=wants, input_keys=keys, replayed=replayed)


@dataclass
class RegressionSet:
    """The observations that a new version is tried on: what was right, and what was complained of.

    At most `size`, one for each input, the newest of it. Where there are too many, the oldest of the larger of the two
    kinds goes.
    """

    size: int
    kept: dict[str, Observation] = field(default_factory=dict)

    def keep(self, observation: Observation) -> None:
        """Keep what can be replayed; what it displaces is forgotten."""
        self.kept.pop(observation.id, None)
        self.kept[observation.id] = observation
        while len(self.kept) > self.size:
            kinds = [[o for o in self.kept.values() if o.right is right] for right in (True, False)]
            del self.kept[max(kinds, key=len)[0].id]
