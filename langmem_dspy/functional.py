"""LangMem's functions, over the modules of this package: `create_*` factories that return plain callables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from langmem_dspy.errors import InputError
from langmem_dspy.memories.known import read_existing
from langmem_dspy.memories.schemas import Schemas, as_text
from langmem_dspy.model_functions import ModelFunction
from langmem_dspy.optimizers.core_memories import set_aside
from langmem_dspy.optimizers.credit import CreditAssigner
from langmem_dspy.optimizers.kinds import Kind, make_proposer
from langmem_dspy.optimizers.prompts import Prompt, as_prompt, as_prompts, is_frozen
from langmem_dspy.optimizers.proposing import DEFAULT_GUIDANCE
from langmem_dspy.optimizers.rollouts import in_threads
from langmem_dspy.optimizers.trajectories import Trajectory, read_trajectories

_AT_ONCE = 8  # prompts revised at the same time


class _OptimizePrompt(ModelFunction[str]):
    """optimize(trajectories, prompt, memories=None) -> the improved prompt as text."""

    _inputs, _optional = ("trajectories", "prompt"), ("memories",)

    def __init__(self, model: str | dspy.BaseLM | None, kind: str, config: Mapping[str, Any] | None) -> None:
        super().__init__(model)
        settings = dict(config or {})
        self.core_memories = settings.pop("core_memories", False)
        if not isinstance(self.core_memories, bool):
            raise InputError(f"core_memories in config is True or False, got {self.core_memories!r}")
        self.proposer = make_proposer(kind, settings)

    def __call__(self, trajectories: Any, prompt: str | Prompt | Mapping[str, Any], memories: Any = None) -> str:
        with self._asking():
            return self._optimized(trajectories, prompt, memories)

    def _optimized(self, trajectories: Any, prompt: str | Prompt | Mapping[str, Any], memories: Any) -> str:
        given = as_prompt(prompt)
        read = read_trajectories(trajectories, [given["name"]])
        known = _read_memories(memories)
        if is_frozen(given):
            return given["prompt"]
        if self.core_memories:
            return self._with_core_memories(given, read, known)
        return self.proposer(prompt=given, trajectories=read, memories=known or ()).prompt if read else given["prompt"]

    def _with_core_memories(self, given: Prompt, read: list[Trajectory], known: list[str] | None) -> str:
        """The revised prompt around its block of core memories, which is brought up to date without a model."""
        aside = set_aside(given["prompt"], known)
        if not read:
            return aside.back_in(aside.text)
        asked = given.get("update_instructions") or DEFAULT_GUIDANCE["update_instructions"]
        open_prompt = Prompt(
            **{**given, "prompt": aside.text, "update_instructions": f"{asked} {aside.note()}".strip()}
        )
        return aside.back_in(self.proposer(prompt=open_prompt, trajectories=read, memories=aside.held).prompt)


def _read_memories(memories: Any) -> list[str] | None:
    """Memories in any form as texts, each once."""
    if memories is None:
        return None
    texts = (as_text(known.content).strip() for known in read_existing(memories, Schemas(None), "memories"))
    return list(dict.fromkeys(filter(None, texts)))


class _OptimizePrompts(ModelFunction[list[Any]]):
    """optimize(trajectories, prompts, memories=None) -> the prompts in order; untouched ones are the objects given."""

    _inputs, _optional = ("trajectories", "prompts"), ("memories",)

    def __init__(self, model: str | dspy.BaseLM | None, kind: str, config: Mapping[str, Any] | None) -> None:
        super().__init__(model)
        self.proposer = make_proposer(kind, config)
        self.credit = CreditAssigner(max_input_tokens=self.proposer.max_input_tokens)

    def __call__(
        self, trajectories: Any, prompts: Sequence[Prompt | Mapping[str, Any]], memories: Any = None
    ) -> list[Any]:
        with self._asking():
            return self._optimized(trajectories, prompts, memories)

    def _optimized(self, trajectories: Any, prompts: Sequence[Prompt | Mapping[str, Any]], memories: Any) -> list[Any]:
        named = as_prompts(prompts)
        read = read_trajectories(trajectories, [prompt["name"] for prompt in named])
        known = _read_memories(memories) or ()
        open_prompts = [prompt for prompt in named if not is_frozen(prompt)]
        if not read or not open_prompts:
            return list(prompts)
        blame = {b.name: b for b in self.credit(prompts=open_prompts, trajectories=read).blame}
        blamed = [prompt for prompt in named if prompt["name"] in blame]

        def revise(prompt: Prompt) -> str:
            evidence = [t for t in read if t.id in blame[prompt["name"]].evidence]
            return self.proposer(prompt=prompt, trajectories=evidence or read, memories=known).prompt

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
    """`optimize(trajectories, prompt, memories=None) -> str`: improve one prompt, by conversations and feedback.

    Also `await optimize.acall(...)`, `optimize.invoke({"trajectories": ..., "prompt": ...})` and `ainvoke`.
    `config`: `max_reflection_steps`, `min_reflection_steps` (gradient, metaprompt), `max_input_tokens`,
    `core_memories`; other keys raise. Without trajectories, or with none that has content, the prompt comes back as
    given, for 0 calls.

    `memories` (texts, store items, `ExtractedMemory`, dicts) are shown beside the trajectories. With
    `core_memories=True` they also stand in the prompt, in a block `<core_memories>` at its end or where you put one:
    kept to just the memories given, trajectories or not, and as it is when none are given; no model writes there.
    """
    return _OptimizePrompt(model, kind, config)


def create_multi_prompt_optimizer(
    model: str | dspy.BaseLM | None = None,
    /,
    *,
    kind: Kind = "gradient",
    config: Mapping[str, Any] | None = None,
) -> _OptimizePrompts:
    """`optimize(trajectories, prompts, memories=None) -> list[Prompt]`: improve those prompts that are to blame.

    The result has the order and the keys given; an untouched prompt is the very object given. Feedback may be
    {prompt name: text}. `memories`, in any form, are shown beside the trajectories. Also `acall`,
    `invoke({"trajectories": ..., "prompts": ...})` and `ainvoke`.
    """
    return _OptimizePrompts(model, kind, config)
