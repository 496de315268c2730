"""Trace's OptoPrime (Cheng et al., 2024, arXiv:2406.16218): prompts are trainable nodes of the program's graph.

A batch is traced through the program, its feedback is propagated, and OptoPrime suggests new values for the nodes in
one call. It has no validation of its own, and none is added.
"""

from __future__ import annotations

import os

from client import BudgetSpent, Desk, answer_parity

BATCH = 5


def program_of(desk, bundle):
    """A bundled function for each stage; it takes the prompt's node and the fields so far."""

    def stage_function(stage):
        @bundle(description=f"[{stage['name']}] writes {', '.join(stage['writes'])}", allow_external_dependencies=True)
        def step(prompt, fields):
            return {**fields, **desk.take(stage, prompt, fields)}

        return step

    return [(stage, stage_function(stage)) for stage in desk.problem["stages"]]


def connect(settings):
    os.environ.update(OPENAI_API_KEY="any", OPENAI_API_BASE=settings["api_base"])


def revised(settings, evidence):
    """The prompt of one step, revised once."""
    connect(settings)
    from opto.optimizers import OptoPrime
    from opto.trace import bundle, node
    from opto.utils.llm import LiteLLM

    prompt = node(evidence["prompt"], name=evidence["predictor"], trainable=True)

    @bundle(description="[step] writes its fields from the prompt and what it is given")
    def step(prompt, given, said):
        return said

    optimizer = OptoPrime([prompt], llm=LiteLLM(model=f"openai/{settings['model']}"))
    optimizer.zero_feedback()
    outcomes = [step(prompt, node(case["inputs"]), case["outputs"]) for case in evidence["cases"]]
    told = "\n".join(f"Case {i}: {case['feedback']}" for i, case in enumerate(evidence["cases"]))
    optimizer.backward(batched(bundle)(*outcomes), told)
    optimizer.step()
    return prompt.data


def main() -> None:
    if answer_parity(revised):
        return
    desk = Desk.of_this_process()
    connect(desk.settings)
    from opto.optimizers import OptoPrime
    from opto.trace import bundle, node
    from opto.utils.llm import LiteLLM

    keep = "keep every {placeholder} in braces exactly as it is"
    nodes = {name: node(text, name=name, trainable=True, constraint=keep) for name, text in desk.prompts.items()}
    optimizer = OptoPrime(list(nodes.values()), llm=LiteLLM(model=f"openai/{desk.settings['model']}"))
    steps = program_of(desk, bundle)
    try:
        for cases in desk.batches(BATCH):
            optimizer.zero_feedback()
            told = []
            outputs = []
            for case in cases:
                fields = node(desk.problem["inputs"][case])
                for stage, step in steps:
                    if desk.runs(stage, fields.data):
                        fields = step(nodes[stage["name"]], fields)
                outputs.append(fields)
                told.append(f"Case {len(told)}: {desk.judge(case, fields.data)['feedback'] or 'All is well.'}")
            together = batched(bundle)(*outputs)
            optimizer.backward(together, "\n".join(told))
            optimizer.step()
            desk.report({name: variable.data for name, variable in nodes.items()})
    except Exception as error:
        if not (isinstance(error, BudgetSpent) or desk.spent()):
            raise


def batched(bundle):
    @bundle(description="[batch] puts the outcomes of several cases together")
    def batch(*outcomes):
        return "\n".join(str(outcome) for outcome in outcomes)

    return batch


if __name__ == "__main__":
    main()
