"""What engines that stand around an LM have in common."""

from __future__ import annotations

import dspy


class LMAsEngine:
    """An LM as the engine of another one, which then says of itself what the LM says it supports."""

    def __init__(self, lm: dspy.BaseLM) -> None:
        self.lm = lm

    @property
    def supports_function_calling(self) -> bool:
        return bool(self.lm.supports_function_calling)

    @property
    def supports_reasoning(self) -> bool:
        return bool(self.lm.supports_reasoning)

    @property
    def supports_response_schema(self) -> bool:
        return bool(self.lm.supports_response_schema)

    @property
    def supported_params(self) -> set[str]:
        return set(self.lm.supported_params)
