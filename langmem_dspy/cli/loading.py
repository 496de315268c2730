"""Programs, metrics and examples named on the command line."""

from __future__ import annotations

import csv
import importlib
import inspect
import io
import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dspy

from langmem_dspy.errors import InputError


def load_object(path: str) -> Any:
    """The object at `module:name`; modules in the current folder are found. Raises `InputError`."""
    module_name, colon, name = path.partition(":")
    if not colon or not module_name or not name:
        raise InputError(f"{path!r} is not of the form module:object, such as my_module:program")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and not module_name.startswith(error.name):
            raise  # the module is there; something it imports is not
        raise InputError(f"no module {module_name!r} here or on the Python path") from None
    finally:
        sys.path.pop(0)
    for part in name.split("."):
        if not hasattr(found, part):
            raise InputError(f"{module_name!r} has no {name!r}")
        found = getattr(found, part)
    return found


def load_program(path: str) -> dspy.Module:
    """The program at `module:object`: a dspy.Module, or a class or function without parameters that makes one."""
    found = load_object(path)
    if not isinstance(found, dspy.Module) and callable(found):
        found = found()
    if not isinstance(found, dspy.Module):
        raise InputError(f"{path} is a {type(found).__name__}; give a dspy.Module or what makes one")
    return found


def load_examples(path: Path, program: dspy.Module, inputs: str | None) -> list[dspy.Example]:
    """The rows of a JSONL or CSV file as examples with inputs."""
    rows = list(_read_csv(path) if path.suffix.lower() in (".csv", ".tsv") else _read_jsonl(path))
    if not rows:
        raise InputError(f"{path} holds no examples")
    named = [name.strip() for name in inputs.split(",")] if inputs else _parameters(program, rows[0])
    for number, row in enumerate(rows, 1):
        if missing := [name for name in named if name not in row]:
            raise InputError(f"{path}, example {number}, lacks the input {missing}; it has {sorted(row)}")
    return [dspy.Example(**row).with_inputs(*named) for row in rows]


def text_of(file: Path, *, newline: str | None = None) -> str:
    """What a file says; `newline` as for `open`. Raises `InputError` where it is no text in UTF-8."""
    try:
        with file.open(encoding="utf-8-sig", newline=newline) as opened:
            return opened.read()
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not text in UTF-8: {error}; convert it first") from None


def json_object(text: str, what: str) -> dict[str, Any]:
    """The object that a text is in JSON. Raises `InputError` saying what of it is none."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"{what} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f'{what} is no JSON object such as {{"name": "value"}}, but {text.strip()[:60]}')
    return found


def _read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text_of(path).split("\n"), 1):
        if line.strip():
            yield json_object(line, f"{path}, line {number},")


def _read_csv(path: Path) -> Iterator[dict[str, Any]]:
    text = io.StringIO(text_of(path, newline=""), newline="")
    yield from csv.DictReader(text, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")


def _parameters(program: dspy.Module, row: dict[str, Any]) -> list[str]:
    if isinstance(program, dspy.Predict):
        return list(program.signature.input_fields)
    parameters = inspect.signature(type(program).forward).parameters.values()
    named = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]
    if not named:
        raise InputError(f"forward() names no parameters; say which of {sorted(row)} are --inputs")
    return [p for p in named if p in row] or named


def split(examples: Sequence[dspy.Example], share: float, seed: int) -> tuple[list[dspy.Example], list[dspy.Example]]:
    """A trainset and a valset, shuffled by the seed; `share` of the examples, at least one, is for the valset."""
    if len(examples) < 2:
        raise InputError("one example cannot be both learned from and judged on; give more, or --valset")
    shuffled = random.Random(seed).sample(list(examples), len(examples))
    size = min(max(1, round(share * len(shuffled))), len(shuffled) - 1)
    return shuffled[size:], shuffled[:size]
