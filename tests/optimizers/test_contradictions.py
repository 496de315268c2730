"""Feedback that contradicts itself is found by its words, and what only looks alike is left alone."""

from __future__ import annotations

import dspy
import pytest

from langmem_dspy.events import ContradictionFound
from langmem_dspy.optimizers.contradictions import SaidSoFar
from langmem_dspy.optimizers.kinds import GradientOptimizer
from langmem_dspy.optimizers.trajectories import Trajectory
from langmem_dspy.simulation import offline_lm


def contradictions(*feedback: str):
    said = SaidSoFar()
    said.add(Trajectory(f"e{i}", score=0.5, feedback=text) for i, text in enumerate(feedback, 1))
    return said.contradictions()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Always sign with the full name.", "Never sign with the full name!"),
        ('Mention "the daily rate" in `draft`.', 'Leave nothing out, but do not mention "the daily rate" in `draft`.'),
        ('If `plan` is "pro", set `queue` to "a".', '`queue` should have been "b", because `plan` is "pro".'),
        ('Start `reply` with "Hi" when `plan` is "pro".', 'When `plan` is "pro", open `reply` with "Good day".'),
    ],
)
def test_what_cannot_both_be_so_is_found_with_its_quotes_and_examples(first, second):
    (found,) = contradictions(first, second)
    assert (found.first, found.second) == (first, second)
    assert (found.first_examples, found.second_examples) == (("e1",), ("e2",))
    assert first in str(found) and "e2" in str(found)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('If `plan` is "pro", set `queue` to "a".', 'If `plan` is "free", set `queue` to "b".'),
        ('`queue` should have been "a".', '`queue` should have been "b".'),
        ('Mention "x" in `draft` when `plan` is "pro".', 'Mention "y" in `draft` when `plan` is "pro".'),
        ('When `plan` is "pro", start `reply` with "Hi".', 'When `plan` is "pro", end `reply` with "Bye".'),
        ("Not good.", "Good."),
        ("Well done.", "Well done."),
    ],
)
def test_what_may_both_be_so_is_none(first, second):
    assert contradictions(first, second) == []


def test_each_contradiction_is_announced_once():
    said = SaidSoFar()
    one, other = (
        Trajectory(f"e{i}", feedback=f"{word} quote the order number.") for i, word in enumerate(("Always", "Never"))
    )
    assert said.add([one]) == []
    assert len(said.add([other])) == 1
    assert said.add([one, other]) == []


def test_a_compile_shows_the_contradictions_of_its_feedback():
    events = []
    examples = [
        dspy.Example(
            trajectory=[{"role": "user", "content": f"Question {i}"}], feedback=f"{word} quote the order number."
        )
        for i, word in enumerate(("Always", "Never"))
    ]
    lm = offline_lm()
    with dspy.context(lm=lm):
        optimizer = GradientOptimizer(callbacks=[events.append])
        results = optimizer.compile(dspy.Predict("message -> reply"), trainset=examples).detailed_results
    (found,) = results.contradictions
    assert {found.first, found.second} == {f"{word} quote the order number." for word in ("Always", "Never")}
    assert sum(isinstance(event, ContradictionFound) for event in events) == 1
    assert "The feedback contradicts itself" in results._repr_html_()
