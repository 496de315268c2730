"""Files of conversations, in the forms that chat tools write: each becomes a name, messages and variables.

A JSONL file holds a conversation a line, or one conversation of a message a line; a JSON file one conversation or a
list of them; any other file is one conversation as text, its turns marked by "user:" and the like or not at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langmem_dspy.cli.loading import text_of
from langmem_dspy.errors import InputError, MessagesError
from langmem_dspy.memories.bulk_extraction import Conversation
from langmem_dspy.messages import ROLES, Message, is_message, read_messages

_KEYS = ("messages", "conversation", "conversations", "dialogue", "dialog", "turns", "history")
_THREAD_KEYS = ("thread_id", "conversation_id", "session_id", "id")
_SHARED_ROLES = {  # what ShareGPT and its kin call the roles
    "gpt": "assistant", "chatgpt": "assistant", "bard": "assistant", "bing": "assistant", "function_call": "assistant",
    "observation": "tool", "function_response": "tool", "tool_response": "tool",
}  # fmt: skip
_SPEAKER = re.compile(rf"^({'|'.join(ROLES)}):", re.IGNORECASE | re.MULTILINE)


@dataclass
class Read:
    """What a file holds: conversations, and by name why a part of it could not be read."""

    conversations: list[Conversation] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.conversations) + len(self.unreadable)


def read_conversations(files: Iterable[Path], variables: Iterable[str] = ()) -> Read:
    """All conversations of `files`. `variables` are the names to be filled from beside each conversation."""
    read, names = Read(), tuple(variables)
    for file in files:
        before = len(read)
        for name, load in _rows(file):
            try:
                conversation = _conversation(name, load(), names)
            except InputError as error:
                read.unreadable[name] = str(error)
            else:
                read.conversations.append(conversation)
        if len(read) == before:
            raise InputError(f"{file} holds no conversation")
    if not read.conversations:
        reason = next(iter(read.unreadable.values()))
        raise InputError(f"no conversation could be read; the first could not because {reason}")
    return read


# --- rows ---


def _rows(file: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The name of each row, and what reads it."""
    text = text_of(file)
    kind = file.suffix.lower()
    if kind in (".jsonl", ".ndjson"):
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        if (messages := _one_message_a_line(line for _, line in lines)) is not None:
            yield file.name, lambda: messages
            return
        for number, line in lines:
            yield f"{file.name}:{number}", lambda line=line: _parse(line)  # type: ignore[misc]
    elif kind == ".json":
        yield from _elements(file, _parse(text, file))
    elif text.strip():
        yield file.name, lambda: _transcript(text)


def _elements(file: Path, whole: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    if not isinstance(whole, list) or (whole and all(_is_turn(one) for one in whole)):
        yield file.name, lambda: whole
        return
    for number, row in enumerate(whole, 1):
        yield f"{file.name}#{number}", lambda row=row: row  # type: ignore[misc]


def _one_message_a_line(lines: Iterable[str]) -> list[Any] | None:
    messages = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            return None
        if not _is_turn(row):
            return None
        messages.append(row)
    return messages or None


def _transcript(text: str) -> Any:
    """The turns of a text whose lines say who speaks, such as "user: Hello"; else the text as it is."""
    before, *turns = _SPEAKER.split(text)
    if before.strip() or not turns:
        return text
    return [{"role": role, "content": said.strip()} for role, said in zip(turns[::2], turns[1::2], strict=True)]


def _parse(text: str, file: Path | None = None) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file or 'it'} is not JSON: {error}") from None


# --- one row ---


def _conversation(label: str, row: Any, variables: Iterable[str]) -> Conversation:
    known: dict[str, Any] = {}
    needed = set(variables)
    if isinstance(row, Mapping) and not _is_turn(row):
        beside = {**_mapping(row.get("metadata")), **row}
        known = {key: beside[key] for key in needed if beside.get(key) is not None}
        thread = next((beside[key] for key in _THREAD_KEYS if isinstance(beside.get(key), str | int)), None)
        if thread is not None:
            known.setdefault("thread_id", str(thread))
        row = _turns_of(row)
    if missing := sorted(needed - {*known, "thread_id"}):
        name = missing[0]
        raise InputError(f"nothing fills {{{name}}}: give --var {name}=..., or {name!r} beside its messages")
    messages = read_messages([_turn(one) for one in row] if isinstance(row, list) else row)
    if not messages:
        raise MessagesError("it holds no messages")
    return Conversation(label, messages, known)


def _turns_of(row: Mapping[str, Any]) -> Any:
    found = [key for key in _KEYS if isinstance(row.get(key), list | str)]
    if len(found) != 1:
        what = f"several conversations, under {found}" if found else f"no conversation, only {sorted(map(str, row))}"
        raise MessagesError(f"it holds {what}; give its messages under one of: {', '.join(_KEYS)}")
    return row[found[0]]


def _turn(value: Any) -> Any:
    """A message as `read_messages` takes it, from ShareGPT's form (from, value) and LangChain's two dumps."""
    if not isinstance(value, Mapping):
        return value
    if isinstance(value.get("from"), str) and "value" in value:
        role = value["from"].lower()
        return {"role": _SHARED_ROLES.get(role, role), "content": value["value"]}
    if isinstance(value.get("data"), Mapping) and isinstance(value.get("type"), str):
        return {**value["data"], "type": value["type"]}
    if value.get("lc") and isinstance(value.get("kwargs"), Mapping):
        return {"type": _constructed(value.get("id")), **value["kwargs"]}
    return value


def _constructed(path: Any) -> str:
    """The role of a LangChain class such as [..., "HumanMessage"]."""
    name = str(path[-1]) if isinstance(path, list) and path else ""
    return name.removesuffix("Chunk").removesuffix("Message").lower()


def _is_turn(value: Any) -> bool:
    turned = _turn(value)
    if turned is not value:
        return True
    return not isinstance(value, str | Message) and is_message(value) and _has_role(value)


def _has_role(value: Any) -> bool:
    role = value.get("role", value.get("type")) if isinstance(value, Mapping) else value[0]
    return isinstance(role, str) and role.lower() in ROLES


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
