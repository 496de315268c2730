"""The faces of the optimizer, and which proposer each kind is. The only file that knows both loop and proposers."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal

from langmem_dspy.errors import InputError
from langmem_dspy.optimizers.credit import CreditAssigner
from langmem_dspy.optimizers.gradient import Gradient
from langmem_dspy.optimizers.metaprompt import MetaPrompt
from langmem_dspy.optimizers.prompt_memory import PromptMemory
from langmem_dspy.optimizers.proposing import Proposer
from langmem_dspy.optimizers.teleprompter import PromptOptimizer

Kind = Literal["gradient", "metaprompt", "prompt_memory"]

PROPOSERS: dict[str, type[Proposer]] = {
    "gradient": Gradient,
    "metaprompt": MetaPrompt,
    "prompt_memory": PromptMemory,
}


def make_proposer(kind: str, config: Mapping[str, Any] | None = None) -> Proposer:
    """The proposer of `kind`, set up by `config`. Raises `InputError` for an unknown kind or key."""
    if kind not in PROPOSERS:
        raise InputError(f"kind must be one of {', '.join(PROPOSERS)}, got {kind!r}")
    settings = dict(config or {})
    known = list(inspect.signature(PROPOSERS[kind].__init__).parameters)[1:]
    if unknown := sorted(map(str, set(settings) - set(known))):
        raise InputError(f"config for kind={kind!r} takes {', '.join(known)}; got also {', '.join(unknown)}")
    return PROPOSERS[kind](**settings)


class GradientOptimizer(PromptOptimizer):
    """`PromptOptimizer` with the `Gradient` proposer."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(Gradient(), **settings)


class MetaPromptOptimizer(PromptOptimizer):
    """`PromptOptimizer` with the `MetaPrompt` proposer."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(MetaPrompt(), **settings)


class PromptMemoryOptimizer(PromptOptimizer):
    """`PromptOptimizer` with the `PromptMemory` proposer."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(PromptMemory(), **settings)


class MultiPromptOptimizer(PromptOptimizer):
    """The form for compound systems: credit first, then the blamed prompts, all of them in one step."""

    def __init__(self, kind: Kind = "gradient", *, config: Mapping[str, Any] | None = None, **settings: Any) -> None:
        settings.setdefault("credit", CreditAssigner())
        super().__init__(make_proposer(kind, config), **settings)
