"""Asking a model, and not trusting its answer: whole replies only, and one more request when one cannot be read."""

from __future__ import annotations

import json
import re
from functools import cache, lru_cache
from typing import Any, get_origin

import dspy
from dspy.adapters.utils import format_field_value
from dspy.utils.callback import BaseCallback
from dspy.utils.exceptions import AdapterParseError
from pydantic import TypeAdapter

from langmem_dspy.errors import InputError, ReplyError, TruncatedReply
from langmem_dspy.metered_lm import MeteredLM
from langmem_dspy.usage import Meter

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_MARKER = re.compile(r"^[ \t]*\[\[ ## (\w+) ## \]\]", re.MULTILINE)
_UNREADABLE = "\n\nYour previous reply could not be used: {problem}. Answer again, in exactly the structure asked for."


def as_lm(model: str | dspy.BaseLM | None) -> dspy.BaseLM:
    """The LM to use: `model` itself, `dspy.LM(model)` for a model string, `dspy.settings.lm` for None.

    LangChain's "provider:model" is read as DSPy's "provider/model". Raises `InputError` when there is none.
    """
    if isinstance(model, dspy.BaseLM):
        return model
    if isinstance(model, str) and model.strip():
        try:
            return dspy.LM(model_name(model))
        except ValueError as error:
            raise InputError(f"no model can be meant by {model!r}: {error}") from error
    if model is not None:
        raise InputError(f"model must be a model string, a dspy.LM or None, got {type(model).__name__} {model!r}")
    if dspy.settings.lm is None:
        raise InputError(
            "no language model: pass model='openai/gpt-4.1-mini' or a dspy.LM, or call dspy.configure(lm=...) first"
        )
    return dspy.settings.lm


def model_name(model: str) -> str:
    """DSPy's name of a model: LangChain's "provider:model" is "provider/model"."""
    provider, colon, name = model.partition(":")
    return f"{provider}/{name}" if colon and "/" not in model else model


class ReplyAdapter(dspy.ChatAdapter):
    """DSPy's chat adapter, without its hidden retry through JSON: that would be a request nobody asked for.

    What follows from a signature alone is made once for it, and pydantic's adapters once for each type: together that
    is more than half of DSPy's work on a request.
    """

    def __init__(self) -> None:
        super().__init__(use_json_adapter_fallback=False)
        # A few signatures at once: ours, and what a request to mend a reply makes of one.
        self._system_message = lru_cache(maxsize=64)(super().format_system_message)
        self._requirements = lru_cache(maxsize=64)(super().user_message_output_requirements)

    def format_system_message(self, signature: type[dspy.Signature]) -> str:
        return self._system_message(signature)  # type: ignore[arg-type]

    def user_message_output_requirements(self, signature: type[dspy.Signature]) -> str:
        return self._requirements(signature)  # type: ignore[arg-type]

    def format_user_message_content(
        self,
        signature: type[dspy.Signature],
        inputs: dict[str, Any],
        prefix: str = "",
        suffix: str = "",
        main_request: bool = False,
    ) -> str:
        given = {name: field for name, field in signature.input_fields.items() if name in inputs}
        fields = [f"[[ ## {name} ## ]]\n{_shown(field, inputs[name])}" for name, field in given.items()]
        asked = [self.user_message_output_requirements(signature)] if main_request else []
        return "\n\n".join([prefix, *fields, *asked, suffix]).strip()

    def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
        """The fields of a reply; one that is not just as asked for is left to DSPy, which mends what it can."""
        _, *sections = _MARKER.split(completion)
        texts, wanted = sections[1::2], signature.output_fields
        if sections[::2] != [*wanted, "completed"] or "\r" in completion:
            return super().parse(signature, completion)
        try:
            return {
                name: _read(text.strip(), field.annotation)
                for text, (name, field) in zip(texts, wanted.items(), strict=False)
            }
        except (ValueError, TypeError):
            return super().parse(signature, completion)


def _shown(field: Any, value: Any) -> Any:
    if value == [] and field.annotation is not str:
        return "[]"
    return value if type(value) is str else format_field_value(field, value)


def _read(text: str, annotation: Any) -> Any:
    if annotation is str:
        return text
    if annotation is bool:  # models write it as Python does
        return _type_adapter(annotation).validate_python(text)
    if get_origin(annotation) is not list:
        raise ValueError("DSPy reads unions, enums and literals in ways of their own")
    return _type_adapter(annotation).validate_python(json.loads(text))


_type_adapter = lru_cache(maxsize=256)(TypeAdapter)


@cache
def _own_adapter() -> ReplyAdapter:
    # Explicit, because DSPy 3.5 changes its default.
    return ReplyAdapter()


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
    around = dspy.settings.lm  # a predictor's own LM is paid for by whoever asked
    if isinstance(around, MeteredLM):
        metered = around.beside(lm)
    else:
        metered = lm if isinstance(lm, MeteredLM) else MeteredLM(lm, Meter(), "reflection", whole=True)
    if (adapter := dspy.settings.adapter) is None:
        # Our own reads marked fields alone; cut-off JSON holds none.
        with dspy.context(adapter=_own_adapter()):
            answer = predictor(lm=metered, signature=signature, **inputs)
    else:
        answer = _ask_through(adapter, predictor, lm=metered, signature=signature, **inputs)
    try:
        json.dumps(answer.toDict(), ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        raise ReplyError("the reply holds half a character (a lone surrogate), which no model can be sent") from None
    return answer


def _ask_through(adapter: Any, predictor: dspy.Predict, **inputs: Any) -> dspy.Prediction:
    """The answer through the user's adapter, which may be one that reads JSON."""
    raw = _RawReplies()
    with dspy.context(adapter=adapter, callbacks=[*dspy.settings.callbacks, raw]):
        answer = predictor(**inputs)
    if any(_is_cut_json(text) for text in raw.texts):
        raise TruncatedReply("the reply's JSON ends in the middle")
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
