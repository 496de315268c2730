"""Credit assignment: which prompts of a compound system should change, for what reason, on what evidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dspy
import pydantic

from langmem_dspy.errors import ReplyError
from langmem_dspy.messages import escape
from langmem_dspy.optimizers.prompts import Prompt, as_prompts
from langmem_dspy.optimizers.trajectories import PART, Trajectory, fit, read_trajectories
from langmem_dspy.replies import Asking


@dataclass(frozen=True)
class Blame:
    """A prompt that should change. `evidence` holds the ids of the trajectories the reason rests on."""

    name: str
    reason: str
    evidence: tuple[str, ...] = ()


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
    """Asks a model which of several prompts to blame. One prompt alone is blamed without asking.

    Feedback that the metric gave about one predictor is evidence by itself: it is kept whatever the model says.
    """

    def __init__(self, *, max_input_tokens: int = 32_000) -> None:
        super().__init__()
        self.max_input_tokens = max_input_tokens
        self.assign = dspy.Predict(AssignCredit)

    def forward(self, prompts: Sequence[Any], trajectories: Any, outline: str = "") -> dspy.Prediction:
        """Prediction(blame=[Blame], dropped=[str]), in the order of `prompts`; `dropped` are names no prompt has.

        When the model gives no usable answer, every prompt is blamed: the proposers decide for themselves.
        """
        named = as_prompts(prompts)
        names = [prompt["name"] for prompt in named]
        read = read_trajectories(trajectories, names)
        if not read or not named:
            return dspy.Prediction(blame=[], dropped=[])
        if len(named) == 1:
            blame = [Blame(names[0], "the only prompt", tuple(t.id for t in read))]
            return dspy.Prediction(blame=blame, dropped=[])
        try:
            entries = list(self._asked(named, read, outline))
        except ReplyError as error:
            everyone = [Blame(name, f"credit could not be assigned: {error}") for name in names]
            return dspy.Prediction(blame=everyone, dropped=[str(error)])
        blamed = _merged([entry for entry in entries if entry.name in names] + _spoken_of(read, names), read)
        dropped = [f"no prompt is named {entry.name!r}" for entry in entries if entry.name not in names]
        return dspy.Prediction(blame=sorted(blamed, key=lambda b: names.index(b.name)), dropped=dropped)

    def _asked(self, prompts: list[Prompt], trajectories: list[Trajectory], outline: str) -> Iterable[Blame]:
        asking = Asking()
        rendered = "\n".join(_render(prompt) for prompt in prompts)
        outline = outline or "The prompts belong to one system: " + ", ".join(p["name"] for p in prompts)
        for text in fit(trajectories, self.max_input_tokens):
            answer = asking(self.assign, system_outline=outline, prompts=rendered, trajectories=text)
            for entry in answer.blamed or []:
                yield Blame(entry.prompt_name.strip(), entry.reason, tuple(entry.trajectory_ids))


class InTurn:
    """The credit of a search without credit: blames one prompt a call, in turn."""

    def __init__(self) -> None:
        self._calls = 0

    def __call__(self, prompts: Sequence[Any], trajectories: Any, outline: str = "") -> dspy.Prediction:
        named = as_prompts(prompts)
        if not named:
            return dspy.Prediction(blame=[], dropped=[])
        chosen = named[self._calls % len(named)]["name"]
        self._calls += 1
        return dspy.Prediction(blame=[Blame(chosen, "its turn")], dropped=[])


def _render(prompt: Prompt) -> str:
    when = prompt.get("when_to_update")
    heed = f"\nwhen_to_update: {escape(when)}" if when else ""
    return f'<prompt name="{escape(prompt["name"])}">\n{escape(prompt["prompt"])}{heed}\n</prompt>'


def _spoken_of(trajectories: list[Trajectory], names: list[str]) -> list[Blame]:
    return [
        Blame(name, text, (trajectory.id,))
        for trajectory in trajectories
        for name, text in trajectory.predictor_feedback.items()
        if name in names and text.strip() and (trajectory.score is None or trajectory.score < 1)
    ]


def _merged(entries: list[Blame], trajectories: list[Trajectory]) -> list[Blame]:
    known = {trajectory.id for trajectory in trajectories}
    merged: dict[str, Blame] = {}
    for entry in entries:
        evidence = tuple(dict.fromkeys(e for e in (id.split(PART)[0].strip() for id in entry.evidence) if e in known))
        before = merged.get(entry.name)
        if before is None:
            merged[entry.name] = replace(entry, evidence=evidence)
        else:
            merged[entry.name] = replace(before, evidence=tuple(dict.fromkeys((*before.evidence, *evidence))))
    return list(merged.values())
