"""Typed configs: as JSON and back, with one field replaced, and told apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from langmem_dspy.errors import InputError
from langmem_dspy.experimenting.models import ModelOptions, OneModelOptions
from langmem_dspy.optimizers.run import are_simulated

C = TypeVar("C")


def check_type(kind: type) -> None:
    """Raise `InputError` unless `kind` is a frozen dataclass, whose values are safe to share and to name a cell by."""
    if not (is_dataclass(kind) and getattr(kind, "__dataclass_params__").frozen):  # noqa: B009 - not in typeshed
        raise InputError(f"a config is a frozen dataclass, @dataclass(frozen=True); {kind!r} is not")


def to_json(config: Any) -> dict[str, Any]:
    """The config in plain JSON values."""
    plain: dict[str, Any] = TypeAdapter(type(config)).dump_python(config, mode="json")
    return plain


def from_json(kind: type[C], data: Mapping[str, Any]) -> C:
    """The config that `to_json` wrote. Raises `InputError` naming the fields that do not fit."""
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(data) - known):
        raise InputError(f"{kind.__name__} has no fields {unknown}; it has {sorted(known)}")
    try:
        return TypeAdapter(kind).validate_python(dict(data))
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InputError(f"{kind.__name__} cannot be made of {json.dumps(data)}: {said}") from None


def flat(plain: Mapping[str, Any]) -> dict[str, Any]:
    """One level of names; those of nested groups stand without the group's, as on the command line."""
    found: dict[str, Any] = {}
    for key, value in plain.items():
        found.update(flat(value) if isinstance(value, Mapping) else {key: value})
    return found


def replaced(config: C, name: str, text: str) -> C:
    """The config with the field `name`, its own or that of a group in it, read from `text`."""
    for owner, path in _owners(config):
        found = {f.name: f for f in fields(owner)}
        if name in found:
            data = to_json(config)
            inside = data
            for step in path:
                inside = inside[step]
            inside[name] = _listed(text) if isinstance(inside[name], list) else text
            return from_json(type(config), data)
    raise InputError(f"{type(config).__name__} has no field {name!r} to vary; it has {sorted(flat(to_json(config)))}")


def files_digest(config: Any) -> str:
    """A digest of the content of every file that the config names: other data, other figures."""
    digest = hashlib.sha256()
    for owner, _ in _owners(config):
        for f in fields(owner):
            value = getattr(owner, f.name)
            if isinstance(value, Path) and value.is_file():
                digest.update(f.name.encode() + value.read_bytes())
    return digest.hexdigest()


def models_of(config: Any) -> ModelOptions | OneModelOptions | None:
    """The config's choice of models, if it has one."""
    for owner, _ in _owners(config):
        if isinstance(owner, ModelOptions | OneModelOptions):
            return owner
    return None


def is_simulated(config: Any) -> bool:
    """Whether the offline model takes part: by choice, or under its name at some address."""
    models = models_of(config)
    named = {
        f.name: v for owner, _ in _owners(config) for f in fields(owner) if isinstance(v := getattr(owner, f.name), str)
    }
    by_name = are_simulated({name: value for name, value in named.items() if "model" in name})
    return by_name or (models is not None and models.simulated)


def _owners(config: Any) -> Iterator[tuple[Any, tuple[str, ...]]]:
    yield config, ()
    for f in fields(config):
        value = getattr(config, f.name)
        if is_dataclass(value):
            for owner, path in _owners(value):
                yield owner, (f.name, *path)


def _listed(text: str) -> list[str]:
    return [part for part in text.split("+") if part]
