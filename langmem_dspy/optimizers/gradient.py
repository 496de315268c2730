"""The gradient proposer: first find out what to change and why, then change just that.

After LangMem's `gradient` kind and textual gradients (Pryzant et al., 2023, arXiv:2305.03495). Two requests where one
look is enough: the trajectories are read once, and the revision sees only what came of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import dspy

from langmem_dspy.errors import ReplyError
from langmem_dspy.optimizers.lessons import Draft
from langmem_dspy.optimizers.prompts import Prompt
from langmem_dspy.optimizers.proposing import Proposer
from langmem_dspy.optimizers.revision import Revision, shielded, verbatim_note
from langmem_dspy.optimizers.trajectories import Trajectory
from langmem_dspy.replies import Asking


class Diagnose(dspy.Signature):
    """Find out how a prompt should change, from what happened when it was used.

    Think: read each trajectory and its feedback; note what went wrong or right, and which words of the prompt caused
    it. Critique: put away what the prompt already says, what only one odd case suggests, and what another part of the
    system is responsible for. Recommend: name each change that is left as one instruction, complete and specific
    enough to be written into the prompt. No change is warranted if the evidence shows no fault of this prompt."""

    prompt: str = dspy.InputField(desc="the prompt in use")
    trajectories: str = dspy.InputField(desc="how it was used, with feedback where there is any")
    when_to_update: str = dspy.InputField(desc="when this prompt should change at all")
    update_instructions: str = dspy.InputField(desc="what its owner asks of any change")
    earlier_findings: list[str] = dspy.InputField(desc="recommendations made so far")
    analysis: str = dspy.OutputField(desc="thoughts and critique, brief")
    recommendations: list[str] = dspy.OutputField(desc="changes beyond the earlier findings; empty if there are none")
    change_warranted: bool = dspy.OutputField(desc="False if the prompt should stay as it is")


class Revise(dspy.Signature):
    """Rewrite a prompt so that it follows the recommendations.

    Change only what they ask for; keep all other lines as they are. Resolve contradictions in favour of the
    recommendations. Copy everything in keep_verbatim exactly, and add no other {braces}."""

    prompt: str = dspy.InputField(desc="the prompt in use")
    recommendations: list[str] = dspy.InputField()
    update_instructions: str = dspy.InputField(desc="what its owner asks of any change")
    keep_verbatim: str = dspy.InputField(desc="template variables and literals that must survive exactly")
    improved_prompt: str = dspy.OutputField(desc="the whole revised prompt, and nothing else")


class Gradient(Proposer):
    """Diagnose, then revise; two requests, one when no change is warranted.

    `max_reflection_steps` above 1 lets the model look again at the same trajectories while it finds more to change;
    it looks at least `min_reflection_steps` times.
    """

    def __init__(
        self, *, max_reflection_steps: int = 1, min_reflection_steps: int = 1, max_input_tokens: int = 32_000
    ) -> None:
        super().__init__(max_input_tokens=max_input_tokens)
        self.set_reflection_steps(max_reflection_steps, min_reflection_steps)
        self.diagnose = dspy.Predict(Diagnose)
        self.revise = dspy.Predict(Revise)

    def propose(self, asking: Asking, prompt: Prompt, evidence: list[str]) -> Revision:
        findings: list[str] = []
        analyses: list[str] = []
        unread: list[str] = []
        for text in evidence:
            try:
                self._diagnose(asking, prompt, text, findings, analyses)
            except ReplyError as error:
                unread.append(f"no usable answer: {error}")
        rationale = "\n".join([*filter(None, analyses), *(f"- {line}" for line in findings)])
        if not findings:
            return Revision(prompt["prompt"], False, rationale, "; ".join(unread) or None)
        answer = asking(
            self.revise,
            prompt=shielded(prompt["prompt"]),
            recommendations=findings,
            update_instructions=self.guidance(prompt)["update_instructions"],
            keep_verbatim=verbatim_note(prompt),
        )
        return self.reviser(asking=asking, prompt=prompt, answer=answer.improved_prompt, rationale=rationale)

    def drafts(self, prompt: Prompt, trajectories: list[Trajectory], known: Sequence[Draft]) -> list[Draft]:
        """Each recommendation as a line of its own: what is tried line by line need not be rewritten first."""
        asking = Asking()
        findings = [draft.text for draft in known]
        for text in self.evidence(prompt, trajectories):
            self._diagnose(asking, prompt, text, findings, [])
        ids = tuple(trajectory.id for trajectory in trajectories)
        return [Draft(prompt["name"], " ".join(line.split()), evidence=ids) for line in findings[len(known) :]]

    def _diagnose(self, asking: Asking, prompt: Prompt, text: str, findings: list[str], analyses: list[str]) -> None:
        """Look at one text of evidence until nothing new is found in it."""
        for look in range(self.max_reflection_steps):
            found = asking(
                self.diagnose,
                prompt=shielded(prompt["prompt"]),
                trajectories=text,
                earlier_findings=findings,
                **self.guidance(prompt),
            )
            analyses.append(found.analysis or "")
            new = [line for line in found.recommendations or [] if line.strip() and line not in findings]
            new = new if found.change_warranted else []
            findings += new
            if look + 1 >= self.min_reflection_steps and not new:
                break
