"""Recalled memories as an input of whatever asks a model: put in at the adapter, so that no program need change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dspy

_DESC = "what is known from earlier conversations; use what helps, and do not repeat it for its own sake"


@contextmanager
def recalling(memories: str) -> Iterator[None]:
    """Everything asked inside has `memories` as its first input field; nothing is added where that is ""."""
    if not memories:
        yield
        return
    with dspy.context(adapter=_Recalling(dspy.settings.adapter or dspy.ChatAdapter(), memories)):
        yield


class _Recalling:
    """The adapter in use, with one more input. It passes for that adapter, as DSPy's streaming asks for its class."""

    def __init__(self, adapter: Any, memories: str) -> None:
        self._adapter, self._memories = adapter, memories

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._adapter)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._adapter, name)

    def __call__(
        self, lm: Any, lm_kwargs: Any, signature: type[dspy.Signature], demos: Any, inputs: dict[str, Any]
    ) -> Any:
        signature, inputs = self._with_memories(signature, inputs)
        return self._adapter(lm, lm_kwargs, signature, demos, inputs)

    async def acall(
        self, lm: Any, lm_kwargs: Any, signature: type[dspy.Signature], demos: Any, inputs: dict[str, Any]
    ) -> Any:
        signature, inputs = self._with_memories(signature, inputs)
        return await self._adapter.acall(lm, lm_kwargs, signature, demos, inputs)

    def _with_memories(
        self, signature: type[dspy.Signature], inputs: dict[str, Any]
    ) -> tuple[type[dspy.Signature], dict[str, Any]]:
        if "memories" in signature.fields:
            return signature, inputs  # the program has its own
        return signature.prepend("memories", dspy.InputField(desc=_DESC), str), {"memories": self._memories, **inputs}
