"""Examples and descriptions of tools change as instructions do: by lessons, tried by what happens without them."""

from __future__ import annotations

import dspy
import pytest
from fakes import chat, fake_lm

from langmem_dspy.errors import InputError
from langmem_dspy.optimizers.kinds import GradientOptimizer
from langmem_dspy.optimizers.parts import read_parts
from langmem_dspy.optimizers.prompts import read_prompts, with_prompts


def search(query: str) -> str:
    """Find things."""
    return query


def worker(text: str) -> str:
    if "recommendations" in text:
        return chat(analysis="", recommendations="[]", change_warranted="False")
    question = text.rsplit("[[ ## question ## ]]\n", 1)[-1].split("\n")[0]
    shown = "[[ ## answer ## ]]\nEASY" in text  # an example of how answers look
    return chat(answer=question.upper() if shown or question == "easy" else question)


def is_upper(gold, pred, trace=None) -> float:
    return float(pred.answer.isupper())


EXAMPLES = [dspy.Example(question=q).with_inputs("question") for q in ("easy", "hard", "harder", "hardest")]


@pytest.mark.filterwarnings("ignore:no valset")
@pytest.mark.parametrize("change", [("instructions", "demos"), ("demos",)])
def test_an_example_that_helps_is_shown_to_the_predictor_from_then_on(change):
    student = dspy.Predict("question -> answer")
    with dspy.context(lm=fake_lm(worker)):
        optimizer = GradientOptimizer(metric=is_upper, change=change, callbacks=[lambda event: None])
        compiled = optimizer.compile(student, trainset=EXAMPLES)
    assert [demo.toDict() for demo in compiled.demos] == [{"question": "easy", "answer": "EASY"}]
    assert student.demos == []
    assert compiled.detailed_results.changed == ["self:demos"]
    assert "EASY" in compiled.detailed_results.diff()
    loaded = dspy.Predict("question -> answer")
    loaded.load_state(compiled.dump_state())
    assert len(loaded.demos) == 1


@pytest.mark.filterwarnings("ignore:no valset")
def test_examples_are_not_touched_by_default():
    with dspy.context(lm=fake_lm(worker)):
        optimizer = GradientOptimizer(metric=is_upper, callbacks=[lambda event: None])
        compiled = optimizer.compile(dspy.Predict("question -> answer"), trainset=EXAMPLES)
    assert compiled.demos == []


def test_a_description_of_a_tool_is_read_and_written_where_the_agent_reads_it():
    agent = dspy.ReAct("question -> answer", tools=[search])
    assert read_parts(agent, ("tools",)) == {"react:tool:search": "Find things."}
    texts = {prompt["name"]: prompt["prompt"] for prompt in read_prompts(agent)}
    changed = with_prompts(agent, {**texts, "react:tool:search": "Find by name."})
    assert changed.tools["search"].desc == "Find by name."
    assert "Find by name." in changed.react.signature.instructions
    assert agent.tools["search"].desc == "Find things."
    assert "Find things." in agent.react.signature.instructions


@pytest.mark.parametrize("change", ["demos", (), ("demo",)])
def test_what_may_change_is_checked(change):
    with pytest.raises(InputError, match="instructions, demos, tools"):
        GradientOptimizer(metric=is_upper, change=change)
