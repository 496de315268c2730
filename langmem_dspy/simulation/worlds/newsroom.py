"""The newsroom, a long program: a branch, a loop, and writers that share one signature.

desk: wire, region -> section, risk.  writer_1 to writer_3: facts -> paragraph, each on facts of its own.
edit: paragraph_1, section, region, remarks -> article.  check: article, risk -> remarks (right already).
lawyer: wire, section -> notice, only where risk is "high". All of it twice over, `remarks` going back to edit.
"""

from __future__ import annotations

from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.rules import Rule
from langmem_dspy.simulation.worlds.stage import Stage, is_, says

ROUNDS = 2
TOPICS = {"strike": "the strike at the port", "match": "last night's match", "vote": "the vote on the bridge"}
SECTIONS = ("mixed", "business", "sport", "politics")
REGIONS = ("north", "south", "islands")
SUSPICIONS = ("an arrest", "a leak")
SUBJECTS = (("crane", "ferry"), ("coach", "keeper"), ("mayor", "council"))
PHRASES = ("no one was hurt", "work goes on", "talks resume", "fans remain calm", "the result stands", "a vote is due")
OPENINGS = ("MARKETS", "PITCHSIDE", "CITY HALL")
CLOSINGS = ("From our northern office", "From our southern office", "From the islands")
NOTICES = ("all parties deny it", "no charge was made", "the case is open")


def stages(chance: Chance) -> tuple[Stage, ...]:
    section_of = dict(zip(TOPICS, chance.shuffled(SECTIONS[1:], "sections"), strict=True))
    phrases = chance.shuffled(PHRASES, "phrases")
    right = int(chance.number("right writer") * len(SUBJECTS))
    writers = [_writer(i, phrases[2 * i : 2 * i + 2], i == right) for i in range(len(SUBJECTS))]
    sections = list(section_of.values())
    return (_desk(section_of), *writers, _edit(chance, sections), _check(), _lawyer(chance, sections))


def _desk(section_of: dict[str, str]) -> Stage:
    rules = [Rule("section", "set", section, when=(says("wire", topic),)) for topic, section in section_of.items()]
    rules.append(Rule("risk", "set", "high", when=(says("wire", *SUSPICIONS),)))
    opening = "You read the wires of {agency}.\nRead `wire` and `region`, and fill `section` and `risk`."
    options = {"section": SECTIONS, "risk": ("low", "high")}
    return Stage("desk", ("wire", "region"), ("section", "risk"), opening, (rules[0],), tuple(rules[1:]), options)


def _writer(number: int, phrases: list[str], right: bool) -> Stage:
    rules = tuple(
        Rule("paragraph", "mention", phrase, when=(says("facts", subject),))
        for subject, phrase in zip(SUBJECTS[number], phrases, strict=True)
    )
    opening = f"You write paragraph {number + 1} for {{agency}}.\nWrite `paragraph` from `facts`."
    wires = {"facts": f"facts_{number + 1}", "paragraph": f"paragraph_{number + 1}"}
    name, given, hidden = f"writer_{number + 1}", rules if right else (), () if right else rules
    return Stage(name, ("facts",), ("paragraph",), opening, given, hidden, wires=wires)


def _edit(chance: Chance, sections: list[str]) -> Stage:
    openings = chance.shuffled(OPENINGS, "openings")
    rules = [Rule("article", "start", o, when=(is_("section", s),)) for s, o in zip(sections, openings, strict=True)]
    rules += [Rule("article", "end", c, when=(is_("region", r),)) for r, c in zip(REGIONS, CLOSINGS, strict=True)]
    opening = "You edit for {agency}. The style is {style}.\nRewrite `paragraph_1` as `article`."
    inputs = ("paragraph_1", "section", "region", "remarks")
    return Stage("edit", inputs, ("article",), opening, (rules[0],), tuple(chance.shuffled(rules[1:], "edit rules")))


def _check() -> Stage:
    rules = (Rule("remarks", "start", "CHECKED"), Rule("remarks", "quote", source="risk"))
    opening = "You check articles for {agency}.\nWrite `remarks` from `article`."
    when = "Only when `remarks` is wrong."
    return Stage("check", ("article", "risk"), ("remarks",), opening, rules, when_to_update=when)


def _lawyer(chance: Chance, sections: list[str]) -> Stage:
    notices = chance.shuffled(NOTICES, "notices")
    rules = tuple(
        Rule("notice", "mention", n, when=(is_("section", s),)) for s, n in zip(sections, notices, strict=True)
    )
    opening = "You advise {agency} on what may be said.\nWrite `notice` from `wire`."
    high = is_("risk", "high")
    return Stage("lawyer", ("wire", "section"), ("notice",), opening, (), rules, only_if=high)


def draw(chance: Chance, number: int) -> dict[str, str]:
    risky = f", and of {chance.pick(SUSPICIONS, number, 'suspicion')}" if chance.happens(0.5, number, "risky") else ""
    facts = {
        f"facts_{i + 1}": f"The {chance.pick(pair, number, 'subject', i)} spoke for {2 + number % 50} minutes."
        for i, pair in enumerate(SUBJECTS)
    }
    topic = TOPICS[chance.pick(list(TOPICS), number, "topic")]
    return {"wire": f"Word of {topic}{risky}.", "region": chance.pick(REGIONS, number, "region"), **facts}
