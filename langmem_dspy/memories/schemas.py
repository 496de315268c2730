"""What a memory is: schemas, extracted memories, and the operations that change them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from langmem_dspy.errors import InputError
from langmem_dspy.memories.json_schemas import JsonSchemaModel, model_from_json_schema

Kind: TypeAlias = Literal["multi", "single"]
KINDS: tuple[Kind, ...] = ("multi", "single")


class Memory(BaseModel):
    """A fact, preference, event or note that will matter later."""

    content: str = Field(description="the memory as one self-contained text", min_length=1)


class Document(BaseModel):
    """A stored document whose schema is not known here. It is kept as it is."""

    model_config = ConfigDict(extra="allow")


class ExtractedMemory(NamedTuple):
    """A memory and the id it is kept under."""

    id: str
    content: BaseModel


@dataclass(frozen=True)
class Insert:
    """A new memory."""

    id: str
    content: BaseModel

    @property
    def schema(self) -> str:
        return type(self.content).__name__


@dataclass(frozen=True)
class Update:
    """A changed memory: `content` is the whole document after `changes` were merged into `before`.

    `cleared` names the fields that were set back to their defaults.
    """

    id: str
    content: BaseModel
    before: BaseModel
    changes: Mapping[str, Any] = field(default_factory=dict)
    cleared: tuple[str, ...] = ()

    @property
    def schema(self) -> str:
        return type(self.content).__name__


@dataclass(frozen=True)
class Delete:
    """A memory that is no longer kept. `before` is what it said."""

    id: str
    before: BaseModel


Operation: TypeAlias = Insert | Update | Delete


@dataclass(frozen=True)
class Dropped:
    """Something a model asked for that was not done, and why.

    `op` is "reply" where a whole reply could not be read, "more" where the model had more to say. `id` is the real id
    of the memory it was about, or what the model wrote in its place. `needless`: it would have changed nothing.
    """

    op: str
    reason: str
    id: str | None = None
    schema: str | None = None
    content: str = ""
    needless: bool = False


class Schemas(Mapping[str, type[BaseModel]]):
    """The schemas a memory may have, by name. Built from pydantic models, JSON schemas, `str`, or None for text."""

    def __init__(self, schemas: Any = None) -> None:
        if isinstance(schemas, Schemas):
            schemas = list(schemas.values())
        given = [schemas] if _is_one(schemas) else list(schemas or ())
        models = [_model(schema, i) for i, schema in enumerate(given)] or [Memory]
        self._models = {model.__name__: model for model in models}
        if len(self._models) < len(models):
            names = sorted(model.__name__ for model in models)
            raise InputError(f"schemas must have different names, as memories are stored under them; got {names}")

    def __getitem__(self, name: str) -> type[BaseModel]:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def find(self, name: str) -> type[BaseModel] | None:
        """The schema a model means by `name`: any case, and nothing at all where there is only one."""
        if not name.strip() and len(self) == 1:
            return next(iter(self._models.values()))
        wanted = name.strip().lower()
        return next((model for known, model in self._models.items() if known.lower() == wanted), None)


def _is_one(schemas: Any) -> bool:
    return isinstance(schemas, Mapping | type | str) or not isinstance(schemas, Sequence | None)


def _model(schema: Any, position: int) -> type[BaseModel]:
    if schema is None or schema is str:
        return Memory
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        if not schema.model_fields and schema.model_config.get("extra") != "allow":
            raise InputError(f"the schema {schema.__name__} has no fields, so there is nothing a memory could hold")
        return schema
    if isinstance(schema, Mapping):
        return model_from_json_schema(schema, "Memory" if position == 0 else f"Memory{position + 1}")
    raise InputError(
        f"a schema is a pydantic model, a JSON schema as a dict, or str; got {type(schema).__name__} {schema!r}"
    )


# --- documents ---


def document_of(content: BaseModel) -> dict[str, Any]:
    """`content` as JSON types, under the names its schema reads."""
    return content.model_dump(mode="json", by_alias=True, exclude_unset=isinstance(content, JsonSchemaModel))


def validated(model: type[BaseModel], document: Mapping[str, Any]) -> BaseModel:
    """`document` as a `model`, else `InputError` with what is wrong with each field."""
    try:
        # As JSON, since that is what it is: strict models then still read their dates and tuples.
        return model.model_validate_json(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"))
    except ValidationError as error:
        raise InputError("; ".join(_shown(fault) for fault in error.errors()[:4])) from error


def merged(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`document` with `changes` put into it. Objects are merged; what is null or not mentioned stays."""
    whole = dict(document)
    for key, value in changes.items():
        before = whole.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            whole[key] = merged(before, value)
        elif value is not None:
            whole[key] = value
    return whole


@lru_cache(maxsize=256)
def text_field(model: type[BaseModel]) -> str | None:
    """The name of the only field of a schema, where that is a text; such memories are written as bare text."""
    fields = [(info.alias or name, info.annotation) for name, info in model.model_fields.items()]
    open_ended = field_names(model) is None
    return fields[0][0] if len(fields) == 1 and fields[0][1] is str and not open_ended else None


@lru_cache(maxsize=256)
def field_names(model: type[BaseModel]) -> frozenset[str] | None:
    """The field names a document of this schema may use; None if it may use any."""
    if issubclass(model, JsonSchemaModel):
        closed = model.json_schema.get("additionalProperties") in (None, False)
        return frozenset(model.json_schema.get("properties", {})) if closed else None
    if model.model_config.get("extra") == "allow":
        return None
    aliases = {info.alias for info in model.model_fields.values() if info.alias}
    return frozenset({*model.model_fields, *aliases})


def as_text(content: BaseModel) -> str:
    """A memory as a model or a person reads it: its bare text, or its fields as compact JSON."""
    document = document_of(content)
    name = text_field(type(content))
    if name is not None and isinstance(document.get(name), str):
        return str(document[name])
    known = {key: value for key, value in document.items() if value is not None}
    return json.dumps(known, ensure_ascii=False, separators=(",", ":"))


def described(schemas: Schemas) -> str:
    """The schemas as a prompt shows them, one a line."""
    return "\n".join(_described(name, model) for name, model in schemas.items())


def _described(name: str, model: type[BaseModel]) -> str:
    own = model.__doc__ if "__doc__" in vars(model) else None
    head = f"{name}: {' '.join((own or '').split())}".rstrip()
    if only := text_field(model):
        description = next(iter(model.model_fields.values())).description
        return f"{head} Written as bare text{f': {description}' if description else ''} ({only})."
    schema = getattr(model, "json_schema", None) or model.model_json_schema(by_alias=True)
    shown = {key: value for key, value in schema.items() if key not in ("title", "description", "type")}
    return f"{head} JSON object: {json.dumps(_untitled(shown), ensure_ascii=False, separators=(',', ':'))}"


def _untitled(part: Any) -> Any:
    # pydantic gives every field a title that only repeats its name; prompts are shorter without.
    if isinstance(part, Mapping):
        drop = "title" if isinstance(part.get("title"), str) else None
        return {key: _untitled(value) for key, value in part.items() if key != drop}
    return [_untitled(value) for value in part] if isinstance(part, list) else part


def _shown(fault: Any) -> str:
    where = ".".join(map(str, fault["loc"]))
    return f"{where}: {fault['msg']}" if where else str(fault["msg"])
