"""Known memories: read from every form they are given in, and shown to a model under short handles."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from langmem_dspy.errors import InputError
from langmem_dspy.memories.likeness import fingerprint, shared_words, words
from langmem_dspy.memories.schemas import (
    Document,
    ExtractedMemory,
    Memory,
    Schemas,
    as_text,
    document_of,
    field_names,
    text_field,
    validated,
)
from langmem_dspy.messages import escape, estimated_tokens
from langmem_dspy.records import Item

_FORMS = (
    "text, a pydantic object, (id, content), (id, schema name, content), an ExtractedMemory, a store item, or a dict "
    'such as {"id": ..., "content": ...}'
)
_KIND_KEYS = ("kind", "schema", "schema_name")


@dataclass(eq=False)
class Known:
    """A memory while it is worked on. `model` is the schema that changes must fit; `source` is its store item, if any.

    `original` is what it said at first, None for a new one. Two of them are equal only if they are one object.
    """

    id: str
    schema: str
    model: type[BaseModel]
    content: BaseModel
    original: BaseModel | None = None
    source: Item | None = None
    deleted: bool = False
    changes: dict[str, Any] = field(default_factory=dict)
    cleared: tuple[str, ...] = ()
    _said: tuple[BaseModel, Any] | None = None

    @property
    def document(self) -> dict[str, Any]:
        return document_of(self.content)

    @property
    def changed(self) -> bool:
        """Whether it is not as it was at first; a new one is not."""
        if self.original is None or self.deleted:
            return True
        return self.content is not self.original and document_of(self.original) != self.document

    def says(self) -> tuple[str, Any]:
        """Equal for memories that say the same."""
        if self._said is None or self._said[0] is not self.content:
            self._said = self.content, fingerprint(self.document)
        return self.schema, self._said[1]


def read_existing(existing: Any, schemas: Schemas, name: str = "existing") -> list[Known]:
    """Known memories in their order. Raises `InputError`, by the `name` of the argument, for what cannot be read."""
    if existing is None:
        return []
    if _is_alone(existing, schemas):
        existing = [existing]
    elif isinstance(existing, Mapping):
        existing = list(existing.items())
    if isinstance(existing, str | bytes) or not isinstance(existing, Iterable):
        raise InputError(f"{name} is a list of memories, got {_shown(existing)}; give a list of {_FORMS}")
    known = [_read(entry, schemas, f"{name}[{i}]") for i, entry in enumerate(existing)]
    seen: dict[str, int] = {}
    for i, one in enumerate(known):
        # Items of a store may share their keys over namespaces, and are told apart by those.
        if one.source is None and seen.setdefault(one.id, i) != i:
            raise InputError(f"{name}[{i}] has the id of {name}[{seen[one.id]}], {one.id!r}; give each its own")
    return known


def _is_alone(existing: Any, schemas: Schemas) -> bool:
    """Whether it is one memory rather than several: an object, an ExtractedMemory, an item, or a document."""
    if isinstance(existing, BaseModel | ExtractedMemory | Item):
        return True
    if not isinstance(existing, Mapping):
        return False
    return _is_entry(existing) or any(_is_document(existing, model) for model in schemas.values())


def _is_document(value: Mapping[Any, Any], model: type[BaseModel]) -> bool:
    names = field_names(model)
    return bool(value) and names is not None and set(value) <= names


def _is_entry(value: Mapping[Any, Any]) -> bool:
    return {"id", "content"} <= set(value) or {"key", "value"} <= set(value)


def _read(entry: Any, schemas: Schemas, where: str) -> Known:
    if isinstance(entry, str | BaseModel):
        return _known(str(uuid.uuid4()), None, entry, schemas, where)
    if hasattr(entry, "key") and isinstance(getattr(entry, "value", None), Mapping):
        kind, content = read_value(entry.value)
        known = _known(entry.key, kind, content, schemas, where)
        known.source = entry
        return known
    if isinstance(entry, Mapping):
        return _read_dict(entry, schemas, where)
    if isinstance(entry, Sequence) and len(entry) in (2, 3):
        kind = entry[1] if len(entry) == 3 else None
        return _known(entry[0], kind, entry[-1], schemas, where)
    raise InputError(f"{where} cannot be read as a memory: {_shown(entry)}; give {_FORMS}")


def _read_dict(entry: Mapping[str, Any], schemas: Schemas, where: str) -> Known:
    if {"key", "value"} <= set(entry) and isinstance(entry["value"], Mapping):
        kind, content = read_value(entry["value"])
        return _known(entry["key"], kind, content, schemas, where)
    if {"id", "content"} <= set(entry):
        kind = next((entry[key] for key in _KIND_KEYS if entry.get(key)), None)
        return _known(entry["id"], kind, entry["content"], schemas, where)
    kind, content = read_value(entry)
    return _known(str(uuid.uuid4()), kind, content, schemas, where)


def _known(identifier: Any, kind: Any, content: Any, schemas: Schemas, where: str) -> Known:
    if isinstance(identifier, uuid.UUID | int) and not isinstance(identifier, bool):
        identifier = str(identifier)
    if not isinstance(identifier, str) or not identifier:
        raise InputError(f"{where} needs a non-empty text as its id, got {_shown(identifier)}; give {_FORMS}")
    if kind is not None and not isinstance(kind, str):
        raise InputError(f"{where} names its schema by {_shown(kind)}; give the schema's name as text")
    model, known = _typed(kind, content, schemas, where)
    name = kind or (type(content).__name__ if isinstance(content, BaseModel) else model.__name__)
    return Known(identifier, name, model, known, original=known)


def _typed(kind: str | None, content: Any, schemas: Schemas, where: str) -> tuple[type[BaseModel], BaseModel]:
    """The schema later changes must fit, and the content as an object; of no known schema where it fits none."""
    if isinstance(content, BaseModel):
        return schemas.get(kind or type(content).__name__, type(content)), content
    named = schemas.get(kind) if kind else None
    if isinstance(content, str):
        candidates = [named] if named else [m for m in schemas.values() if text_field(m)] or [Memory]
        for model in candidates:
            if (name := text_field(model)) and content:
                return model, validated(model, {name: content})
        return (named or Document), Document.model_validate({"content": content})
    if not isinstance(content, Mapping):
        raise InputError(f"{where} has a content we cannot read: {_shown(content)}; give text, a dict or an object")
    models: list[type[BaseModel]] = [*schemas.values(), Memory]
    for model in [named] if named else [m for m in models if _covers(m, content)]:
        try:
            return model, validated(model, content)
        except InputError:
            continue  # a document of an older schema: shown and kept as it is until a change makes it whole
    return (named or Document), Document.model_validate(dict(content))


def _covers(model: type[BaseModel], content: Mapping[str, Any]) -> bool:
    names = field_names(model)
    return names is None or set(content) <= names


# --- records: what a store holds ---


def to_value(known: Known) -> dict[str, Any]:
    """The record of a memory: {"kind": schema name, "content": text, or the document}."""
    bare = known.model is Memory
    return {"kind": known.schema, "content": as_text(known.content) if bare else known.document}


def read_value(value: Mapping[str, Any]) -> tuple[str | None, Any]:
    """Schema name and content of a record, ours or LangMem's; any other document is content of no named schema."""
    if "content" in value and set(value) <= {"content", *_KIND_KEYS}:
        kind = next((value[key] for key in _KIND_KEYS if isinstance(value.get(key), str)), None)
        return kind, value["content"]
    return None, value


# --- in a prompt ---


@dataclass(frozen=True)
class Shown:
    """Known memories as one request shows them: `text`, and which memory each handle stands for."""

    text: str
    handles: Mapping[str, Known]

    def handle(self, known: Known) -> str:
        return next((handle for handle, one in self.handles.items() if one is known), known.id)


def show(known: Sequence[Known], conversation: str, max_tokens: int, *, name_schemas: bool) -> Shown:
    """Memories under the handles m1, m2, ...; where not all fit, those that share most words with the conversation."""
    lines = [_line(one, name_schemas) for one in known]
    costs = [estimated_tokens(line) + 3 for line in lines]
    chosen = range(len(known))
    if sum(costs) > max_tokens:
        chosen = _most_related(lines, costs, conversation, max_tokens)  # type: ignore[assignment]
    handles = {f"m{i + 1}": known[at] for i, at in enumerate(chosen)}
    text = "\n".join(f"m{i + 1}{lines[at]}" for i, at in enumerate(chosen))
    return Shown(text or "none", handles)


def _line(known: Known, name_schemas: bool) -> str:
    # Continuation lines are indented, so that no memory can pretend to be another one.
    text = escape(as_text(known.content)).replace("\n", "\n    ")
    return f" {known.schema}: {text}" if name_schemas else f": {text}"


def _most_related(lines: list[str], costs: list[int], conversation: str, max_tokens: int) -> list[int]:
    said = frozenset(words(conversation))
    ranked = sorted(range(len(lines)), key=lambda at: (-shared_words(lines[at], said), at))
    chosen = []
    for at in ranked:
        max_tokens -= costs[at]
        if max_tokens < 0:
            break
        chosen.append(at)
    return sorted(chosen)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=repr, ensure_ascii=False)
    return f"{type(value).__name__} {text if len(text) <= 100 else text[:97] + '...'}"
