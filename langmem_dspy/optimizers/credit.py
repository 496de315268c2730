"""Credit assignment: which prompts of a compound system should change, for what reason, on what evidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dspy
import pydantic

from langmem_dspy.errors import ReplyError
from langmem_dspy.messages import escape
from langmem_dspy.optimizers.prompts import Prompt, as_prompts
from langmem_dspy.optimizers.showing_runs import credit_html, credit_rich
from langmem_dspy.optimizers.tracing import Fields, sentences
from langmem_dspy.optimizers.trajectories import PART, Trajectory, fit, read_trajectories
from langmem_dspy.replies import Asking

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Blame:
    """A prompt that should change. `evidence` holds the ids of the trajectories the reason rests on."""

    name: str
    reason: str
    evidence: tuple[str, ...] = ()


class Credit(dspy.Prediction):
    """`blame` ([Blame]) and `dropped` ([str], names that no prompt has)."""

    def __rich__(self) -> RenderableType:
        return credit_rich(self.blame, self.dropped)

    def _repr_html_(self) -> str:
        return credit_html(self.blame, self.dropped)


class BlamedPrompt(pydantic.BaseModel):
    """One entry of a model's answer."""

    prompt_name: str
    reason: str = ""
    trajectory_ids: list[str] = []


class AssignCredit(dspy.Signature):
    """Decide which prompts of a system of several prompts should change.

    Follow each trajectory through the system's steps, and find the first step whose output was wrong given what it
    saw: the prompt of that step is to blame, not those after it. Heed each prompt's when_to_update. Blame no prompt
    whose steps did what they should; an empty list is a good answer."""

    system_outline: str = dspy.InputField(desc="how the prompts work together")
    prompts: str = dspy.InputField()
    trajectories: str = dspy.InputField(desc="what happened, with feedback where there is any")
    blamed: list[BlamedPrompt] = dspy.OutputField(desc="one entry for each prompt that should change")


class CreditAssigner(dspy.Module):
    """Blames by the trace where that tells whose output was wrong, and asks a model about the rest.

    The trace tells it by feedback on a single predictor, or by feedback that names fields a predictor writes.
    One prompt alone is blamed without asking. `by_trace`: False asks the model about all of it.
    """

    def __init__(self, *, max_input_tokens: int = 32_000, by_trace: bool = True) -> None:
        super().__init__()
        self.max_input_tokens, self.by_trace = max_input_tokens, by_trace
        self.assign = dspy.Predict(AssignCredit)

    def forward(self, prompts: Sequence[Any], trajectories: Any, outline: str = "") -> dspy.Prediction:
        """Prediction(blame=[Blame], dropped=[str]), in the order of `prompts`; `dropped` are names no prompt has.

        When the model gives no usable answer, every prompt is blamed: the proposers decide for themselves.
        """
        named = as_prompts(prompts)
        names = [prompt["name"] for prompt in named]
        read = read_trajectories(trajectories, names)
        if not read or not named:
            return Credit(blame=[], dropped=[])
        if len(named) == 1:
            blame = [Blame(names[0], "the only prompt", tuple(t.id for t in read))]
            return Credit(blame=blame, dropped=[])
        traced, unclear = blame_by_trace(read, names) if self.by_trace else ([], read)
        try:
            asked = list(self._asked(named, unclear, outline)) if unclear else []
        except ReplyError as error:
            everyone = [Blame(name, f"credit could not be assigned: {error}") for name in names]
            return Credit(blame=everyone, dropped=[str(error)])
        dropped = [f"no prompt is named {entry.name!r}" for entry in asked if entry.name not in names]
        return Credit(blame=merged([*asked, *traced], read, names), dropped=dropped)

    def _asked(self, prompts: list[Prompt], trajectories: list[Trajectory], outline: str) -> Iterable[Blame]:
        asking = Asking()
        rendered = "\n".join(_render(prompt) for prompt in prompts)
        outline = outline or "The prompts belong to one system: " + ", ".join(p["name"] for p in prompts)
        for text in fit(trajectories, self.max_input_tokens):
            answer = asking(self.assign, system_outline=outline, prompts=rendered, trajectories=text)
            for entry in answer.blamed or []:
                yield Blame(entry.prompt_name.strip(), entry.reason, tuple(entry.trajectory_ids))


class TraceCredit:
    """Blames by the trace alone, for no calls; where it does not tell, every prompt that took part is blamed."""

    def __call__(self, prompts: Sequence[Any], trajectories: Any, outline: str = "") -> dspy.Prediction:
        names = [prompt["name"] for prompt in as_prompts(prompts)]
        read = read_trajectories(trajectories, names)
        traced, unclear = blame_by_trace(read, names)
        return Credit(blame=merged([*traced, *took_part(unclear, names)], read, names), dropped=[])


def took_part(trajectories: Sequence[Trajectory], names: Sequence[str]) -> list[Blame]:
    """Blame for every prompt that took part in a trajectory: trying lessons has to tell which it is."""
    return [
        Blame(name, "took part, and nothing tells more", (trajectory.id,))
        for trajectory in trajectories
        for name in names
        if trajectory.speaks_of(name) or not trajectory.steps
    ]


def blame_by_trace(trajectories: list[Trajectory], names: Sequence[str]) -> tuple[list[Blame], list[Trajectory]]:
    """Blame that stands in the trajectories themselves, and the trajectories that leave it open.

    Of several predictors that write the field in question each is blamed: trying the lessons tells which it is.
    """
    fields = Fields(trajectories)
    blame: list[Blame] = []
    unclear: list[Trajectory] = []
    for trajectory in trajectories:
        if trajectory.score is not None and trajectory.score >= 1:
            continue
        told = [(name, text) for name, text in trajectory.predictor_feedback.items() if text.strip()]
        for sentence in sentences(trajectory.feedback):
            told += [(owner, sentence) for owner in fields.owners(sentence)]
        blame += [Blame(name, text, (trajectory.id,)) for name, text in told if name in names]
        if not told:
            unclear.append(trajectory)
    return blame, unclear


def _render(prompt: Prompt) -> str:
    when = prompt.get("when_to_update")
    heed = f"\nwhen_to_update: {escape(when)}" if when else ""
    return f'<prompt name="{escape(prompt["name"])}">\n{escape(prompt["prompt"])}{heed}\n</prompt>'


def merged(entries: Iterable[Blame], trajectories: list[Trajectory], names: Sequence[str]) -> list[Blame]:
    """One entry a prompt, in the order of `names`, with all of its evidence that there is."""
    known = {trajectory.id for trajectory in trajectories}
    merged: dict[str, Blame] = {}
    for entry in entries:
        ids = (id.split(PART)[0].strip() for id in entry.evidence)
        first = merged.setdefault(entry.name, replace(entry, evidence=()))
        evidence = dict.fromkeys((*first.evidence, *(id for id in ids if id in known)))
        merged[entry.name] = replace(first, evidence=tuple(evidence))
    return [merged[name] for name in names if name in merged]
