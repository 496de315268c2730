"""A JSON schema as a pydantic model, with nothing of its meaning lost.

The fields are typed as far as pydantic can say it, so that values are coerced and attributes work; the schema itself
is then checked on the whole document by `jsonschema`, so that nested rules, bounds and patterns bind too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import jsonschema
from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from langmem_dspy.errors import InputError

_SCALARS: dict[str, Any] = {
    "string": str, "integer": int, "number": float, "boolean": bool, "array": list, "object": dict, "null": None,
}  # fmt: skip


class JsonSchemaModel(BaseModel):
    """Base of the models made here. `json_schema` is what they were made of."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())
    json_schema: ClassVar[Mapping[str, Any]] = {}
    _validator: ClassVar[Any] = None

    @model_validator(mode="after")
    def _follows_schema(self) -> JsonSchemaModel:
        document = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        errors = sorted(self._validator.iter_errors(document), key=lambda error: list(map(str, error.absolute_path)))
        if errors:
            raise ValueError("; ".join(_shown(error) for error in errors[:3]))
        return self


def model_from_json_schema(schema: Mapping[str, Any], fallback_name: str = "Memory") -> type[BaseModel]:
    """A pydantic model for `schema`, an object schema; its "title" is the model's name.

    The form of function tools, {"name", "description", "parameters"}, is read too. Raises `InputError` for what is no
    valid schema of an object, and for references that lead out of the schema.
    """
    schema = _of_function(schema)
    name = re.sub(r"\W+", "_", str(schema.get("title") or fallback_name)).strip("_") or fallback_name
    _check(schema, name)
    required = set(schema.get("required", ()))
    fields: dict[str, Any] = {}
    for i, (key, part) in enumerate(schema.get("properties", {}).items()):
        # Keys that are no attribute names, or that pydantic keeps for itself, are reached by their alias.
        plain = key.isidentifier() and not key.startswith("_") and not hasattr(BaseModel, key)
        fields[key if plain else f"field_{i}"] = _field(schema, part, key in required, None if plain else key)
    model = create_model(
        name,
        __base__=JsonSchemaModel,
        __doc__=str(schema.get("description") or "") or None,
        **fields,
    )
    model.json_schema = schema
    model._validator = jsonschema.Draft202012Validator(schema)
    return model


def _field(root: Mapping[str, Any], part: Any, required: bool, alias: str | None) -> tuple[Any, Any]:
    part = part if isinstance(part, Mapping) else {}
    annotation = _annotation(root, part)
    description = part.get("description")
    if "default" in part:
        return annotation, Field(default=part["default"], alias=alias, description=description)
    if required:
        return annotation, Field(alias=alias, description=description)
    return (annotation | None) if annotation is not Any else Any, Field(None, alias=alias, description=description)


def _annotation(root: Mapping[str, Any], part: Mapping[str, Any], depth: int = 0) -> Any:
    if "$ref" in part and depth < 8:
        return _annotation(root, _target(root, part["$ref"]), depth + 1)
    if values := part.get("enum"):
        plain = all(isinstance(value, str | int | bool) or value is None for value in values)
        return Literal[tuple(values)] if plain else Any
    kind: Any = part.get("type")
    if isinstance(kind, list):
        kinds = [_SCALARS.get(one, Any) for one in kind]
        union: Any = kinds[0]
        for one in kinds[1:]:
            union = union | one if union is not Any and one is not Any else Any
        return union if union is not None else type(None)
    if kind == "array" and isinstance(part.get("items"), Mapping) and depth < 8:
        return list[_annotation(root, part["items"], depth + 1)]  # type: ignore[misc]
    return _SCALARS.get(kind, Any) if kind != "null" else type(None)


def _target(root: Mapping[str, Any], reference: str) -> Mapping[str, Any]:
    found: Any = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}


def _of_function(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    function = schema.get("function", schema)
    if isinstance(function, Mapping) and isinstance(parameters := function.get("parameters"), Mapping):
        described = {"title": function.get("name"), "description": function.get("description", "")}
        return {**parameters, **{key: value for key, value in described.items() if value}}
    return schema


def _check(schema: Mapping[str, Any], name: str) -> None:
    try:
        jsonschema.Draft202012Validator.check_schema(dict(schema))
    except jsonschema.SchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "its top"
        raise InputError(f"{name} is no valid JSON schema: {error.message} (at {where})") from error
    if schema.get("type", "object") != "object" or not isinstance(schema.get("properties", {}), Mapping):
        raise InputError(
            f"{name} must be the schema of an object, with 'properties'; got type {schema.get('type')!r}. "
            'Wrap it: {"title": ..., "type": "object", "properties": {"content": ...}}'
        )
    if not schema.get("properties") and schema.get("additionalProperties") in (None, False):
        raise InputError(f"the schema {name} has no 'properties', so there is nothing a memory could hold")
    # Remote schemas would be fetched over the network by whoever validates.
    if outside := sorted({reference for reference in _references(schema) if not reference.startswith("#")}):
        raise InputError(f"the schema {name} refers to {outside[0]!r}; put such parts under its own '$defs'")


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


def _shown(error: jsonschema.ValidationError) -> str:
    where = ".".join(map(str, error.absolute_path))
    return f"{where}: {error.message}" if where else error.message
