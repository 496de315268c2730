"""TextGrad (Yuksekgonul et al., 2024, arXiv:2406.07496): criticism flows back through the steps of the program.

Each step is an LLM call with its prompt as the system prompt, on what the earlier steps wrote; the judge's feedback is
the loss. After each batch of three the prompts are validated on `VALIDATED` cases and taken back if they got worse, as
in the library's notebook on prompt optimization.
"""

from __future__ import annotations

import os

import textgrad as tg
from client import BudgetSpent, Desk, answer_parity
from openai import OpenAI
from textgrad.autograd.llm_ops import FormattedLLMCall
from textgrad.autograd.string_based_ops import StringBasedFunction
from textgrad.engine.base import EngineLM
from textgrad.engine.openai import ChatOpenAI

BATCH, VALIDATED = 3, 10


def engine_of(settings):
    os.environ.setdefault("OPENAI_API_KEY", "any")
    engine = ChatOpenAI(model_string=settings["model"])
    engine.client = OpenAI(base_url=settings["api_base"], api_key="any", max_retries=0)
    engine.cache = {}  # of this run alone, not on disk
    # Without the library's retries: a refused call is refused for good.
    engine.generate = lambda content, system_prompt=None, **given: engine._generate_from_single_prompt(
        content, system_prompt=system_prompt, **given
    )
    return engine


class Step(EngineLM):
    """The model as one step uses it: typed fields in, typed fields out."""

    def __init__(self, desk, stage, fields):
        self.desk, self.stage, self.fields = desk, stage, fields

    def generate(self, prompt, system_prompt=None, **given):
        said = self.desk.take(self.stage, system_prompt, self.fields)
        self.fields.update(said)
        return shown(said)

    __call__ = generate


def shown(fields):
    return "\n".join(f"{name}: {value}" for name, value in fields.items())


def forward(desk, prompts, case):
    """The loss of one case, connected to every prompt."""
    given = desk.problem["inputs"][case]
    fields = dict(given)
    written = {}
    for stage in desk.problem["stages"]:
        if not desk.runs(stage, fields):
            continue
        reads, writes = set(stage["reads"].values()), set(stage["writes"].values())
        before = {name: said for name, (outputs, said) in written.items() if outputs & reads}
        own = {name: given[wired] for name, wired in stage["reads"].items() if wired in given}
        question = tg.Variable(shown(own), requires_grad=False, role_description="what was asked")
        inputs = {"question": question, **before}
        call = FormattedLLMCall(
            Step(desk, stage, fields),
            "\n".join(f"{{{name}}}" for name in inputs),
            {name: {} for name in inputs},
            prompts[stage["name"]],
        )
        role = f"what the step {stage['name']} wrote: {', '.join(stage['writes'])}"
        written[stage["name"]] = writes, call(inputs=inputs, response_role_description=role)
    feedback = desk.judge(case, {name: value for name, value in fields.items() if name not in given})["feedback"]
    judge = StringBasedFunction(lambda **_: feedback or "All is well.", "the evaluation of what the steps wrote")
    return judge(
        inputs={name: said for name, (_, said) in written.items()}, response_role_description="the feedback of a user"
    )


def validated(desk, prompts):
    runs = desk.roll_out(prompts, desk.problem["val"][:VALIDATED])
    return sum(run["score"] for run in runs) / len(runs)


class Recorded(EngineLM):
    """The model as it answered once."""

    def __init__(self, outputs):
        self.outputs = outputs

    def generate(self, prompt, system_prompt=None, **given):
        return shown(self.outputs)

    __call__ = generate


def revised(settings, evidence):
    """The prompt of one step, revised once."""
    engine = engine_of(settings)
    tg.set_backward_engine(engine, override=True)
    role = f"the prompt of the step {evidence['predictor']}"
    prompt = tg.Variable(evidence["prompt"], requires_grad=True, role_description=role)
    losses = []
    for case in evidence["cases"]:
        question = tg.Variable(shown(case["inputs"]), requires_grad=False, role_description="what was asked")
        call = FormattedLLMCall(Recorded(case["outputs"]), "{question}", {"question": {}}, prompt)
        said = call(inputs={"question": question}, response_role_description="what the step wrote")
        judge = StringBasedFunction(lambda text=case["feedback"], **_: text, "the evaluation of what the step wrote")
        losses.append(judge(inputs={"said": said}, response_role_description="the feedback of a user"))
    tg.sum(losses).backward()
    tg.TextualGradientDescent([prompt], engine=engine).step()
    return prompt.value


def main() -> None:
    if answer_parity(revised):
        return
    desk = Desk.of_this_process()
    engine = engine_of(desk.settings)
    tg.set_backward_engine(engine, override=True)
    prompts = {
        name: tg.Variable(text, requires_grad=True, role_description=f"the prompt of the step {name}")
        for name, text in desk.prompts.items()
    }
    constraints = ["Keep every {placeholder} in braces exactly as it is."]
    optimizer = tg.TextualGradientDescent(list(prompts.values()), engine=engine, constraints=constraints)
    best = desk.prompts
    try:
        bar = validated(desk, best)
        for cases in desk.batches(BATCH):
            optimizer.zero_grad()
            tg.sum([forward(desk, prompts, case) for case in cases]).backward()
            optimizer.step()
            said = {name: variable.value for name, variable in prompts.items()}
            score = validated(desk, said)
            if score >= bar:
                best, bar = said, score
            else:
                for name, variable in prompts.items():
                    variable.set_value(best[name])
            desk.report(best)
    except Exception as error:
        if not (isinstance(error, BudgetSpent) or desk.spent()):
            raise


if __name__ == "__main__":
    main()
