"""Cases drawn for a world: inputs by seed, gold labels by its rules, and three sets that share no case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import dspy

from langmem_dspy.errors import InputError
from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.effects import without_contradictions
from langmem_dspy.simulation.worlds.stage import Stage

PATIENCE = 1000  # draws without a new case after which there are taken to be no more

Draw = Callable[[Chance, int], dict[str, str]]


def draw_sets(
    name: str, seed: int, draw: Draw, stages: Sequence[Stage], sizes: Sequence[int]
) -> list[list[dspy.Example]]:
    """One list of examples for each size. Raises `InputError` if the world has too few different cases."""
    chance = Chance(seed, f"cases of {name}")
    seen: set[tuple[tuple[str, str], ...]] = set()
    found: list[dspy.Example] = []
    number = last = 0
    while len(found) < sum(sizes) and number - last < PATIENCE:
        inputs = draw(chance, number)
        if (key := tuple(sorted(inputs.items()))) not in seen:
            seen.add(key)
            found.append(_example(inputs, stages, f"gold-{chance.mark[:6]}-{len(found)}"))
            last = number
        number += 1
    if len(found) < sum(sizes):
        raise InputError(f"{name} has only {len(found)} different cases, {sum(sizes)} were asked for; ask for fewer")
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return [found[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def gold_labels(inputs: Mapping[str, str], stages: Sequence[Stage]) -> dict[str, str]:
    """What each output with options should be."""
    fields = dict(inputs)
    labels: dict[str, str] = {}
    for stage in stages:
        if not stage.runs(fields):
            continue
        for name, options in stage.options.items():
            seen = stage.view(fields)
            firing = [r for r in stage.rules if r.field == name and r.effect == "set" and r.fires(seen)]
            winners = without_contradictions(firing)
            wired = stage.wire(name)
            labels[wired] = fields[wired] = winners[-1].value if winners else options[0]
    return labels


def _example(inputs: Mapping[str, str], stages: Sequence[Stage], case: str) -> dspy.Example:
    return dspy.Example(**inputs, gold=gold_labels(inputs, stages), case=case).with_inputs(*inputs)
