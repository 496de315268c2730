"""Worlds to compile for, by name. The engine never imports this package.

A world is told by its name, its seed (the rules, the cases and the feedback differ by it) and a few settings.
"""

from __future__ import annotations

from langmem_dspy.errors import InputError
from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.worlds import expense_office, support_desk
from langmem_dspy.simulation.worlds.cases import draw_sets
from langmem_dspy.simulation.worlds.conversations import Talks, load_talks
from langmem_dspy.simulation.worlds.judging import Judge, Voice
from langmem_dspy.simulation.worlds.world import Placement, Stage, World

_FAMILIES = {"support_desk": support_desk, "expense_office": expense_office}

__all__ = ["Judge", "Placement", "Stage", "Talks", "Voice", "World", "load", "load_talks", "names"]


def names() -> list[str]:
    """The names `load` knows."""
    return list(_FAMILIES)


def load(
    name: str,
    seed: int = 0,
    *,
    n_train: int = 40,
    n_val: int = 30,
    n_test: int = 60,
    voice: Voice | None = None,
    exact: bool = False,
) -> World:
    """The world of this name and seed. `exact`: a score of 1 only if nothing is wrong, else 0.

    Raises `InputError` for a name there is none of.
    """
    if name not in _FAMILIES:
        raise InputError(f"no world is named {name!r}; there are {', '.join(names())}")
    family = _FAMILIES[name]
    stages = family.stages(Chance(seed, name))
    train, val, test = draw_sets(name, seed, family.draw, stages, (n_train, n_val, n_test))
    judge = Judge(seed, {stage.name: stage.rules for stage in stages}, voice or Voice(), exact)
    return World(name, seed, stages, train, val, test, judge)
