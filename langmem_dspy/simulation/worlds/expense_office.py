"""The expense office, family B: two of three prompts are right already, and all that is missing belongs into the third.

sort: claim, team -> category, level.  check: claim, category, amount -> finding.
letter: finding, category, level, employee -> letter (rules are missing here alone).
"""

from __future__ import annotations

from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.rules import Condition, Rule
from langmem_dspy.simulation.worlds.stage import Stage, is_, says

TOPICS = {
    "hotel": "two nights in a hotel near the fair",
    "train": "a train ticket to the client",
    "dinner": "dinner with the team after the release",
    "laptop": "a charger for my laptop",
}
CATEGORIES = ("other", "lodging", "travel", "meals", "hardware")
LEVELS = ("standard", "fast", "strict")
TEAMS = ("sales", "research", "support")
REMARKS = ("a receipt is needed", "the daily rate applies", "second class only", "a manager must sign")
OPENINGS = ("Quick answer", "Careful review", "Dear colleague")
CLOSINGS = ("Your travel office", "The housing desk", "Accounting", "The hardware store")
NAMES = ("Ines", "Jon", "Kira", "Luc", "Mara", "Nils", "Olga", "Per")


def stages(chance: Chance) -> tuple[Stage, ...]:
    category_of = dict(zip(TOPICS, chance.shuffled(CATEGORIES[1:], "categories"), strict=True))
    return (_sort(chance, category_of), _check(chance, category_of), _letter(chance, list(category_of.values())))


def _sort(chance: Chance, category_of: dict[str, str]) -> Stage:
    levels = dict(zip(TEAMS, chance.shuffled(LEVELS, "levels"), strict=True))
    rules = [Rule("category", "set", category, when=(_claims(topic),)) for topic, category in category_of.items()]
    rules += [Rule("level", "set", level, when=(is_("team", team),)) for team, level in levels.items()]
    opening = "You sort expense claims for {company}.\nRead `claim` and `team`, and fill `category` and `level`."
    options = {"category": CATEGORIES, "level": LEVELS}
    when = "Only when `category` or `level` is wrong."
    return Stage("sort", ("claim", "team"), ("category", "level"), opening, tuple(rules), (), options, when)


def _check(chance: Chance, category_of: dict[str, str]) -> Stage:
    remarks = dict(zip(category_of.values(), chance.shuffled(REMARKS, "remarks"), strict=True))
    rules = [Rule("finding", "mention", remark, when=(is_("category", c),)) for c, remark in remarks.items()]
    rules.append(Rule("finding", "quote", source="amount"))
    opening = "You check claims by the rules of {year}.\nWrite `finding` from `claim`."
    when = "Only when `finding` is wrong."
    return Stage("check", ("claim", "category", "amount"), ("finding",), opening, tuple(rules), (), when_to_update=when)


def _letter(chance: Chance, categories: list[str]) -> Stage:
    openings = chance.shuffled(OPENINGS, "openings")
    closings = chance.shuffled(CLOSINGS, "closings")
    given = (
        Rule("letter", "quote", source="employee"),
        Rule("letter", "limit", str(40 + int(chance.number("limit") * 15))),
    )
    hidden = [Rule("letter", "start", o, when=(is_("level", lv),)) for lv, o in zip(LEVELS, openings, strict=True)]
    hidden += [Rule("letter", "end", c, when=(is_("category", k),)) for k, c in zip(categories, closings, strict=True)]
    opening = "You write to employees in the name of {sender}.\nRewrite `finding` as `letter`."
    inputs = ("finding", "category", "level", "employee")
    return Stage("letter", inputs, ("letter",), opening, given, tuple(chance.shuffled(hidden, "letter rules")))


def draw(chance: Chance, number: int) -> dict[str, str]:
    topic = chance.pick(list(TOPICS), number, "topic")
    return {
        "claim": f"I paid for {TOPICS[topic]} last {chance.pick(('Monday', 'week', 'month'), number, 'time')}.",
        "team": chance.pick(TEAMS, number, "team"),
        "amount": f"{5 + int(chance.number(number, 'amount') * 900)}.{int(chance.number(number, 'cents') * 89) + 10}",
        "employee": chance.pick(NAMES, number, "name"),
    }


def _claims(*words: str) -> Condition:
    return says("claim", *words)
