"""Worlds to compile for, by name. The engine never imports this package.

A world is told by its name, its seed (the rules, the cases and the feedback differ by it) and a few settings.
"""

from __future__ import annotations

from langmem_dspy.errors import InputError
from langmem_dspy.simulation.worlds import support_desk
from langmem_dspy.simulation.worlds.judging import Judge, Voice
from langmem_dspy.simulation.worlds.world import Placement, Stage, World

_FAMILIES = {"support_desk": support_desk.load}

__all__ = ["Judge", "Placement", "Stage", "Voice", "World", "load", "names"]


def names() -> list[str]:
    """The names `load` knows."""
    return sorted(_FAMILIES)


def load(
    name: str,
    seed: int = 0,
    *,
    n_train: int = 40,
    n_val: int = 30,
    n_test: int = 60,
    voice: Voice | None = None,
) -> World:
    """The world of this name and seed. Raises `InputError` for a name there is none of."""
    if name not in _FAMILIES:
        raise InputError(f"no world is named {name!r}; there are {', '.join(names())}")
    return _FAMILIES[name](seed, n_train, n_val, n_test, voice or Voice())
