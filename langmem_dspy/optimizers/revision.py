"""From a model's proposed text to a prompt that may be used: checked, mended once, or declined with a reason."""

from __future__ import annotations

from dataclasses import dataclass

import dspy

from langmem_dspy.errors import ReplyError
from langmem_dspy.optimizers.prompts import Prompt, broken_by, kept_verbatim, unwrapped
from langmem_dspy.replies import Asking


@dataclass(frozen=True)
class Revision:
    """The outcome of one proposal. `prompt` is the given text, byte for byte, unless `changed`.

    `declined` says why there is no change although one was asked for; None when there is one or none was warranted.
    """

    prompt: str
    changed: bool
    rationale: str = ""
    declined: str | None = None


class MendPrompt(dspy.Signature):
    """A revised prompt broke a rule. Write it again: keep its improvements, and mend every problem listed. Follow
    update_instructions."""

    original_prompt: str = dspy.InputField()
    revised_prompt: str = dspy.InputField(desc="the revision with the problems")
    problems: list[str] = dspy.InputField()
    update_instructions: str = dspy.InputField(desc="what its owner asks of any change")
    improved_prompt: str = dspy.OutputField(desc="the whole mended prompt, and nothing else")


class Reviser(dspy.Module):
    """Takes a model's answer as the new text of a prompt, or declines it."""

    def __init__(self) -> None:
        super().__init__()
        self.mend = dspy.Predict(MendPrompt)

    def forward(self, asking: Asking, prompt: Prompt, answer: str | None, rationale: str = "") -> Revision:
        before = prompt["prompt"]
        text = restored(unwrapped(answer or "", before), before)
        if text.strip() == before.strip():
            return Revision(before, False, rationale)
        problems = broken_by(before, text)
        if problems and asking.may_repair():
            try:
                mended = asking(
                    self.mend,
                    original_prompt=shielded(before),
                    revised_prompt=shielded(text),
                    problems=problems,
                    update_instructions=prompt.get("update_instructions") or "(none)",
                )
            except ReplyError as error:
                return Revision(before, False, rationale, declined=f"{' '.join(problems)} The repair failed: {error}")
            text = restored(unwrapped(mended.improved_prompt or "", before), before)
            problems = broken_by(before, text)
        if problems:
            return Revision(before, False, rationale, declined=" ".join(problems))
        if text.strip() == before.strip():
            return Revision(before, False, rationale)
        return Revision(text, True, rationale)


def shielded(text: str) -> str:
    """`text` without DSPy's field markers, at which a reply that repeats them would be cut."""
    return text.replace("[[ ## ", "[ [ ## ")


def restored(text: str, before: str) -> str:
    """`text` with the field markers back, if the prompt had any."""
    return text.replace("[ [ ## ", "[[ ## ") if "[[ ## " in before else text


def verbatim_note(prompt: Prompt) -> str:
    """What must stay as it is, as a line for the model."""
    return "  ".join(kept_verbatim(prompt["prompt"])) or "(nothing)"
