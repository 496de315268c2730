"""Fakes for tests: a language model that is a Python function."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import dspy
from dspy.lm15 import Message, Request, Response, Usage

Answer = Callable[[str], Any]


def text_of(request: Request) -> str:
    """All the text of a request: system and messages."""
    system = request.system if isinstance(request.system, str) else "".join(p.text for p in request.system or ())
    return "\n\n".join([system, *(m.text or "" for m in request.messages)])


def input_field(text: str, name: str) -> str:
    """The value of an input field in the last message of a ChatAdapter request."""
    found = re.findall(rf"\[\[ ## {name} ## \]\]\n(.*?)(?=\n\n\[\[ ## |\n\nRespond with|\Z)", text, re.DOTALL)
    return found[-1] if found else ""


def instructions_of(text: str) -> str:
    """The instructions in a ChatAdapter request."""
    return text.split("your objective is:", 1)[-1].split("\n\n[[ ##", 1)[0].strip()


def chat(**fields: Any) -> str:
    """A whole ChatAdapter reply."""
    return "".join(f"[[ ## {name} ## ]]\n{value}\n\n" for name, value in fields.items()) + "[[ ## completed ## ]]"


@dataclass
class FakeEngine:
    """Answers with what `answer(text of the request)` returns: text, an exception to raise, or a whole Response."""

    answer: Answer
    requests: list[str] = field(default_factory=list)
    tokens: tuple[int, int] = (10, 5)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> FakeEngine:
        return self

    def complete(self, request: Request) -> Response:
        text = text_of(request)
        with self._lock:
            self.requests.append(text)
        reply = self.answer(text)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, Response):
            return reply
        return response(reply, request.model, tokens=self.tokens)

    @property
    def calls(self) -> int:
        return len(self.requests)


def response(text: str, model: str = "fake", *, finish: str = "stop", tokens: tuple[int, int] = (10, 5)) -> Response:
    return Response(
        id=None,
        model=model,
        message=Message.assistant(text or " "),
        finish_reason=finish,
        usage=Usage(input_tokens=tokens[0], output_tokens=tokens[1]),
    )


def fake_lm(answer: Answer, **settings: Any) -> dspy.LM:
    """A dspy.LM over a FakeEngine (at `.engine`), without cache and without waiting between retries."""
    settings = {"cache": False, "num_retries": 0, **settings}
    return dspy.LM("fake/model", engine=FakeEngine(answer), **settings)
