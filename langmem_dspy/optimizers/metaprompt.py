"""The metaprompt proposer: reflect on the trajectories and write the better prompt in the same request.

After LangMem's `metaprompt` kind, and meta-prompting (Zhang et al., 2023, arXiv:2311.11482).
"""

from __future__ import annotations

import dspy

from langmem_dspy.optimizers.prompts import Prompt
from langmem_dspy.optimizers.proposing import Proposer
from langmem_dspy.optimizers.revision import Revision
from langmem_dspy.replies import Asking


class ReflectAndRewrite(dspy.Signature):
    """Improve a prompt so that the same mistakes do not happen again.

    Reflect on the trajectories and their feedback: which behaviour should change, which should stay, and what general
    instruction would have led to it? Then rewrite the prompt. Keep every line that is not at fault. Follow
    update_instructions. Copy everything in keep_verbatim exactly, and add no other {braces}. If the prompt should not
    change, say so and repeat it as it is."""

    prompt: str = dspy.InputField(desc="the prompt in use")
    trajectories: str = dspy.InputField(desc="how it was used, with feedback where there is any")
    when_to_update: str = dspy.InputField(desc="when this prompt should change at all")
    update_instructions: str = dspy.InputField(desc="what its owner asks of any change")
    keep_verbatim: str = dspy.InputField(desc="template variables and literals that must survive exactly")
    reflection: str = dspy.OutputField(desc="what to change and why, brief")
    change_warranted: bool = dspy.OutputField(desc="False if the prompt should stay as it is")
    improved_prompt: str = dspy.OutputField(desc="the whole revised prompt, and nothing else")


class MetaPrompt(Proposer):
    """Reflect and rewrite in one request per text of evidence.

    `max_reflection_steps` above 1 goes over its own revision again with the same evidence, at least
    `min_reflection_steps` times, until it finds nothing more to change.
    """

    def __init__(
        self, *, max_reflection_steps: int = 1, min_reflection_steps: int = 1, max_input_tokens: int = 32_000
    ) -> None:
        super().__init__(max_input_tokens=max_input_tokens)
        self.set_reflection_steps(max_reflection_steps, min_reflection_steps)
        self.rewrite = dspy.Predict(ReflectAndRewrite)

    def propose(self, asking: Asking, prompt: Prompt, evidence: list[str]) -> Revision:
        return self.step_by_step(prompt, evidence, lambda current, text: self._rewritten(asking, current, text))

    def _rewritten(self, asking: Asking, prompt: Prompt, text: str) -> Revision:
        answer = self.ask_to_rewrite(asking, self.rewrite, prompt, text)
        if not answer.change_warranted:
            return Revision(prompt["prompt"], False, answer.reflection or "")
        return self.reviser(
            asking=asking, prompt=prompt, answer=answer.improved_prompt, rationale=answer.reflection or ""
        )
