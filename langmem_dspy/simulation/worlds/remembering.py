"""A world of conversations to remember: facts planted in sessions, and openings of later talks that need one of them.

Two things hide the facts. Some are told of someone else ("The gate code is 4711."), which an extractor that keeps what
people say of themselves passes over; and some are needed by openings that share no word with them ("We are off to the
cabin."). What a prompt could say against both is in the feedback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dspy

from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.phrasing import phrase
from langmem_dspy.simulation.rules import Condition, Rule

EXTRACTED, ASKED = "operations", "queries"  # the fields that an extractor and a query writer write

# What a fact is about, how it is told, and what it may say.
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "gate code": ("The gate code is {}.", ("4711", "2580", "9034", "6172", "3395", "8841")),
    "blood type": ("The blood type of little Tom is {}.", ("A", "B", "AB", "zero", "A negative", "B negative")),
    "spare key": ("The spare key lies under the {}.", ("doormat", "fern", "bench", "ladder", "bin", "birdhouse")),
    "anniversary": ("The anniversary of the parents is in {}.", ("March", "May", "June", "August", "October", "April")),
    "allergy": ("I have an allergy to {}.", ("peanuts", "shellfish", "pollen", "soy", "sesame", "lupins")),
    "shoe size": ("My shoe size is {}.", ("38", "41", "44", "36", "46", "39")),
    "piano teacher": ("My piano teacher is called {}.", ("Okafor", "Lindqvist", "Moreau", "Tanaka", "Silva", "Novak")),
    "frequent flyer": ("My frequent flyer number ends with {}.", ("770", "318", "942", "155", "604", "287")),
}
# Openings that name what they need, and those that do not, by a word of their own.
DIRECT = "What was the {} again?"
OCCASIONS = ("cabin", "hospital", "balcony", "dinner party", "restaurant", "marathon", "recital", "airport")
SMALL_TALK = (
    "I saw a film about {}.",
    "I read an article on {}.",
    "I dreamed of {}.",
    "I talked with a neighbour about {}.",
)
MATTERS = ("glaciers", "trains", "beavers", "mosaics", "lanterns", "compost", "violins", "marbles", "harbours", "moths")


@dataclass(frozen=True)
class Keepsakes:
    """Sessions with facts in them. Examples have `sessions` (lists of messages) and `opening`; `fact` is needed there.

    `hidden_rules`: what an extractor and a query writer can be taught, by the field each of them writes.
    """

    seed: int
    hidden_rules: dict[str, tuple[Rule, ...]]
    trainset: list[dspy.Example]
    valset: list[dspy.Example]
    testset: list[dspy.Example]

    def metric(self, gold: dspy.Example, pred: Any, trace: Any = None) -> dspy.Prediction:
        """1 if the planted fact is among the memories that were found, else 0; and who lost it.

        `pred` has `stored` and `found`, texts of memories. Feedback goes to the field whose writer lost the fact.
        """
        if any(gold.fact in text for text in pred.found):
            return dspy.Prediction(score=1.0, feedback="")
        field = ASKED if any(gold.fact in text for text in pred.stored) else EXTRACTED
        rules = [rule for rule in self.hidden_rules[field] if rule.value == gold.kind]
        said = " ".join(phrase(rule, len(gold.fact)) for rule in rules if field == EXTRACTED or rule.fires(_view(gold)))
        lost = "was never stored" if field == EXTRACTED else "is stored, and was not searched for"
        return dspy.Prediction(score=0.0, feedback=f"What was told of the {gold.kind} {lost}. {said}".strip())


def load_keepsakes(seed: int = 0, *, n_train: int = 32, n_val: int = 24, n_test: int = 48) -> Keepsakes:
    """The world of this seed: which occasion calls for what, and every conversation, differ by it."""
    chance = Chance(seed, "keepsakes")
    occasions = dict(zip(chance.shuffled(OCCASIONS, "occasions"), KINDS, strict=True))
    extracted = tuple(Rule(EXTRACTED, "mention", kind) for kind, (told, _) in KINDS.items() if told.startswith("The"))
    asked = tuple(
        Rule(ASKED, "mention", kind, when=(Condition("conversation", "mentions", (occasion,)),))
        for occasion, kind in occasions.items()
    )
    cases = [_case(chance, i, occasions) for i in range(n_train + n_val + n_test)]
    train, val = n_train, n_train + n_val
    return Keepsakes(seed, {EXTRACTED: extracted, ASKED: asked}, cases[:train], cases[train:val], cases[val:])


def _case(chance: Chance, number: int, occasions: dict[str, str]) -> dspy.Example:
    occasion = chance.pick(list(occasions), number, "occasion")
    needed = occasions[occasion]
    told = [needed, *chance.shuffled([kind for kind in KINDS if kind != needed], number, "told")[:4]]
    facts = {kind: KINDS[kind][0].format(chance.pick(KINDS[kind][1], number, kind)) for kind in told}
    said = [*facts.values(), *_small_talk(chance, number)]
    spoken = chance.shuffled(said, number, "order")
    opening = f"We are off to the {occasion} on Sunday." if number % 2 else DIRECT.format(needed)
    return dspy.Example(
        sessions=[_session(spoken[i : i + 5]) for i in range(0, len(spoken), 5)],
        opening=opening,
        fact=facts[needed].removesuffix(".").removeprefix("The ").removeprefix("My ").removeprefix("I have an "),
        kind=needed,
        case=f"keepsake-{number}",
    ).with_inputs("sessions", "opening")


def _small_talk(chance: Chance, number: int) -> list[str]:
    matters = chance.shuffled(MATTERS, number, "matters")
    return [chance.pick(SMALL_TALK, number, "talk", matter).format(matter) for matter in matters]


def _session(spoken: Sequence[str]) -> list[dict[str, str]]:
    answers = ({"role": "assistant", "content": "I see."} for _ in spoken)
    turns = zip(({"role": "user", "content": text} for text in spoken), answers, strict=True)
    return [message for turn in turns for message in turn]


def _view(gold: dspy.Example) -> dict[str, str]:
    return {"conversation": str(gold.opening)}
