"""One guilty prompt: k prompts of which one was broken on purpose, in four shapes of program.

chain: job -> state_1 -> ... -> state_k, each from the one before, so that an error runs on to the end.
loop: the chain twice over, its first stage given the last one's state.  branch: route, then one of k - 1 stages, which
all write `answer`.  shared: k stages of one signature (facts -> line), each on facts of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

from langmem_dspy.errors import InputError
from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.rules import Rule
from langmem_dspy.simulation.worlds.cases import Draw
from langmem_dspy.simulation.worlds.stage import Stage, is_, says

Shape = Literal["chain", "loop", "branch", "shared"]

SPOILED = 2  # rules of the guilty prompt that are not so
MOST = 24  # prompts
COLORS = ("none", "red", "green", "blue")
METALS = ("copper", "steel", "brass")
SIZES = ("small", "medium", "large")
# fmt: off
WORDS = (
    "anchor", "basket", "candle", "drum", "engine", "feather", "garden", "hammer", "island", "jacket", "kettle",
    "ladder", "mirror", "needle", "orchard", "pillow", "quarry", "ribbon", "saddle", "tunnel", "umbrella", "violin",
    "window", "yogurt",
)
# fmt: on
REPLIES = ("sent at once", "made to order", "kept in stock", "not on sale", "by hand only", "within two weeks")


def stages_of(prompts: int, shape: Shape, chance: Chance) -> tuple[Stage, ...]:
    """`prompts` stages, one of them guilty. Raises `InputError` for a number or a shape there is no world of."""
    if shape not in get_args(Shape):
        raise InputError(f"no shape is named {shape!r}; there are {', '.join(get_args(Shape))}")
    if not 2 <= prompts <= MOST:
        raise InputError(f"a world with one guilty prompt has 2 to {MOST} prompts, not {prompts}")
    if shape == "branch":
        sound = _branches(prompts, chance)
    elif shape == "shared":
        sound = [_writer(i, chance) for i in range(prompts)]
    else:
        sound = [_station(i, chance) for i in range(prompts)]
    if shape == "loop":
        sound[0] = replace(sound[0], inputs=("job", "last"), wires={"last": f"state_{prompts}"})
    guilty = int(chance.number("guilty") * prompts)
    sound[guilty] = _broken(sound[guilty], chance)
    return tuple(sound)


def draw_of(prompts: int, shape: Shape) -> Draw:
    """What draws a case of the world with these settings."""

    def draw(chance: Chance, number: int) -> dict[str, str]:
        said = chance.pick(("please", "if you can", "as agreed", "with care"), number, "manner")
        job = f"Job {1000 + int(chance.number(number, 'job') * 8999)}: {said}, "
        if shape == "shared":
            return {f"facts_{i + 1}": job + _facts(chance, number, i) for i in range(prompts)}
        if shape == "branch":
            size = chance.pick(SIZES, number, "size")
            return {"job": f"{job}one {chance.pick(WORDS[: prompts - 1], number, 'word')}.", "size": size}
        return {"job": f"{job}twenty plates of {chance.pick(METALS, number, 'metal')}."}

    return draw


def _facts(chance: Chance, number: int, part: int) -> str:
    size = chance.pick(SIZES, number, part, "size")
    return f"a {chance.pick(_words(part), number, part)} for the {size} room."


def _station(number: int, chance: Chance) -> Stage:
    colors = chance.shuffled(COLORS[1:], "colors", number)
    before, after = f"state_{number}", f"state_{number + 1}"
    grounds = [says("job", m) for m in METALS] if number == 0 else [is_(before, c) for c in COLORS[1:]]
    rules = tuple(Rule(after, "set", color, when=(ground,)) for ground, color in zip(grounds, colors, strict=True))
    inputs = ("job",) if number == 0 else ("job", before)
    opening = f"You run station {number + 1} of {{plant}}.\nRead {_listed(inputs)}, and fill `{after}`."
    return Stage(f"station_{number + 1}", inputs, (after,), opening, rules, options={after: COLORS})


def _branches(prompts: int, chance: Chance) -> list[Stage]:
    words = WORDS[: prompts - 1]
    desks = tuple(f"{word} desk" for word in words)
    rules = tuple(
        Rule("route", "set", d, when=(says("job", w),))
        for w, d in zip(words, chance.shuffled(desks, "desks"), strict=True)
    )
    opening = "You send the jobs of {plant} where they belong.\nRead `job`, and fill `route`."
    router = Stage("route", ("job",), ("route",), opening, rules, options={"route": ("nowhere", *desks)})
    return [router, *(_branch(desk, chance) for desk in desks)]


def _branch(desk: str, chance: Chance) -> Stage:
    replies = chance.shuffled(REPLIES, desk, "replies")
    rules = tuple(
        Rule("answer", "mention", reply, when=(is_("size", size),)) for size, reply in zip(SIZES, replies, strict=False)
    )
    opening = f"You are the {desk} of {{plant}}.\nWrite `answer` from `job`, by `size`."
    name = desk.replace(" ", "_")
    return Stage(name, ("job", "size"), ("answer",), opening, rules, only_if=is_("route", desk))


def _writer(number: int, chance: Chance) -> Stage:
    replies = chance.shuffled(REPLIES, number, "replies")
    rules = tuple(
        Rule("line", "mention", reply, when=(says("facts", word),))
        for word, reply in zip(_words(number), replies, strict=False)
    )
    opening = f"You write part {number + 1} of the report of {{plant}}.\nWrite `line` from `facts`."
    wires = {"facts": f"facts_{number + 1}", "line": f"line_{number + 1}"}
    return Stage(f"part_{number + 1}", ("facts",), ("line",), opening, rules, wires=wires)


def _broken(stage: Stage, chance: Chance) -> Stage:
    """`stage` with values that are another rule's in up to `SPOILED` rules of its prompt."""
    spoiled = chance.shuffled(stage.given, "spoiled")[:SPOILED]
    if len(spoiled) == 1:
        values = [next(value for options in stage.options.values() for value in options)]
    else:
        values = [rule.value for rule in (*spoiled[1:], spoiled[0])]
    mistaken = tuple(replace(rule, value=value) for rule, value in zip(spoiled, values, strict=True))
    given = tuple(rule for rule in stage.given if rule not in spoiled)
    return replace(stage, given=given, hidden=tuple(spoiled), mistaken=mistaken)


def _words(number: int) -> Sequence[str]:
    """Three words that only the facts of this part speak of."""
    word = WORDS[number % len(WORDS)]
    return (f"red {word}", f"round {word}", f"heavy {word}")


def _listed(names: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)
