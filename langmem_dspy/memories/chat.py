"""DSPy's chat adapter for many requests of a few signatures: what depends on the signature alone is made once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import dspy

_SIGNATURES = 64  # kept at once; a request to mend a reply has one of its own


class SteadyChat(dspy.ChatAdapter):
    """A ChatAdapter without fallback that makes each system message once: a third of DSPy's work on a request."""

    def __init__(self) -> None:
        super().__init__(use_json_adapter_fallback=False)
        self._made = lru_cache(maxsize=_SIGNATURES)(super().format_system_message)

    def format_system_message(self, signature: type[dspy.Signature]) -> str:
        return self._made(signature)  # type: ignore[arg-type]


_steady: SteadyChat | None = None


@contextmanager
def steady_chat() -> Iterator[None]:
    """Inside, requests speak through the user's adapter where one is configured, else through `SteadyChat`."""
    global _steady
    if dspy.settings.adapter is not None:
        yield
        return
    _steady = _steady or SteadyChat()
    with dspy.context(adapter=_steady):
        yield
