"""Worlds to compile for, by name. The engine never imports this package.

A world is told by its name, its seed (the rules, the cases and the feedback differ by it) and a few settings:

    support_desk, museum_desk   rules spread over three of four prompts
    expense_office              two of three prompts are right already
    guilty_prompt               one of k prompts broken on purpose: a chain, a loop, branches, shared signatures
    newsroom                    a long program with a branch, a loop and a shared signature
    two_minds                   the museum desk, with feedback that is often wrong and contradicts itself
    exact_match                 the museum desk, with a score of 1 only if nothing is wrong
    noisy_metric                the museum desk, with noise on the score

Tune on the first row's support_desk and on expense_office; report on the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from langmem_dspy.errors import InputError
from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.worlds import expense_office, guilty_prompt, museum_desk, newsroom, support_desk
from langmem_dspy.simulation.worlds.cases import Draw, draw_sets
from langmem_dspy.simulation.worlds.conversations import Talks, load_talks
from langmem_dspy.simulation.worlds.guilty_prompt import Shape
from langmem_dspy.simulation.worlds.judging import Judge, Voice
from langmem_dspy.simulation.worlds.world import Placement, Stage, World

__all__ = ["Judge", "Placement", "Shape", "Stage", "Talks", "Voice", "World", "load", "load_talks", "names"]

Stages = Callable[[Chance], tuple[Stage, ...]]


@dataclass(frozen=True)
class _Family:
    """What all worlds of a name have in common."""

    stages: Stages
    draw: Draw
    rounds: int = 1
    voice: Voice = field(default_factory=Voice)
    exact: bool = False


_MUSEUM = (museum_desk.stages, museum_desk.draw)
_FAMILIES = {
    "support_desk": _Family(support_desk.stages, support_desk.draw),
    "expense_office": _Family(expense_office.stages, expense_office.draw),
    "museum_desk": _Family(*_MUSEUM),
    "newsroom": _Family(newsroom.stages, newsroom.draw, newsroom.ROUNDS),
    "two_minds": _Family(*_MUSEUM, voice=Voice(wrong=0.2, torn=0.15)),
    "exact_match": _Family(*_MUSEUM, exact=True),
    "noisy_metric": _Family(*_MUSEUM, voice=Voice(noise=0.05)),
}
_GUILTY = "guilty_prompt"


def names() -> list[str]:
    """The names `load` knows."""
    return [*_FAMILIES, _GUILTY]


def load(
    name: str,
    seed: int = 0,
    *,
    n_train: int = 40,
    n_val: int = 30,
    n_test: int = 60,
    voice: Voice | None = None,
    exact: bool | None = None,
    prompts: int | None = None,
    shape: Shape | None = None,
) -> World:
    """The world of this name and seed.

    `voice`, `exact` (a score of 1 only if nothing is wrong, else 0): None for the world's own. `prompts` (4) and
    `shape` ("chain") are of guilty_prompt alone. Raises `InputError` for a name there is none of.
    """
    family = _family(name, prompts, shape)
    stages = family.stages(Chance(seed, name))
    train, val, test = draw_sets(name, seed, family.draw, stages, (n_train, n_val, n_test))
    rules = {stage.name: stage.rules for stage in stages}
    judge = Judge(seed, rules, voice or family.voice, family.exact if exact is None else exact, stages)
    settings = {key: value for key, value in (("prompts", prompts), ("shape", shape)) if value is not None}
    return World(name, seed, stages, train, val, test, judge, family.rounds, settings)


def _family(name: str, prompts: int | None, shape: Shape | None) -> _Family:
    if name == _GUILTY:
        k, form = 4 if prompts is None else prompts, shape or "chain"
        stages: Stages = lambda chance: guilty_prompt.stages_of(k, form, chance)  # noqa: E731
        return _Family(stages, guilty_prompt.draw_of(k, form), 2 if form == "loop" else 1)
    if name not in _FAMILIES:
        raise InputError(f"no world is named {name!r}; there are {', '.join(names())}")
    if prompts is not None or shape is not None:
        raise InputError(f"prompts= and shape= are settings of {_GUILTY}; {name} is as it is")
    return _FAMILIES[name]
