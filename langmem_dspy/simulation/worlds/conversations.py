"""A world without a program: one prompt, conversations held with it, and what people said about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dspy
from dspy.lm15 import Message, Request

from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.parsing import find_rules
from langmem_dspy.simulation.phrasing import phrase
from langmem_dspy.simulation.rules import Condition, Rule
from langmem_dspy.simulation.worlds.judging import Judge, Voice

TOPICS = ("delivery", "warranty", "returns", "gift card", "newsletter")
ANSWERS = ("within three days", "two years from purchase", "free of charge", "valid for a year", "unsubscribe below")
ENDINGS = ("Anything else?", "Have a good day", "Yours, the shop team")
OPENING = "You are the assistant of {shop}. You speak with {customer_name}.\nAnswer the `message` of the customer."

Pair = tuple[list[dict[str, str]], str]


@dataclass(frozen=True)
class Talks:
    """Conversations about a shop. `prompt` is what to start from, `hidden_rules` what feedback can teach."""

    seed: int
    prompt: str
    hidden_rules: tuple[Rule, ...]
    questions: list[dspy.Example]
    test_questions: list[dspy.Example]
    judge: Judge

    @property
    def perfect_prompt(self) -> str:
        """The prompt with every rule in it: the upper bound."""
        return "\n".join([self.prompt, *(f"- {phrase(rule, i)}" for i, rule in enumerate(self.hidden_rules))])

    def trajectories(self, lm: dspy.LM, n: int, prompt: str | None = None) -> list[Pair]:
        """`n` conversations held with `prompt` (the one to start from, if None), each with its feedback."""
        held = []
        for question in self.questions[:n]:
            reply = _answer(lm, self.prompt if prompt is None else prompt, question.message)
            said = [{"role": "user", "content": question.message}, {"role": "assistant", "content": reply}]
            held.append((said, str(self.judge(question, {"reply": reply}).feedback)))
        return held

    def score(self, lm: dspy.LM, prompt: str, questions: Sequence[dspy.Example] | None = None) -> float:
        """The mean score of `prompt` in [0, 1], on the test questions unless others are given."""
        asked = self.test_questions if questions is None else questions
        scores = [self.judge(q, {"reply": _answer(lm, prompt, q.message)}).score for q in asked]
        return sum(scores) / len(scores)

    def rules_found(self, prompt: str) -> float:
        """The share of the hidden rules that stand in `prompt`."""
        return len(set(find_rules(prompt)) & set(self.hidden_rules)) / len(self.hidden_rules)


def load_talks(seed: int = 0, *, n_train: int = 20, n_test: int = 30, voice: Voice | None = None) -> Talks:
    """The talks of this seed; rules, questions and feedback differ by it."""
    chance = Chance(seed, "talks")
    answers = chance.shuffled(ANSWERS, "answers")
    rules = [
        Rule("reply", "mention", answer, when=(Condition("message", "mentions", (topic,)),))
        for topic, answer in zip(TOPICS, answers, strict=True)
    ]
    rules += [Rule("reply", "start", "Thank you for asking"), Rule("reply", "end", chance.pick(ENDINGS, "ending"))]
    asked = [_question(chance, i) for i in range(n_train + n_test)]
    judge = Judge(seed, {"assistant": rules}, voice or Voice())
    return Talks(seed, OPENING, tuple(rules), asked[:n_train], asked[n_train:], judge)


def _question(chance: Chance, number: int) -> dspy.Example:
    topic = chance.pick(TOPICS, number, "topic")
    words = ("What about the {}?", "I have a question on my {}.", "Please tell me about {}.")
    said = chance.pick(words, number, "words")
    message = f"{said.format(topic)} My order is {10000 + int(chance.number(number, 'order') * 89999)}."
    return dspy.Example(message=message, gold={}, case=f"gold-talk-{number}").with_inputs("message")


def _answer(lm: dspy.LM, prompt: str, message: str) -> str:
    response: Any = lm(Request(model=lm.model, system=prompt, messages=(Message.user(message),)))
    return response.text or ""
