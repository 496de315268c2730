"""What a caller sets for one run of a graph: LangGraph's `config["configurable"]`, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langmem_dspy.errors import InputError

Input = Mapping[str, Any]
Config = Mapping[str, Any] | None


@dataclass(frozen=True)
class Settings:
    """`model` as the factories take it, `kind` None for the graph's own, `options` of the graph, and all the rest."""

    model: Any = None
    kind: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)


def read_settings(config: Config) -> Settings:
    """The settings in a LangGraph config; other keys than ours may be namespace variables. Raises `InputError`."""
    configurable = _mapping(_mapping(config, "config").get("configurable"), "config['configurable']")
    rest = {name: value for name, value in configurable.items() if name not in ("model", "kind", "options")}
    kind = configurable.get("kind")
    if kind is not None and not isinstance(kind, str):
        raise InputError(f"config['configurable']['kind'] is text, got {kind!r}")
    options = _mapping(configurable.get("options"), "config['configurable']['options']")
    return Settings(configurable.get("model"), kind, options, rest)


def read_input(value: Any, required: str, optional: tuple[str, ...]) -> Input:
    """`value` as the input of a graph. Raises `InputError` for one without `required` or with keys not known."""
    if not isinstance(value, Mapping) or required not in value:
        given = sorted(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
        raise InputError(f"the input is a dict with {required!r} in it, got {given}")
    if unknown := sorted(map(str, set(value) - {required, *optional})):
        raise InputError(f"the input has the keys {', '.join((required, *optional))}; got also {', '.join(unknown)}")
    return value


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InputError(f"{name} is a dict, got {type(value).__name__}")
    return value
