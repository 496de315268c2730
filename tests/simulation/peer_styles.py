"""One body of evidence, asked about in the ways of several libraries; each gives the revised prompt back.

Installed libraries speak for themselves (dspy.GEPA, gepa, this package); the others' requests are retold in our own
words, with the structure of those that `experiments/peers` recorded: what stands in which section, under which headings
and tags, in which form the answer is wanted. `experiments/peers/parity.py` holds the libraries themselves to the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dspy
import pydantic
from dspy.lm15 import Message, Request

from langmem_dspy.optimizers.credit import AssignCredit
from langmem_dspy.optimizers.gradient import Gradient
from langmem_dspy.optimizers.metaprompt import MetaPrompt
from langmem_dspy.optimizers.prompt_memory import PromptMemory
from langmem_dspy.optimizers.trajectories import Step, Trajectory


@dataclass(frozen=True)
class Case:
    inputs: dict[str, str]
    outputs: dict[str, str]
    feedback: str


@dataclass(frozen=True)
class Evidence:
    prompt: str
    predictor: str
    cases: tuple[Case, ...]

    def trajectories(self) -> list[Trajectory]:
        return [
            Trajectory(f"t{i + 1}", steps=(Step(self.predictor, c.inputs, c.outputs),), feedback=c.feedback, score=0.4)
            for i, c in enumerate(self.cases)
        ]

    def records(self) -> list[dict]:
        return [{"Inputs": c.inputs, "Generated Outputs": c.outputs, "Feedback": c.feedback} for c in self.cases]

    def sessions(self) -> str:
        return "\n".join(
            f'<trajectory id="{i}">\nuser: {json.dumps(c.inputs)}\nassistant: {json.dumps(c.outputs)}\n'
            f"<feedback>{c.feedback}</feedback>\n</trajectory>"
            for i, c in enumerate(self.cases)
        )


def ours(proposer):
    def ask(lm: dspy.LM, evidence: Evidence) -> str:
        with dspy.context(lm=lm, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
            prompt = {"name": evidence.predictor, "prompt": evidence.prompt}
            return proposer()(prompt=prompt, trajectories=evidence.trajectories()).prompt

    return ask


def gepa_in_dspy(lm: dspy.LM, evidence: Evidence) -> str:
    from dspy.teleprompt.gepa.instruction_proposal import InstructionProposer

    with dspy.context(lm=lm):
        said = InstructionProposer()({"p": evidence.prompt}, {"p": evidence.records()}, ["p"])
    return said["p"]


def gepa_core(lm: dspy.LM, evidence: Evidence) -> str:
    from gepa.strategies.instruction_proposal import InstructionProposalSignature as Proposal

    request = Proposal.prompt_renderer(
        {
            "current_instruction_doc": evidence.prompt,
            "dataset_with_feedback": evidence.records(),
            "prompt_template": None,
        }
    )
    return Proposal.output_extractor(lm(request)[0])["new_instruction"]


class Reflection(pydantic.BaseModel):
    analysis: str
    improved_prompt: str = pydantic.Field(description="The whole new prompt. Retain every variable in {braces}.")


class Rewrite(pydantic.BaseModel):
    """With a description beside the schema."""

    logic: str
    update_prompt: bool
    new_prompt: str


class Judgement(pydantic.BaseModel):
    reasoning: str
    recommendations: list[str]
    warrants_adjustment: bool


_SESSIONS = """You look after the prompt of an AI assistant.

## The prompt
<current_prompt>
{prompt}
</current_prompt>

## What happened
<trajectories>
{sessions}
</trajectories>

## Instructions
"""


def structured_rewrite(lm: dspy.LM, evidence: Evidence) -> str:
    """A single request, the answer as a native JSON schema: LangMem's metaprompt."""
    task = (
        "Work out why the assistant fell short, and write an improved prompt. Keep variables in {braces} as they are."
    )
    text = _SESSIONS.format(prompt=evidence.prompt, sessions=evidence.sessions()) + task
    return json.loads(lm(text, response_format=Reflection)[0])["improved_prompt"]


def tagged_rewrite(lm: dspy.LM, evidence: Evidence) -> str:
    """How to change it stands in tags of its own: LangMem's prompt_memory."""
    text = (
        f"You can change the system prompt of an agent.\n\nThe prompt is this:\n<current_prompt>\n{evidence.prompt}\n"
        f"</current_prompt>\n\nIts trajectories and the feedback on them:\n<data>\n{evidence.sessions()}\n</data>"
        "\n\nInstructions for updating the prompt:\n<instructions>\nAdd one line a rule, keep every {variable}.\n"
        "</instructions>\n\nReturn an updated prompt, the whole of it."
    )
    return json.loads(lm(text, response_format=Rewrite)[0])["new_prompt"]


def judged_then_revised(lm: dspy.LM, evidence: Evidence) -> str:
    """A judgement as a tool call, then the revision from it: LangMem's gradient."""
    task = "Analyze the sessions and recommend changes to the prompt, if it warrants any."
    text = _SESSIONS.format(prompt=evidence.prompt, sessions=evidence.sessions()) + task
    tool = {"type": "function", "function": {"name": "recommend", "parameters": Judgement.model_json_schema()}}
    said = lm(text, tools=[tool], tool_choice="required")[0]
    judged = json.loads(said["tool_calls"][0]["function"]["arguments"])
    advice = "\n".join(judged["recommendations"])
    text = (
        f"Update a prompt as recommended.\n\n<current_prompt>\n{evidence.prompt}\n</current_prompt>\n\n"
        f"We suspect that the prompt falls short for this:\n\n<hypotheses>\n{advice}\n</hypotheses>\n\n"
        f"<recommendations>\n{advice}\n</recommendations>\n\nAnswer with the updated prompt."
    )
    return json.loads(lm(text, response_format=Reflection)[0])["improved_prompt"]


def criticized_then_improved(lm: dspy.LM, evidence: Evidence) -> str:
    """Criticism of a variable in words, then the new value in tags: TextGrad."""
    used = "\n\n".join(
        f"<LM_SYSTEM_PROMPT> {evidence.prompt} </LM_SYSTEM_PROMPT>\n\n<LM_INPUT> {c.inputs} </LM_INPUT>\n\n"
        f"<LM_OUTPUT> {c.outputs} </LM_OUTPUT>"
        for c in evidence.cases
    )
    said = "\n".join(c.feedback for c in evidence.cases)
    text = (
        "You are part of an optimization system and give feedback to a variable, with an objective in <OBJECTIVE> "
        "</OBJECTIVE> tags.\n# - <LM_SYSTEM_PROMPT>: what it was told.\n# - <VARIABLE>: the span in question.\n\n"
        f"This is what happened:\n\n{used}\n\n<OBJECTIVE>Address this feedback on the output: {said}</OBJECTIVE>\n\n"
        f"The span:\n\n<VARIABLE> {abridged(evidence.prompt)} </VARIABLE>\n\nSay how it could be better."
    )
    critique = lm(text)[0]
    text = (
        "You are part of an optimization system that improves text. Improve the variable by the feedback you get, and "
        "answer with <IMPROVED_VARIABLE> {improved variable} </IMPROVED_VARIABLE> tags.\n\n"
        f"The variable is the span <VARIABLE> {abridged(evidence.prompt)} </VARIABLE>\n\nContext and feedback:\n\n"
        f"<CONTEXT>{used}\n\n<FEEDBACK>{critique}</FEEDBACK></CONTEXT>\n\n"
        "Send the improved variable like this:\n\n<IMPROVED_VARIABLE>{the improved variable}</IMPROVED_VARIABLE>"
    )
    said = lm(text)[0]
    found = re.search(r"<IMPROVED_VARIABLE>(.*?)</IMPROVED_VARIABLE>", said, re.DOTALL)
    return found.group(1).strip() if found else said


def abridged(text: str) -> str:
    """Its first and last ten words, as TextGrad shows a long variable."""
    words = text.split(" ")
    return text if len(words) <= 20 else f"{' '.join(words[:10])} (...) {' '.join(words[-10:])}"


def suggested(lm: dspy.LM, evidence: Evidence) -> str:
    """New values for the nodes of a graph, as a JSON object that the request draws: Trace's OptoPrime."""
    told = "\n".join(f"Case {i}: {c.feedback}" for i, c in enumerate(evidence.cases))
    name = f"{evidence.predictor}0"
    said = _opto(lm, {name: evidence.prompt}, str([c.outputs for c in evidence.cases]), told)
    return json.loads(said)["suggestion"].get(name, evidence.prompt)


def _opto(lm: dspy.LM, variables: Mapping[str, str], outputs: str, feedback: str) -> str:
    system = (
        'Solve the problem from its parts, #Variables and #Feedback among them. Answer in JSON:\n\n{\n"reasoning": '
        '<your reasoning>,\n"suggestion": {\n    <variable_1>: <value_1>,\n}\n}\n\nSuggest new values of the variables.'
    )
    listed = "\n".join(f"(str) {name}={text}" for name, text in variables.items())
    user = (
        "The problem:\n\n#Instruction\nChange the values in #Variables for the better.\n\n"
        f"#Variables\n{listed}\n\n#Outputs\n{outputs}\n\n#Feedback\n{feedback}\n"
    )
    response = lm(Request(model=lm.model, system=system, messages=(Message.user(user),)))
    return str(response.text)


class OfferFeedback(dspy.Signature):
    """Runs of a program went worse and better. Give advice to each module that would make the worse run better."""

    program_code: str = dspy.InputField()
    modules_defn: str = dspy.InputField()
    worse_program_trajectory: str = dspy.InputField()
    worse_reward_info: str = dspy.InputField(desc="with the feedback on it")
    module_names: list[str] = dspy.InputField()
    discussion: str = dspy.OutputField()
    module_advice: dict[str, str] = dspy.OutputField(desc="advice by module name")


def advised(lm: dspy.LM, evidence: Evidence) -> str:
    """Advice by module, appended to the prompt: SIMBA."""
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        said = dspy.Predict(OfferFeedback)(
            program_code="class Program: ...",
            modules_defn=f"Module {evidence.predictor}\n\tInstructions: {evidence.prompt}",
            worse_program_trajectory=json.dumps([[c.inputs, c.outputs] for c in evidence.cases]),
            worse_reward_info="\n".join(c.feedback for c in evidence.cases),
            module_names=[evidence.predictor],
        )
    return f"{evidence.prompt}\n\n{said.module_advice.get(evidence.predictor, '')}"


STYLES: dict[str, object] = {
    "ours: gradient": ours(Gradient),
    "ours: metaprompt": ours(MetaPrompt),
    "ours: prompt_memory": ours(PromptMemory),
    "dspy.GEPA": gepa_in_dspy,
    "gepa": gepa_core,
    "LangMem metaprompt": structured_rewrite,
    "LangMem gradient": judged_then_revised,
    "LangMem prompt_memory": tagged_rewrite,
    "TextGrad": criticized_then_improved,
    "OptoPrime": suggested,
    "SIMBA": advised,
}


# --- several prompts at once, and a complaint about one of them: which does it choose? ---


class Chosen(pydantic.BaseModel):
    reasoning: str
    which: list[str] = pydantic.Field(description="The prompt names that should be updated")


def chosen(lm: dspy.LM, prompts: Mapping[str, str], complaint: str) -> list[str]:
    """A list of names, asked for before any prompt is revised: LangMem's multi-prompt optimizer."""
    listed = "".join(f"{name}: {text}\n" for name, text in prompts.items())
    text = (
        f"Decide from these trajectories which prompts to update.\n\n<session_1>\nuser: hm\n\nassistant: hm\n\n"
        f"<FEEDBACK>\n{complaint}\n</FEEDBACK>\n</session_1>\n\nBelow are the prompts in question:\n{listed}\n"
        'Return "which", a list of names.'
    )
    return json.loads(lm(text, response_format=Chosen)[0])["which"]


def suggested_among(lm: dspy.LM, prompts: Mapping[str, str], complaint: str) -> list[str]:
    """New values for some of several variables, as JSON that the request draws: Trace's OptoPrime."""
    said = json.loads(_opto(lm, {f"{name}0": text for name, text in prompts.items()}, "hm", f"Case 0: {complaint}"))
    return [name.removesuffix("0") for name, text in said["suggestion"].items() if text != prompts[name[:-1]]]


def blamed(lm: dspy.LM, prompts: Mapping[str, str], complaint: str) -> list[str]:
    """This package, with no step to go by."""
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        said = dspy.Predict(AssignCredit)(
            system_outline=", ".join(prompts),
            prompts="\n".join(f'<prompt name="{name}">\n{text}\n</prompt>' for name, text in prompts.items()),
            trajectories=Trajectory("t1", feedback=complaint, score=0.4).render(),
        )
    return [entry.prompt_name for entry in said.blamed]


SEVERAL_STYLES = {"LangMem multi-prompt": chosen, "OptoPrime": suggested_among, "ours: credit": blamed}


def rules_taken(new_prompt: str, evidence: Evidence, find_rules) -> Sequence[object]:
    before = set(find_rules(evidence.prompt))
    return [rule for rule in find_rules(new_prompt) if rule not in before]
