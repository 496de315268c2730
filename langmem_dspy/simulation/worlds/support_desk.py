"""The support desk, family A: twenty-odd rules, missing from three of four prompts; the fourth is right already.

triage: ticket, plan -> queue, priority.  draft: ticket, queue, order_id -> draft.
polish: draft, queue, priority, customer -> reply.  log: ticket, queue -> note (right already).
"""

from __future__ import annotations

from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.rules import Rule
from langmem_dspy.simulation.worlds.stage import Stage, is_, says

TOPICS: dict[str, tuple[str, str]] = {
    "refund": ("I want a refund for my last purchase", "please give me my money back"),
    "parcel": ("my parcel has not arrived", "the parcel was left at the wrong door"),
    "password": ("I cannot reset my password", "your site does not take my password"),
    "invoice": ("the invoice shows the wrong amount", "I need an invoice with our address"),
    "crash": ("the app has had a crash again", "every export ends in a crash"),
}
QUEUES = ("general", "billing", "logistics", "access", "technical", "accounts")
PRIORITIES = ("normal", "low", "high", "urgent")
PLANS = ("free", "pro", "enterprise")
SLANG = ("asap", "pronto", "super annoyed", "no clue")
PLAIN = {"buggy": "faulty", "guy": "colleague", "stuff": "items", "kinda": "somewhat"}
PROMISES = ("a refund takes five days", "the carrier was told", "two-factor login", "a corrected copy", "release notes")
OPENINGS = ("URGENT CASE", "Priority service", "Good day", "Thank you for writing")
CLOSINGS = ("The billing team", "Your parcel desk", "Stay safe online", "The engineers", "Accounts office")
NAMES = ("Ann", "Bo", "Carla", "Dev", "Emi", "Farid", "Gus", "Hana")


def stages(chance: Chance) -> tuple[Stage, ...]:
    queue_of = dict(zip(TOPICS, chance.shuffled(QUEUES[1:], "queues"), strict=True))
    return (_triage(chance, queue_of), _draft(chance, queue_of), _polish(chance, list(queue_of.values())), _log(chance))


def _triage(chance: Chance, queue_of: dict[str, str]) -> Stage:
    queues = [_on_ticket(topic, "queue", queue) for topic, queue in queue_of.items()]
    queues = chance.shuffled(queues, "queue rules")
    low, high = chance.shuffled(PRIORITIES[1:3], "priority")
    priorities = [
        Rule("priority", "set", "urgent", when=(is_("plan", "enterprise"),)),
        Rule("priority", "set", high, when=(is_("plan", "pro"),)),
        Rule("priority", "set", low, when=(is_("plan", "free"), says("ticket", "whenever you can"))),
    ]
    opening = "You sort the tickets of {company}.\nRead `ticket` and `plan`, and fill `queue` and `priority`."
    options = {"queue": QUEUES, "priority": PRIORITIES}
    hidden = (*queues[1:], *priorities)
    return Stage("triage", ("ticket", "plan"), ("queue", "priority"), opening, (queues[0],), hidden, options)


def _draft(chance: Chance, queue_of: dict[str, str]) -> Stage:
    topics = chance.shuffled(list(TOPICS), "draft topics")
    promises = dict(zip(topics, chance.shuffled(PROMISES, "promises"), strict=True))
    plain = chance.pick(list(PLAIN), "plain")
    rules = [_on_ticket(topic, "draft", promises[topic], "mention") for topic in topics[:4]]
    rules += [
        Rule("draft", "quote", source="order_id", when=(is_("queue", queue_of[topics[0]], queue_of[topics[1]]),)),
        Rule("draft", "avoid", chance.pick(SLANG, "slang")),
        Rule("draft", "replace", PLAIN[plain], plain),
    ]
    rules = chance.shuffled(rules, "draft rules")
    opening = "You answer tickets in the name of {agent_name}.\nWrite `draft`: take what matters from `ticket`."
    return Stage("draft", ("ticket", "queue", "order_id"), ("draft",), opening, (rules[0],), tuple(rules[1:]))


def _polish(chance: Chance, queues: list[str]) -> Stage:
    openings = chance.shuffled(OPENINGS, "openings")
    closings = chance.shuffled(CLOSINGS, "closings")
    rules = [
        Rule("reply", "start", openings[0], when=(is_("priority", "urgent"),)),
        Rule("reply", "start", openings[1], when=(is_("priority", "high", "low"),)),
        *(Rule("reply", "end", closings[i], when=(is_("queue", queues[i]),)) for i in range(4)),
        Rule("reply", "quote", source="customer"),
        Rule("reply", "limit", str(40 + int(chance.number("limit") * 15))),
    ]
    rules = chance.shuffled(rules, "polish rules")
    opening = "You edit what goes out to customers. The tone is {tone}.\nPolish `draft` into `reply`."
    inputs = ("draft", "queue", "priority", "customer")
    return Stage("polish", inputs, ("reply",), opening, (rules[0],), tuple(rules[1:]))


def _log(chance: Chance) -> Stage:
    rules = (Rule("note", "start", "LOG"), Rule("note", "quote", source="queue"))
    opening = "You keep the log of {company}.\nWrite `note` from `ticket`."
    return Stage("log", ("ticket", "queue"), ("note",), opening, rules, when_to_update="Only when `note` is wrong.")


def draw(chance: Chance, number: int) -> dict[str, str]:
    topic = chance.pick(list(TOPICS), number, "topic")
    said = chance.pick(TOPICS[topic], number, "words")
    said = said if topic in said else f"about the refund: {said}"
    extras = [chance.pick(SLANG, number, "slang"), f"some {chance.pick(list(PLAIN), number, 'plain')} thing"]
    if chance.happens(0.5, number, "patient"):
        extras.append("answer whenever you can")
    return {
        "ticket": f"Hello, {said}. It is {' and '.join(chance.shuffled(extras, number, 'extras'))}.",
        "plan": chance.pick(PLANS, number, "plan"),
        "order_id": f"A{10000 + int(chance.number(number, 'order') * 89999)}",
        "customer": chance.pick(NAMES, number, "name"),
    }


def _on_ticket(topic: str, field: str, value: str, effect: str = "set") -> Rule:
    return Rule(field, effect, value, when=(says("ticket", topic),))  # type: ignore[arg-type]
