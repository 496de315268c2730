"""Arguments of a tool as models write them, held against its JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def without_nulls(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments without nulls, which models write for what they leave out."""
    return {name: value for name, value in arguments.items() if value is not None}


def problems(arguments: Mapping[str, Any], schema: Mapping[str, Any], *, width: int | None = None) -> list[str]:
    """What is wrong with the arguments, for the model to mend; `width` bounds each message, which may quote them."""
    from jsonschema import Draft202012Validator

    errors = Draft202012Validator(dict(schema)).iter_errors(arguments)
    return sorted(": ".join([*map(str, error.absolute_path), error.message[:width]]) for error in errors)
