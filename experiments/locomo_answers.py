"""Answering LoCoMo's questions from what is remembered, and scoring the answers as its paper does, with no judge.

Token F1 on stemmed words (Maharana et al., 2024, arXiv:2402.17753; its `task_eval/evaluation.py` is the source of these
rules). Of a question with several answers each is looked for among those given; of an open-domain answer what stands
behind ";" is an explanation and does not count; an adversarial question is right where it is said to be unanswerable.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import fmean

import dspy
from locomo import Question

from langmem_dspy.store.stemming import stem

UNANSWERABLE = ("not mentioned", "no information available")
_LEFT_OUT = {"a", "an", "the", "and"}
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Answer(dspy.Signature):
    """Answer the question from the remembered parts of a conversation, in as few words as possible.

    Give dates as they were. If nothing there answers it, say "not mentioned"."""

    remembered: list[str] = dspy.InputField()
    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


def answered(
    lm: dspy.BaseLM, asked: Sequence[Question], contexts: Sequence[Sequence[str]], num_threads: int
) -> list[float]:
    """The score of each question's answer; one request each. What the model raises is raised."""
    answer = dspy.Predict(Answer)

    def one(question: Question, remembered: Sequence[str]) -> float:
        said = answer(remembered=list(remembered), question=question.text, lm=lm).answer
        return score(question, said or "")

    with ThreadPoolExecutor(num_threads) as pool:
        return list(pool.map(one, asked, contexts))


def score(question: Question, said: str) -> float:
    """From 0 to 1."""
    if question.category == "adversarial":
        return float(any(words in said.lower() for words in UNANSWERABLE))
    if question.category == "multi_hop":
        given = said.split(",")
        return fmean(max(f1(one, wanted) for one in given) for wanted in question.answer.split(","))
    gold = question.answer.partition(";")[0] if question.category == "open_domain" else question.answer
    return f1(said, gold)


def f1(said: str, gold: str) -> float:
    """Overlap of stems: the harmonic mean of precision and recall."""
    ours, theirs = _stems(said), _stems(gold)
    shared = (ours & theirs).total()
    return 2 * shared / (ours.total() + theirs.total()) if shared else 0.0


def _stems(text: str) -> Counter[str]:
    words = text.lower().translate(_NO_PUNCTUATION).split()
    return Counter(stem(word) for word in words if word not in _LEFT_OUT)
