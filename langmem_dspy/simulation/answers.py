"""Answers in the form a question wants them: chat fields, JSON, XML, a tool call, or plain text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from dspy.lm15 import TextPart, ToolCallPart

from langmem_dspy.simulation.questions import Question


def render(question: Question, values: Mapping[str, Any]) -> str:
    """The whole reply as text; for a tool call, its arguments as JSON."""
    if question.form == "chat":
        fields = "\n\n".join(f"[[ ## {name} ## ]]\n{_in_chat(value)}" for name, value in values.items())
        return f"{fields}\n\n[[ ## completed ## ]]"
    if question.form in ("json", "schema", "tool") or "tool" in values:
        return json.dumps(values, ensure_ascii=False)
    if question.form == "xml":
        return "\n\n".join(_in_xml(name, value) for name, value in values.items())
    return "\n\n".join(str(value) for value in values.values())


def parts(question: Question | None, text: str, call_id: str) -> tuple[TextPart | ToolCallPart, ...]:
    """`text` as the parts of a message: a tool call if that is what it is. None: plain text, whatever it was."""
    if question is not None and question.form == "agent" and text.startswith('{"tool": '):
        call = json.loads(text)
        return (ToolCallPart(id=call_id, name=call["tool"], input=call["arguments"]),)
    if question is None or question.tool is None:
        return (TextPart(text),)
    return (ToolCallPart(id=call_id, name=question.tool, input=json.loads(text)),)


def _in_chat(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _in_xml(name: str, value: Any) -> str:
    if isinstance(value, list):
        return f"<{name}>{''.join(_in_xml('item', item) for item in value)}</{name}>"
    if isinstance(value, Mapping):
        return f"<{name}>{''.join(_in_xml(key, item) for key, item in value.items())}</{name}>"
    return f"<{name}>{escape(str(value))}</{name}>"
