"""Asking a model, and not trusting its answer: whole replies only, and one more request when one cannot be read."""

from __future__ import annotations

import json
import re
from functools import cache, lru_cache
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback
from dspy.utils.exceptions import AdapterParseError

from langmem_dspy.errors import InputError, ReplyError, TruncatedReply
from langmem_dspy.metered_lm import MeteredLM
from langmem_dspy.usage import Meter

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_UNREADABLE = "\n\nYour previous reply could not be used: {problem}. Answer again, in exactly the structure asked for."


def as_lm(model: str | dspy.BaseLM | None) -> dspy.BaseLM:
    """The LM to use: `model` itself, `dspy.LM(model)` for a model string, `dspy.settings.lm` for None.

    LangChain's "provider:model" is read as DSPy's "provider/model". Raises `InputError` when there is none.
    """
    if isinstance(model, dspy.BaseLM):
        return model
    if isinstance(model, str) and model.strip():
        provider, colon, name = model.partition(":")
        return dspy.LM(f"{provider}/{name}" if colon and "/" not in model else model)
    if model is not None:
        raise InputError(f"model must be a model string, a dspy.LM or None, got {type(model).__name__} {model!r}")
    if dspy.settings.lm is None:
        raise InputError(
            "no language model: pass model='openai/gpt-4.1-mini' or a dspy.LM, or call dspy.configure(lm=...) first"
        )
    return dspy.settings.lm


class ReplyAdapter(dspy.ChatAdapter):
    """DSPy's chat adapter, without its hidden retry through JSON: that would be a request nobody asked for.

    It makes the system message of a signature once; that is a third of DSPy's work on a request.
    """

    def __init__(self) -> None:
        super().__init__(use_json_adapter_fallback=False)
        # A few signatures at once: ours, and what a request to mend a reply makes of one.
        self._system_message = lru_cache(maxsize=64)(super().format_system_message)

    def format_system_message(self, signature: type[dspy.Signature]) -> str:
        return self._system_message(signature)  # type: ignore[arg-type]


@cache
def _own_adapter() -> ReplyAdapter:
    return ReplyAdapter()


def reply_adapter() -> dspy.Adapter:
    """The adapter our own predictors speak through: the user's if one is configured, else our own.

    Explicit, because DSPy 3.5 changes its default.
    """
    return dspy.settings.adapter or _own_adapter()


class Asking:
    """One question to a model, with at most `repairs` further requests to mend unusable answers.

    `repairs_left` is shared by everything asked through it: one update spends one repair, wherever it was needed.
    """

    def __init__(self, repairs: int = 1) -> None:
        self.repairs_left = repairs

    def __call__(self, predictor: dspy.Predict, **inputs: Any) -> dspy.Prediction:
        """The predictor's answer. Raises `ReplyError` when no readable, whole answer came."""
        try:
            return _ask(predictor, predictor.signature, inputs)
        except (AdapterParseError, ReplyError) as error:
            problem = _problem(error)
            if not self.may_repair():
                raise ReplyError(problem) from error
        note = _UNREADABLE.format(problem=problem)
        signature = predictor.signature.with_instructions(predictor.signature.instructions + note)
        try:
            return _ask(predictor, signature, inputs)
        except (AdapterParseError, ReplyError) as error:
            raise ReplyError(_problem(error)) from error

    def may_repair(self) -> bool:
        """Whether one more request may be spent on mending an answer; spends it."""
        self.repairs_left -= 1
        return self.repairs_left >= 0


def _ask(predictor: dspy.Predict, signature: type[dspy.Signature], inputs: dict[str, Any]) -> dspy.Prediction:
    lm = predictor.lm or as_lm(None)
    metered = lm if isinstance(lm, MeteredLM) else MeteredLM(lm, Meter(), "reflection", whole=True)
    raw = _RawReplies()
    with dspy.context(adapter=reply_adapter(), callbacks=[*dspy.settings.callbacks, raw]):
        answer = predictor(lm=metered, signature=signature, **inputs)
    if any(_is_cut_json(text) for text in raw.texts):
        raise TruncatedReply("the reply's JSON ends in the middle")
    try:
        json.dumps(answer.toDict(), ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        raise ReplyError("the reply holds half a character (a lone surrogate), which no model can be sent") from None
    return answer


class _RawReplies(BaseCallback):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def on_adapter_parse_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self.texts.append(inputs.get("completion") or "")


def _is_cut_json(text: str) -> bool:
    # DSPy repairs cut-off JSON silently, and half a prompt would be taken for a whole one.
    if text.lstrip().startswith(("{", "```json")) and "[[ ## " not in text:
        text = text[text.find("{") :]
        try:
            json.JSONDecoder(strict=False).raw_decode(text)
        except ValueError:
            outside = _STRING.sub("", text)
            return '"' in outside or outside.count("{") > outside.count("}")
    return False


def _problem(error: Exception) -> str:
    if isinstance(error, AdapterParseError):
        if not (error.lm_response or "").strip():
            return "the reply was empty"
        return "the reply did not have the fields asked for"
    return str(error)
