"""The prompt-memory proposer: write what was learned into the prompt, as its memory, in a single request.

After LangMem's `prompt_memory` kind: the prompt is procedural memory, and a conversation is one more thing to remember.
"""

from __future__ import annotations

import dspy

from langmem_dspy.optimizers.prompts import Prompt
from langmem_dspy.optimizers.proposing import Proposer
from langmem_dspy.optimizers.revision import Revision
from langmem_dspy.replies import Asking


class RememberInPrompt(dspy.Signature):
    """Update a prompt with what these trajectories teach for good.

    Add or correct only what the feedback shows; keep the rest word for word. Follow update_instructions. Copy
    everything in keep_verbatim exactly, and add no other {braces}. If they teach nothing new, repeat the prompt."""

    prompt: str = dspy.InputField(desc="the prompt in use")
    trajectories: str = dspy.InputField(desc="how it was used, with feedback where there is any")
    when_to_update: str = dspy.InputField(desc="when this prompt should change at all")
    update_instructions: str = dspy.InputField(desc="what its owner asks of any change")
    keep_verbatim: str = dspy.InputField(desc="template variables and literals that must survive exactly")
    improved_prompt: str = dspy.OutputField(desc="the whole updated prompt, and nothing else")


class PromptMemory(Proposer):
    """One request per text of evidence; nothing is left out of it."""

    def __init__(self, *, max_input_tokens: int = 32_000) -> None:
        super().__init__(max_input_tokens=max_input_tokens)
        self.remember = dspy.Predict(RememberInPrompt)

    def propose(self, asking: Asking, prompt: Prompt, evidence: list[str]) -> Revision:
        return self.step_by_step(prompt, evidence, lambda current, text: self._remembered(asking, current, text))

    def _remembered(self, asking: Asking, prompt: Prompt, text: str) -> Revision:
        answer = self.ask_to_rewrite(asking, self.remember, prompt, text)
        return self.reviser(asking=asking, prompt=prompt, answer=answer.improved_prompt)
