"""A model for memory tests: it answers each request with the operations it is told to."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import dspy
from fakes import chat, fake_lm, input_field

Operations = list[dict[str, Any]]


def operations_reply(operations: Operations, *, finished: bool = True) -> str:
    return chat(operations=json.dumps(operations), finished=finished)


def memory_lm(*replies: Operations | str | Exception | Callable[[str], Any], **settings: Any) -> dspy.LM:
    """Answers request by request with `replies`; the last one again and again."""
    queue = list(replies)

    def answer(text: str) -> Any:
        reply = queue.pop(0) if len(queue) > 1 else queue[0]
        if callable(reply) and not isinstance(reply, Exception):
            reply = reply(text)
        return operations_reply(reply) if isinstance(reply, list) else reply

    return fake_lm(answer, **settings)


def insert(content: Any, schema_name: str = "") -> dict[str, Any]:
    text = content if isinstance(content, str) else json.dumps(content)
    return {"op": "insert", "schema_name": schema_name, "content": text}


def update(handle: str, content: Any, **more: Any) -> dict[str, Any]:
    text = content if isinstance(content, str) else json.dumps(content)
    return {"op": "update", "id": handle, "content": text, **more}


def delete(handle: str) -> dict[str, Any]:
    return {"op": "delete", "id": handle}


def asked(lm: dspy.LM, field: str, at: int = -1) -> str:
    """What an input field of the request at position `at` held."""
    return input_field(lm.engine.requests[at], field)
