"""How runs and blame look in a notebook and in a terminal."""

from __future__ import annotations

from rich.console import Console

from langmem_dspy import Blame, Step, Trajectory
from langmem_dspy.messages import read_messages
from langmem_dspy.optimizers.credit import Credit

RUN = Trajectory(
    "t1",
    read_messages([{"role": "user", "content": "<hi> [bold]"}]),
    (Step("draft", {"text": "a"}, {"answer": "x" * 300}), Step("send", {"text": "b"}, error="it <broke>")),
    "too long",
    {"draft": "shorter"},
    0.5,
)


def printed(value) -> str:
    console = Console(width=400)
    with console.capture() as capture:
        console.print(value)
    return capture.get()


def test_a_run_in_a_notebook_is_escaped_and_its_steps_are_folded_but_whole():
    page = RUN._repr_html_()
    assert "score 0.50" in page and "&lt;hi&gt;" in page and "it &lt;broke&gt;" in page
    assert page.count("<details>") == 3 and "x" * 300 in page and "shorter" in page


def test_a_run_in_a_terminal_shows_brackets_as_they_are():
    shown = printed(RUN)
    assert "<hi> [bold]" in shown and "failed: it <broke>" in shown and "feedback for draft: shorter" in shown


def test_blame_is_a_map_of_prompts_over_the_runs_it_rests_on():
    page = Credit(blame=[Blame("a", "<why>", ("t1", "t2")), Blame("b", "so", ("t2",))], dropped=[])._repr_html_()
    assert "&lt;why&gt;" in page and page.count("rgba(207,34,46,1.0)") == 3
    assert "nobody is blamed" in Credit(blame=[], dropped=[])._repr_html_()
    assert "a: <why>  (t1)" in printed(Credit(blame=[Blame("a", "<why>", ("t1",))], dropped=[]))
