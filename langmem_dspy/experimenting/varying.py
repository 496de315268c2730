"""What a sweep varies: `--vary seed=0..4 --vary lm_calls=100,400` as configs, variants and seeds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Generic, TypeVar

from langmem_dspy.errors import InputError
from langmem_dspy.experimenting.configs import replaced

C = TypeVar("C")
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")


@dataclass(frozen=True)
class Plan(Generic[C]):
    """What is to be measured: each of `configs` (with what varies in it) with each variant and each seed."""

    configs: tuple[tuple[Mapping[str, str], C], ...]
    variants: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.configs) * len(self.variants) * len(self.seeds)


def plan(
    config: C, all_variants: Sequence[str], baseline: str, chosen: Sequence[str], seeds: int, vary: Sequence[str]
) -> Plan[C]:
    """The plan for `config`. `vary`: "name=1,2,3" or "name=0..4"; "seed" and "variant" stand for themselves.

    The baseline is always measured. Raises `InputError` naming what cannot be varied so.
    """
    axes = _axes(vary)
    seed_texts = axes.pop("seed", None) or [str(i) for i in range(seeds)]
    if not seed_texts:
        raise InputError(f"at least one seed is measured, not {seeds}")
    named = axes.pop("variant", None) or list(chosen) or list(all_variants)
    if unknown := [name for name in named if name not in all_variants]:
        raise InputError(f"no variants {unknown}; there are {', '.join(all_variants)}")
    variants = tuple(name for name in all_variants if name in named or name == baseline)
    configs = []
    for values in product(*axes.values()):
        varied = dict(zip(axes, values, strict=True))
        made = config
        for name, text in varied.items():
            made = replaced(made, name, text)
        configs.append((varied, made))
    return Plan(tuple(configs), variants, tuple(_seed(text) for text in seed_texts))


def _axes(vary: Sequence[str]) -> dict[str, list[str]]:
    axes: dict[str, list[str]] = {}
    for one in vary:
        name, given, spec = one.partition("=")
        name = name.strip().replace("-", "_")
        values = [value for part in spec.split(",") if part.strip() for value in _values(part.strip())]
        if not given or not name or not values:
            raise InputError(f"--vary takes name=1,2,3 or name=0..4, not {one!r}")
        if name in axes:
            raise InputError(f"{name!r} is varied twice; give all its values at once: {name}=a,b,c")
        axes[name] = list(dict.fromkeys(values))
    return axes


def _values(part: str) -> list[str]:
    if not (span := _RANGE.fullmatch(part)):
        return [part]
    first, last = int(span[1]), int(span[2])
    if last < first:
        raise InputError(f"{part} counts down; write {last}..{first}")
    return [str(number) for number in range(first, last + 1)]


def _seed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"a seed is a whole number, not {text!r}") from None
