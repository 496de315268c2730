"""Small programs, data and models that the tests of the optimizers share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import dspy
from fakes import chat, input_field, instructions_of

LESSON = "Answer in capital letters."


class TwoSteps(dspy.Module):
    """Two predictors of one signature: only their identity tells them apart."""

    def __init__(self) -> None:
        super().__init__()
        self.first = dspy.Predict(dspy.Signature("text -> answer", "Say it."))
        self.second = dspy.Predict(dspy.Signature("text -> answer", "Say it."))

    def forward(self, text: str) -> dspy.Prediction:
        return self.second(text=self.first(text=text).answer)


def one_step() -> dspy.Module:
    return dspy.Predict(dspy.Signature("text -> answer", "Say it."))


def examples(count: int = 4) -> list[dspy.Example]:
    return [dspy.Example(text=f"word{i}", answer=f"WORD{i}").with_inputs("text") for i in range(count)]


def is_upper(gold: dspy.Example, pred: Any, trace: Any = None) -> dspy.Prediction:
    right = pred.answer == gold.answer
    return dspy.Prediction(score=float(right), feedback="" if right else LESSON)


def wants(text: str) -> set[str]:
    """The output fields a ChatAdapter request asks for."""
    asked = text.rsplit("Respond with the corresponding output fields", 1)[-1]
    return set(re.findall(r"\[\[ ## (\w+) ## \]\]", asked)) - {"completed"}


def worker(text: str) -> str:
    """Does what its instructions say: capital letters if they ask for them."""
    said = input_field(text, "text")
    return chat(answer=said.upper() if LESSON in instructions_of(text) else said)


def reviewer(
    text: str, *, improve: Callable[[str], str] = lambda prompt: f"{prompt}\n{LESSON}", blame: str = "[]"
) -> str:
    """Answers whatever a proposer or the credit assigner asks, in the fields asked for."""
    fields = wants(text)
    prompt = input_field(text, "prompt") or input_field(text, "original_prompt")
    answers = {
        "analysis": "It did not write capitals.",
        "reflection": "It did not write capitals.",
        "recommendations": f'["{LESSON}"]',
        "change_warranted": "True",
        "improved_prompt": improve(prompt),
        "blamed": blame,
    }
    return chat(**{name: value for name, value in answers.items() if name in fields})


def model(text: str) -> str:
    """Worker and reviewer in one, told apart by the fields asked for."""
    return worker(text) if "answer" in wants(text) else reviewer(text)
