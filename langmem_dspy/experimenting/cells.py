"""One cell of an experiment: a variant with a seed under a config, and what was found there."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from langmem_dspy.errors import InputError

C = TypeVar("C")
Value = float | int | str | bool | None
Row = Mapping[str, Value]


@dataclass(frozen=True)
class Cell(Generic[C]):
    """What an experiment's function is given. Files left in `folder` are kept with the cell, in MLflow too."""

    config: C
    variant: str
    seed: int
    folder: Path
    points: list[dict[str, float]] = field(default_factory=list)

    def point(self, **values: float) -> None:
        """One point of a curve, such as `point(lm_calls=120, held_out=0.61)`; the first name is the x axis."""
        self.points.append({name: float(_number(name, value)) for name, value in values.items()})


@dataclass(frozen=True)
class Found:
    """A finished cell, as it is kept. `files`: name -> SHA-256 of what the cell left in its folder.

    `varied`: the fields of the config that this sweep varies, as they were given. `compiles`: ids of the optimizer
    runs made meanwhile. `seconds`: wall time of the cell. `at`: Unix time of its end.
    """

    key: str
    experiment: str
    variant: str
    seed: int
    config: Mapping[str, Any]
    varied: Mapping[str, str]
    row: Row
    points: tuple[Mapping[str, float], ...]
    files: Mapping[str, str]
    compiles: tuple[str, ...]
    simulated: bool
    versions: Mapping[str, str]
    source: str
    seconds: float
    at: float

    @property
    def said(self) -> str:
        """How a person tells it from the others."""
        return f"{called(self.variant, self.varied)} seed {self.seed}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Found:
        """What `to_dict` wrote, through JSON or not."""
        lists = {name: tuple(data[name]) for name in ("points", "compiles")}
        return cls(**{**data, **lists})


def checked(row: Any, where: str) -> dict[str, Value]:
    """A cell's result as plain values. Raises `InputError` naming what is neither a number, text, bool nor None."""
    if not isinstance(row, Mapping) or not row:
        raise InputError(f"{where} gave {row!r}; a cell gives one flat row, such as {{'score': 0.74, 'calls': 400}}")
    return {str(name): _value(str(name), value) for name, value in row.items()}


def called(variant: str, varied: Mapping[str, str]) -> str:
    """What a variant under one config is called, such as "gradient lm_calls=100"."""
    return " ".join([variant, *(f"{name}={value}" for name, value in varied.items())])


def cell_key(**facts: Any) -> str:
    """Sixteen hexadecimal digits that differ where anything that decides a cell's figures does."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _value(name: str, value: Any) -> Value:
    import numpy as np

    value = value.item() if isinstance(value, np.generic) else value
    return value if value is None or isinstance(value, str | bool) else _number(name, value)


def _number(name: str, value: Any) -> float | int:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{name} is {value!r}; a row holds finite numbers, text, bools and None for what is unknown")
    return value
