"""LangMem's functions, over the modules of this package: `create_*` factories that return plain callables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from langmem_dspy.model_functions import ModelFunction
from langmem_dspy.optimizers.credit import CreditAssigner
from langmem_dspy.optimizers.kinds import Kind, make_proposer
from langmem_dspy.optimizers.prompts import Prompt, as_prompt, as_prompts, is_frozen
from langmem_dspy.optimizers.rollouts import in_threads
from langmem_dspy.optimizers.trajectories import read_trajectories

_AT_ONCE = 8  # prompts revised at the same time


class _OptimizePrompt(ModelFunction):
    """optimize(trajectories, prompt) -> the improved prompt as text."""

    _inputs = ("trajectories", "prompt")

    def __init__(self, model: str | dspy.BaseLM | None, kind: str, config: Mapping[str, Any] | None) -> None:
        super().__init__(model)
        self.proposer = make_proposer(kind, config)

    def _run(self, trajectories: Any, prompt: str | Prompt | Mapping[str, Any]) -> str:
        given = as_prompt(prompt)
        read = read_trajectories(trajectories, [given["name"]])
        if not read or is_frozen(given):
            return given["prompt"]
        return self.proposer(prompt=given, trajectories=read).prompt


class _OptimizePrompts(ModelFunction):
    """optimize(trajectories, prompts) -> the prompts in the same order; untouched ones are the objects given."""

    _inputs = ("trajectories", "prompts")

    def __init__(self, model: str | dspy.BaseLM | None, kind: str, config: Mapping[str, Any] | None) -> None:
        super().__init__(model)
        self.proposer = make_proposer(kind, config)
        self.credit = CreditAssigner(max_input_tokens=self.proposer.max_input_tokens)

    def _run(self, trajectories: Any, prompts: Sequence[Prompt | Mapping[str, Any]]) -> list[Any]:
        named = as_prompts(prompts)
        read = read_trajectories(trajectories, [prompt["name"] for prompt in named])
        open_prompts = [prompt for prompt in named if not is_frozen(prompt)]
        if not read or not open_prompts:
            return list(prompts)
        blame = {b.name: b for b in self.credit(prompts=open_prompts, trajectories=read).blame}
        blamed = [prompt for prompt in named if prompt["name"] in blame]

        def revise(prompt: Prompt) -> str:
            evidence = [t for t in read if t.id in blame[prompt["name"]].evidence]
            return self.proposer(prompt=prompt, trajectories=evidence or read).prompt

        texts = dict(zip((p["name"] for p in blamed), in_threads(revise, blamed, _AT_ONCE), strict=True))
        return [_taken_over(given, prompt, texts) for given, prompt in zip(prompts, named, strict=True)]


def _taken_over(given: Any, prompt: Prompt, texts: Mapping[str, str]) -> Any:
    text = texts.get(prompt["name"], prompt["prompt"])
    if text == prompt["prompt"]:
        return given
    return text if isinstance(given, str) else {**given, "prompt": text}


def create_prompt_optimizer(
    model: str | dspy.BaseLM | None = None,
    /,
    *,
    kind: Kind = "gradient",
    config: Mapping[str, Any] | None = None,
) -> _OptimizePrompt:
    """`optimize(trajectories, prompt) -> str`: learn from conversations and feedback to improve one prompt.

    Also `await optimize.acall(...)`, `optimize.invoke({"trajectories": ..., "prompt": ...})` and `ainvoke`.
    `config`: `max_reflection_steps`, `min_reflection_steps` (gradient, metaprompt), `max_input_tokens`; other keys
    raise. Without trajectories, or with none that has content, the prompt comes back as given, for 0 calls.
    """
    return _OptimizePrompt(model, kind, config)


def create_multi_prompt_optimizer(
    model: str | dspy.BaseLM | None = None,
    /,
    *,
    kind: Kind = "gradient",
    config: Mapping[str, Any] | None = None,
) -> _OptimizePrompts:
    """`optimize(trajectories, prompts) -> list[Prompt]`: find the prompts to blame, and improve those at once.

    The result has the order and the keys given; an untouched prompt is the very object given. Feedback may be
    {prompt name: text}. Also `acall`, `invoke({"trajectories": ..., "prompts": ...})` and `ainvoke`.
    """
    return _OptimizePrompts(model, kind, config)
