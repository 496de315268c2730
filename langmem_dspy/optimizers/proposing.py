"""The contract every proposer keeps: (prompt, trajectories) -> a better prompt, or the same one with a reason.

To add one: a file with its signatures and a subclass that has `propose`, a line in `kinds.py`, a row in the contract
test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import dspy

from langmem_dspy.errors import InputError, ReplyError
from langmem_dspy.messages import estimated_tokens
from langmem_dspy.optimizers.core_memories import sections
from langmem_dspy.optimizers.lessons import Draft, applied, drafts_of_rewrite
from langmem_dspy.optimizers.prompts import Prompt, as_prompt, broken_by, is_frozen
from langmem_dspy.optimizers.revision import Reviser, Revision, shielded, verbatim_note
from langmem_dspy.optimizers.trajectories import Trajectory, fit, read_trajectories
from langmem_dspy.replies import Asking

DEFAULT_GUIDANCE = {
    "when_to_update": "Whenever the feedback shows that it should behave differently.",
    "update_instructions": "Keep the prompt short and its structure as it is.",
}


class Proposer(dspy.Module):
    """Base of the proposers: reads the input, asks within one repair, checks the outcome.

    `max_input_tokens` bounds the evidence of a single request (estimated); more is asked about in further requests,
    never left out.
    """

    max_reflection_steps = 1
    min_reflection_steps = 1

    def __init__(self, *, max_input_tokens: int = 32_000) -> None:
        super().__init__()
        if isinstance(max_input_tokens, bool) or not isinstance(max_input_tokens, int) or max_input_tokens < 256:
            raise InputError(f"max_input_tokens must be an int of at least 256, got {max_input_tokens!r}")
        self.max_input_tokens = max_input_tokens
        self.reviser = Reviser()

    def propose(self, asking: Asking, prompt: Prompt, evidence: list[str]) -> Revision:
        """The revision that the rendered `evidence` calls for. Raises `ReplyError` when the model gave no answer."""
        raise NotImplementedError

    def forward(self, prompt: str | Prompt, trajectories: Any, memories: Sequence[str] = ()) -> dspy.Prediction:
        """Prediction(prompt, rationale, changed, declined): `prompt` is the given text unless `changed`.

        `memories` are evidence beside the trajectories: what is known from earlier conversations.
        Raises `InputError` for what cannot be read and `dspy.LMError` for faults of the model; an answer that cannot
        be used only leaves the prompt as it was, with the reason in `declined`.
        """
        prompt = as_prompt(prompt)
        read = read_trajectories(trajectories, [prompt["name"]])
        evidence = self.evidence(prompt, read, memories)
        revision = Revision(prompt["prompt"], False)
        if evidence:
            try:
                revision = self.propose(Asking(), prompt, evidence)
            except ReplyError as error:
                revision = replace(revision, declined=f"no usable answer: {error}")
        return dspy.Prediction(
            prompt=revision.prompt,
            rationale=revision.rationale,
            changed=revision.changed,
            declined=revision.declined,
        )

    def evidence(self, prompt: Prompt, trajectories: list[Trajectory], memories: Sequence[str] = ()) -> list[str]:
        """The trajectories as few texts, of each only what concerns this prompt; none for one that never changes.

        Each comes with the memories; those of many that do not fit beside it are texts of their own.
        """
        if is_frozen(prompt) or not trajectories:
            return []
        named = any(trajectory.speaks_of(prompt["name"]) for trajectory in trajectories)
        focus = prompt["name"] if named else None
        known, *more = sections(memories, self.max_input_tokens // 2) or [""]
        room = self.max_input_tokens - (estimated_tokens(known) if known else 0)
        return ["\n\n".join(filter(None, (known, text))) for text in fit(trajectories, room, focus)] + more

    def drafts(self, prompt: Prompt, trajectories: list[Trajectory], known: Sequence[Draft]) -> list[Draft]:
        """Changes to this prompt, line by line, beyond those `known` already. Raises `ReplyError`."""
        return _rewritten_lines(self, prompt, trajectories, known)

    def guidance(self, prompt: Prompt) -> dict[str, str]:
        """What the owner says about changing this prompt, as inputs for a signature."""
        return {key: str(prompt.get(key) or default) for key, default in DEFAULT_GUIDANCE.items()}

    def set_reflection_steps(self, most: int, least: int) -> None:
        """Check and keep how often the model may, and must, look at the evidence."""
        for name, value in (("max_reflection_steps", most), ("min_reflection_steps", least)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be an int of at least 1, got {value!r}")
        if least > most:
            raise InputError(f"min_reflection_steps ({least}) is above max_reflection_steps ({most})")
        self.max_reflection_steps, self.min_reflection_steps = most, least

    def ask_to_rewrite(self, asking: Asking, predictor: dspy.Predict, prompt: Prompt, text: str) -> dspy.Prediction:
        """The answer of a predictor that reads one text of evidence and rewrites the prompt in the same request."""
        return asking(
            predictor,
            prompt=shielded(prompt["prompt"]),
            trajectories=text,
            keep_verbatim=verbatim_note(prompt),
            **self.guidance(prompt),
        )

    def step_by_step(self, prompt: Prompt, evidence: list[str], revise: Callable[[Prompt, str], Revision]) -> Revision:
        """Revise the prompt with one text of evidence after the other, each revision building on the last."""
        current = Revision(prompt["prompt"], False)
        for text in evidence:
            for look in range(self.max_reflection_steps):
                try:
                    revision = revise(Prompt(**{**prompt, "prompt": current.prompt}), text)
                except ReplyError as error:
                    revision = Revision(current.prompt, False, declined=f"no usable answer: {error}")
                rationale = "\n".join(filter(None, (current.rationale, revision.rationale)))
                changed = revision.prompt != prompt["prompt"]
                current = Revision(revision.prompt, changed, rationale, revision.declined or current.declined)
                if look + 1 >= self.min_reflection_steps and not revision.changed:
                    break
        return replace(current, declined=None) if current.changed else current


def drafts_by(
    proposer: dspy.Module, prompt: Prompt, trajectories: list[Trajectory], known: Sequence[Draft]
) -> list[Draft]:
    """Changes by a proposer of ours, or by any module (prompt=, trajectories=) -> Prediction(prompt=)."""
    if isinstance(proposer, Proposer):
        return proposer.drafts(prompt, trajectories, known)
    return _rewritten_lines(proposer, prompt, trajectories, known)


def _rewritten_lines(
    proposer: dspy.Module, prompt: Prompt, trajectories: list[Trajectory], known: Sequence[Draft]
) -> list[Draft]:
    text = prompt["prompt"]
    for draft in known:
        text = applied(text, draft)
    answer = proposer(prompt=Prompt(**{**prompt, "prompt": text}), trajectories=trajectories)
    if answer.get("declined"):
        raise ReplyError(answer.declined)
    after = answer.prompt if isinstance(answer.prompt, str) else ""
    if problems := broken_by(text, after):
        raise ReplyError(" ".join(problems))  # proposers of others are not trusted either
    return drafts_of_rewrite(prompt["name"], text, after, tuple(t.id for t in trajectories))
