"""Any conversation form becomes one form, and is rendered in one way.

Read: text; a message or a list of messages, each a dict (`role`, `content`), a `(role, content)` pair, or an object
with `role`/`type` and `content` (LangChain, OpenAI, lm15); content parts; tool calls; `dspy.History`. A form no one can
read is refused, never misread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from langmem_dspy.errors import MessagesError

T = TypeVar("T")

ROLES = {
    "user": "user", "human": "user",
    "assistant": "assistant", "ai": "assistant", "model": "assistant",
    "system": "system", "developer": "system",
    "tool": "tool", "function": "tool",
}  # fmt: skip

# Tags our renderings use. Inside anyone's text they are escaped, so that no text can end its own frame.
TAGS = (
    "trajectory", "conversation", "feedback", "message", "prompt", "memory", "memories", "core_memories", "step",
    "inputs", "outputs",
)  # fmt: skip
_TAG = re.compile(rf"<(?=/?(?:{'|'.join(TAGS)})\b)", re.IGNORECASE)
_MEDIA = re.compile(r"image|audio|video|file|document|media", re.IGNORECASE)
_FIELD_MARKER = re.compile(r"\[\[(?= ## )")  # DSPy's ChatAdapter splits replies at these


@dataclass(frozen=True)
class ToolCall:
    """A call an assistant asked for. `arguments` is JSON text."""

    name: str
    arguments: str
    id: str | None = None


@dataclass(frozen=True)
class Message:
    """One turn. `role` is "user", "assistant", "system" or "tool"; `name` is the speaker or the tool, if given."""

    role: str
    content: str
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()


def read_messages(conversation: Any) -> tuple[Message, ...]:
    """The messages of a conversation in any readable form; text alone is one user message. Raises `MessagesError`."""
    if conversation is None:
        return ()
    if isinstance(conversation, str):
        return (Message("user", conversation),) if conversation.strip() else ()
    if isinstance(conversation, Mapping) and "role" not in conversation and "type" not in conversation:
        return read_messages(_only(conversation, ("messages", "conversation", "history")))
    if hasattr(conversation, "messages") and not isinstance(conversation, Mapping | Sequence):
        return read_messages(conversation.messages)
    if is_message(conversation):
        return (_read_message(conversation, "message"),)
    if not isinstance(conversation, Iterable) or isinstance(conversation, bytes | Mapping):
        raise MessagesError(
            f"cannot read a conversation from {_shown(conversation)}; give text, or a list of messages such as "
            '{"role": "user", "content": "..."}'
        )
    return tuple(_read_message(item, f"messages[{i}]") for i, item in enumerate(conversation))


def is_message(value: Any) -> bool:
    """Whether `value` looks like one message: a role and a content, as dict, pair or object."""
    if isinstance(value, Message):
        return True
    if isinstance(value, Mapping):
        return _role_of(value) is not None and any(key in value for key in ("content", "tool_calls", "parts"))
    if isinstance(value, tuple | list):
        return len(value) == 2 and isinstance(value[0], str) and value[0].lower() in ROLES and _is_content(value[1])
    return _role_of(value) is not None and (hasattr(value, "content") or hasattr(value, "parts"))


def _is_content(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(part, Mapping) and "type" in part for part in value)
    )


def _only(mapping: Mapping[str, Any], names: Sequence[str]) -> Any:
    found = [name for name in names if name in mapping]
    if len(found) != 1:
        raise MessagesError(
            f"cannot read a conversation from a dict with the keys {sorted(map(str, mapping))}; give one of "
            f"{', '.join(names)}, or a message with role and content"
        )
    return mapping[found[0]]


def _role_of(value: Any) -> str | None:
    for key in ("role", "type"):
        role = _get(value, key)
        role = getattr(role, "value", role)
        if isinstance(role, str) and role.lower() in ROLES:
            return ROLES[role.lower()]
    return None


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)


def _read_message(value: Any, where: str) -> Message:
    if isinstance(value, Message):
        return value
    if isinstance(value, str):
        raise MessagesError(
            f"{where} is text without a role: {_shown(value)}; give the conversation as one text, or each message "
            'as {"role": ..., "content": ...}'
        )
    if isinstance(value, tuple | list) and is_message(value):
        value = {"role": value[0], "content": value[1]}
    role = _role_of(value)
    if role is None:
        raise MessagesError(
            f"{where} has no role we know: {_shown(value)}; give one of {', '.join(sorted(set(ROLES)))} as 'role'"
        )
    content = _get(value, "content")
    content = _get(value, "parts") if content is None else content
    calls = list(_read_tool_calls(_get(value, "tool_calls"), where))
    listed = {call.id for call in calls if call.id}  # LangChain names a call in the content parts once more
    calls += [call for call in _read_tool_calls(_call_parts(content), where) if call.id not in listed]
    if content is None and not calls and isinstance(value, Mapping) and not value.keys() & {"content", "parts"}:
        raise MessagesError(f"{where} has neither content nor tool_calls: {_shown(value)}; give its text as 'content'")
    name = _get(value, "name")
    return Message(role, _read_content(content, where), name if isinstance(name, str) else None, tuple(calls))


def _call_parts(content: Any) -> list[Any]:
    parts = content if isinstance(content, list | tuple) else []
    return [part for part in parts if _get(part, "type") in ("tool_use", "tool_call")]


def _read_tool_calls(calls: Any, where: str) -> Iterator[ToolCall]:
    for call in calls or ():
        function = _get(call, "function")
        source = call if function is None else function
        name = _get(source, "name")
        if not isinstance(name, str):
            raise MessagesError(f"{where} has a tool call without a name: {_shown(call)}; give 'name' and 'arguments'")
        candidates = (_get(source, key) for key in ("arguments", "args", "input"))
        arguments: Any = next((found for found in candidates if found is not None), {})
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False, default=str)
        identifier = _get(call, "id")
        yield ToolCall(name, text, identifier if isinstance(identifier, str) else None)


def _read_content(content: Any, where: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple):
        return "\n".join(text for part in content if (text := _read_part(part, where)))
    if isinstance(content, Mapping) and "type" in content:
        return _read_part(content, where)
    if isinstance(content, Mapping | int | float | bool):
        return json.dumps(content, ensure_ascii=False, default=str)
    raise MessagesError(f"{where} has a content we cannot read: {_shown(content)}; give text or content parts")


def _read_part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    kind = _get(part, "type")
    if kind in ("tool_use", "tool_call"):
        return ""  # read as a tool call
    for key in ("text", "thinking", "refusal"):
        if isinstance(text := _get(part, key), str):
            return text
    if kind == "tool_result":
        return _read_content(_get(part, "content"), where)
    if not isinstance(kind, str):
        raise MessagesError(f"{where} has a content part we cannot read: {_shown(part)}; give it a 'type' and 'text'")
    if _MEDIA.search(kind):
        return f"[{kind}]"  # named, since its bytes are no text
    return json.dumps(part, ensure_ascii=False, default=str)


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 120 else text[:117] + '...'}"


def escape(text: str) -> str:
    """`text` with our tags, DSPy's field markers and lone surrogates made harmless for a request."""
    text = _whole(text)
    return _FIELD_MARKER.sub("[ [", _TAG.sub("&lt;", text))


def storable(text: str) -> str:
    """`text` without what no store takes: lone surrogates and NUL."""
    return _whole(text).replace("\x00", " ")


def _whole(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def render(messages: Iterable[Message]) -> str:
    """The one way a conversation looks in a prompt: a `role: text` block per message."""
    return "\n".join(_render_message(message) for message in messages)


def _render_message(message: Message) -> str:
    speaker = message.role if not message.name else f"{message.role} ({escape(message.name)})"
    calls = [f"{speaker} calls {escape(call.name)}({escape(call.arguments)})" for call in message.tool_calls]
    said = [f"{speaker}: {escape(message.content)}"] if message.content or not calls else []
    return "\n".join([*said, *calls])


def estimated_tokens(text: str) -> int:
    """A rough count that needs no tokenizer: four bytes of UTF-8 a token."""
    return len(text.encode("utf-8", "replace")) // 4 + 1


def split_text(text: str, max_tokens: int) -> list[str]:
    """`text` in pieces of at most about `max_tokens`, cut after the last paragraph, else line, sentence or word."""
    size = max(4 * max_tokens, 16)
    pieces = []
    while len(text) > size or len(text.encode("utf-8", "replace")) > size:
        head = text[:size].encode("utf-8", "replace")[:size].decode("utf-8", "ignore")
        ends = (head.rfind(mark) + len(mark) for mark in ("\n\n", "\n", ". ", " ") if head.rfind(mark) > len(head) // 2)
        cut = next(ends, len(head))
        pieces.append(text[:cut])
        text = text[cut:]
    return [*pieces, text]


def packed(items: Iterable[T], size: Callable[[T], int], room: int) -> list[list[T]]:
    """`items` in order, in as few runs as hold at most `room` each; a larger item is a run of its own."""
    runs: list[list[T]] = []
    left = 0
    for item in items:
        needed = size(item)
        if needed > left or not runs:
            runs.append([])
            left = room
        runs[-1].append(item)
        left -= needed
    return runs


def chunk(messages: Sequence[Message], max_tokens: int) -> list[tuple[Message, ...]]:
    """Runs of whole messages of at most about `max_tokens` each; only a longer message is split, at its seams."""
    pieces = (piece for message in messages for piece in _pieces(message, max_tokens))
    return [tuple(run) for run in packed(pieces, _size, max_tokens)]


def _size(message: Message) -> int:
    return estimated_tokens(_render_message(message))


def _pieces(message: Message, max_tokens: int) -> Iterator[Message]:
    if _size(message) <= max_tokens:
        yield message
        return
    for text in split_text(message.content, max_tokens) if message.content else ():
        yield replace(message, content=text, tool_calls=())
    for call in message.tool_calls:
        for text in split_text(call.arguments, max_tokens):
            yield replace(message, content="", tool_calls=(replace(call, arguments=text),))
