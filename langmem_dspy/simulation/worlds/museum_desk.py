"""The museum desk: rules missing from three of four prompts, as on the support desk, in another domain and other words.

sort: inquiry, visitor -> topic, manner.  answer: inquiry, topic, day -> answer.
letter: answer, topic, manner, name -> letter.  file: inquiry, topic -> entry (right already).
"""

from __future__ import annotations

from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.rules import Rule
from langmem_dspy.simulation.worlds.stage import Stage, is_, says

TOPICS = {
    "tour": "we would like a tour of the old wing",
    "ticket": "my ticket does not open the gate",
    "workshop": "is there a workshop for children",
    "loan": "may our school have a loan of the globe",
    "photo": "I need a photo of the blue vase",
}
DESKS = ("front desk", "guides", "box office", "education", "registrar", "archive")
MANNERS = ("plain", "warm", "formal", "brief")
VISITORS = ("member", "school", "press")
FACTS = ("groups of twelve", "at the side door", "paper is provided", "insurance is needed", "credit the museum")
JARGON = ("deaccession", "provenance", "vitrine")
OPENINGS = ("Dear member", "Dear colleagues", "To the press", "Good morning")
CLOSINGS = ("Your guides", "The box office", "The education team", "The registrar")
NAMES = ("Aline", "Bruno", "Cem", "Dora", "Eske", "Finn", "Greta", "Ilir")


def stages(chance: Chance) -> tuple[Stage, ...]:
    desk_of = dict(zip(TOPICS, chance.shuffled(DESKS[1:], "desks"), strict=True))
    return (_sort(chance, desk_of), _answer(chance, desk_of), _letter(chance, list(desk_of.values())), _file())


def _sort(chance: Chance, desk_of: dict[str, str]) -> Stage:
    desks = chance.shuffled([_on("inquiry", t, "topic", desk) for t, desk in desk_of.items()], "desk rules")
    manners = dict(zip(VISITORS, chance.shuffled(MANNERS[1:], "manners"), strict=True))
    rules = [Rule("manner", "set", manner, when=(is_("visitor", v),)) for v, manner in manners.items()]
    opening = (
        "You receive what visitors write to {museum}.\nRead `inquiry` and `visitor`, and fill `topic` and `manner`."
    )
    options = {"topic": DESKS, "manner": MANNERS}
    hidden = (*desks[2:], *rules)
    return Stage("sort", ("inquiry", "visitor"), ("topic", "manner"), opening, tuple(desks[:2]), hidden, options)


def _answer(chance: Chance, desk_of: dict[str, str]) -> Stage:
    topics = chance.shuffled(list(TOPICS), "answer topics")
    facts = chance.shuffled(FACTS, "facts")
    rules = [_on("inquiry", t, "answer", fact, "mention") for t, fact in zip(topics[:4], facts, strict=False)]
    rules.append(Rule("answer", "quote", source="day", when=(is_("topic", desk_of[topics[0]], desk_of[topics[2]]),)))
    rules.append(Rule("answer", "avoid", chance.pick(JARGON, "jargon")))
    rules = chance.shuffled(rules, "answer rules")
    opening = "You know the house rules of {year}.\nWrite `answer`: take what matters from `inquiry`."
    return Stage("answer", ("inquiry", "topic", "day"), ("answer",), opening, (rules[0],), tuple(rules[1:]))


def _letter(chance: Chance, desks: list[str]) -> Stage:
    openings = chance.shuffled(OPENINGS, "openings")
    closings = chance.shuffled(CLOSINGS, "closings")
    rules = [Rule("letter", "start", o, when=(is_("manner", m),)) for m, o in zip(MANNERS[1:], openings, strict=False)]
    rules += [Rule("letter", "end", c, when=(is_("topic", d),)) for d, c in zip(desks, closings, strict=False)]
    rules.append(Rule("letter", "quote", source="name"))
    rules = chance.shuffled(rules, "letter rules")
    opening = "You write in the name of {director}.\nRewrite `answer` as `letter`."
    inputs = ("answer", "topic", "manner", "name")
    return Stage("letter", inputs, ("letter",), opening, (rules[0],), tuple(rules[1:]))


def _file() -> Stage:
    rules = (Rule("entry", "start", "FILED"), Rule("entry", "quote", source="topic"))
    opening = "You keep the files of {museum}.\nWrite `entry` from `inquiry`."
    return Stage("file", ("inquiry", "topic"), ("entry",), opening, rules, when_to_update="Only when `entry` is wrong.")


def draw(chance: Chance, number: int) -> dict[str, str]:
    said = TOPICS[chance.pick(list(TOPICS), number, "topic")]
    aside = f"I read of {chance.pick(JARGON, number, 'jargon')} in the paper"
    days = 1 + int(chance.number(number, "day") * 27)
    return {
        "inquiry": f"Good day, {said}; {aside}. We are {2 + int(chance.number(number, 'party') * 40)}.",
        "visitor": chance.pick(VISITORS, number, "visitor"),
        "day": f"{days} {chance.pick(('May', 'June', 'July'), number, 'month')}",
        "name": chance.pick(NAMES, number, "name"),
    }


def _on(field: str, word: str, output: str, value: str, effect: str = "set") -> Rule:
    return Rule(output, effect, value, when=(says(field, word),))  # type: ignore[arg-type]
