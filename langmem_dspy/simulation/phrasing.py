"""Rules put into words, in several phrasings of which `parsing` reads each."""

from __future__ import annotations

from langmem_dspy.simulation.rules import Condition, Rule

# Each effect as orders and as statements. Fields stand in backticks, values in double quotes.
ORDERS: dict[str, tuple[str, ...]] = {
    "set": ('set `{field}` to "{value}"', 'use "{value}" as `{field}`', '`{field}` must be "{value}"'),
    "start": ('start `{field}` with "{value}"', 'open `{field}` with "{value}"', '`{field}` must begin with "{value}"'),
    "end": ('end `{field}` with "{value}"', 'close `{field}` with "{value}"', '`{field}` must end with "{value}"'),
    "mention": (
        'mention "{value}" in `{field}`',
        'include "{value}" in `{field}`',
        '`{field}` must mention "{value}"',
    ),
    "avoid": (
        'never write "{value}" in `{field}`',
        'leave "{value}" out of `{field}`',
        '`{field}` must not contain "{value}"',
    ),
    "replace": (
        'write "{value}" instead of "{source}" in `{field}`',
        '`{field}` must say "{value}" instead of "{source}"',
    ),
    "quote": ("quote `{source}` in `{field}`", "`{field}` must repeat `{source}`"),
    "limit": ("keep `{field}` within {value} words", "`{field}` must have at most {value} words"),
    "case": ("write `{field}` in {value} case", "`{field}` must be in {value} case"),
    "language": ("write `{field}` in {value}", "`{field}` must be in {value}"),
}

# What someone says who saw one wrong output: what it should have been, there.
CORRECTIONS: dict[str, str] = {
    "set": '`{field}` should have been "{value}"',
    "start": '`{field}` should have started with "{value}"',
    "end": '`{field}` should have ended with "{value}"',
    "mention": '`{field}` should have mentioned "{value}"',
    "avoid": '`{field}` should not have contained "{value}"',
    "replace": '`{field}` should have said "{value}" instead of "{source}"',
    "quote": "`{field}` should have repeated `{source}`",
    "limit": "`{field}` should have had at most {value} words",
    "case": "`{field}` should have been in {value} case",
    "language": "`{field}` should have been in {value}",
}

_INTRODUCTIONS = ("if", "when", "whenever")


def phrase(rule: Rule, style: int = 0) -> str:
    """`rule` as a sentence. Each `style` (any whole number) is one wording; all mean the same."""
    if rule.effect == "advice":
        return rule.value
    orders = ORDERS[rule.effect]
    order = orders[style % len(orders)].format(field=rule.field, value=rule.value, source=rule.source)
    if not rule.when:
        return _sentence(order)
    introduction = _INTRODUCTIONS[style // 2 % len(_INTRODUCTIONS)]
    grounds = f"{introduction} {_conditions(rule.when, style)}"
    return _sentence(f"{order} {grounds}" if style // 3 % 2 else f"{grounds}, {order}")


def correct(rule: Rule, *, why: bool) -> str:
    """What the rule asked for in one case, as feedback on it; with its grounds only if `why`."""
    said = CORRECTIONS[rule.effect].format(field=rule.field, value=rule.value, source=rule.source)
    return _sentence(f"{said}, because {_conditions(rule.when, 0)}" if why and rule.when else said)


def _conditions(conditions: tuple[Condition, ...], style: int) -> str:
    return " and ".join(_condition(condition, style) for condition in conditions)


def _condition(condition: Condition, style: int) -> str:
    values = " or ".join(f'"{value}"' for value in condition.values)
    if condition.relation == "is":
        verb = "is not" if condition.negated else "is"
    elif condition.negated:
        verb = ("does not mention", "does not contain")[style % 2]
    else:
        verb = ("mentions", "contains")[style % 2]
    return f"`{condition.field}` {verb} {values}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
