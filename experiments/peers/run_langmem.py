"""LangMem's prompt optimizers (https://github.com/langchain-ai/langmem), as its guides use them.

A minibatch is rolled out, its conversations and the feedback on them go to the optimizer, and what comes back replaces
the prompts. It has no validation of its own, and none is added. `kind`: gradient, metaprompt, prompt_memory (each
prompt in turn, from its own steps) or multi_prompt (`create_multi_prompt_optimizer`, from whole trajectories).
"""

from __future__ import annotations

import os

os.environ["LANGSMITH_TRACING"] = "false"

from client import BudgetSpent, Desk, answer_parity, seed_uuids
from langchain_openai import ChatOpenAI
from langmem import create_multi_prompt_optimizer, create_prompt_optimizer

BATCH = 5


def conversation(steps, feedback):
    """(messages, feedback) of some steps; what a step was given is the user's turn."""
    messages = []
    for step in steps:
        messages.append({"role": "user", "content": "\n".join(f"{k}: {v}" for k, v in step["inputs"].items())})
        messages.append({"role": "assistant", "content": "\n".join(f"{k}: {v}" for k, v in step["outputs"].items())})
    return messages, feedback


def documents(desk, prompts):
    return [{"name": name, "prompt": text, **desk.problem["guidance"][name]} for name, text in prompts.items()]


def one_by_one(desk, prompts, runs, optimizer):
    for document in documents(desk, prompts):
        name = document["name"]
        told = [conversation([s for s in run["steps"] if s["predictor"] == name], run["feedback"]) for run in runs]
        try:
            revised = optimizer.invoke({"trajectories": told, "prompt": document})
        except Exception as error:  # the library raises IndexError where its own validation failed for good
            if desk.spent():
                raise BudgetSpent from error
            revised = None
        prompts[name] = revised or prompts[name]


def together(desk, prompts, runs, optimizer):
    told = [conversation(run["steps"], run["feedback"]) for run in runs]
    try:
        revised = optimizer.invoke({"trajectories": told, "prompts": documents(desk, prompts)})
    except Exception as error:
        if desk.spent():
            raise BudgetSpent from error
        return
    prompts.update({document["name"]: document["prompt"] or prompts[document["name"]] for document in revised})


def chat_model(settings):
    return ChatOpenAI(
        model=settings["model"], base_url=settings["api_base"], api_key="any", max_retries=0, temperature=0
    )


def revised(settings, evidence):
    """The prompt of one step, revised once."""
    steps = [{"inputs": case["inputs"], "outputs": case["outputs"]} for case in evidence["cases"]]
    told = [conversation([step], case["feedback"]) for step, case in zip(steps, evidence["cases"], strict=True)]
    document = {"name": evidence["predictor"], "prompt": evidence["prompt"], "update_instructions": ""}
    model, kind = chat_model(settings), settings["kind"]
    if kind == "multi_prompt":
        return create_multi_prompt_optimizer(model).invoke({"trajectories": told, "prompts": [document]})[0]["prompt"]
    return create_prompt_optimizer(model, kind=kind).invoke({"trajectories": told, "prompt": document})


def main() -> None:
    if answer_parity(revised):
        return
    desk = Desk.of_this_process()
    seed_uuids(desk.settings["seed"])
    model = chat_model(desk.settings)
    kind = desk.settings["kind"]
    several = kind == "multi_prompt"
    optimizer = create_multi_prompt_optimizer(model) if several else create_prompt_optimizer(model, kind=kind)
    prompts = desk.prompts
    try:
        for cases in desk.batches(BATCH):
            runs = desk.roll_out(prompts, cases)
            (together if several else one_by_one)(desk, prompts, runs, optimizer)
            desk.report(prompts)
    except BudgetSpent:
        pass


if __name__ == "__main__":
    main()
