"""Progress: a line a step where lines are wanted, one output in a notebook, nothing in a log that did not ask."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from langmem_dspy.events import CandidateEvaluated, CompileFinished, CompileStarted, StepFinished
from langmem_dspy.optimizers import Progress
from langmem_dspy.optimizers.notebook_progress import NotebookBar, NotebookProgress, in_notebook
from langmem_dspy.optimizers.progress import comparison_progress, default_listeners

SIZES = {"train": {"size": 3}, "val": {"size": 2}}
EVENTS = [
    CompileStarted("r", "Gradient", {}, {}, True, {"p": "text"}, SIZES),
    CandidateEvaluated("r", 0, 0, "valset", 0.25, (0.25,), ("a",)),
    *(StepFinished("r", i, i, 0, True, "[helps] <b>", 0.1, 0.2, 0.5, 0.5, {}, i * 10, 0, 0.0) for i in range(1, 40)),
    CompileFinished("r", "max_steps", {"candidates": [{"score": 0.25}, {"score": 0.5}], "best_index": 1}),
]


def written(console_kind: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=console_kind, width=70)


@pytest.fixture
def displayed(tmp_path):
    """What a notebook would be sent: the first output, and what replaces it."""
    Shell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell
    from IPython.utils.capture import capture_output
    from traitlets.config import Config

    Shell.instance(config=Config({"HistoryManager": {"enabled": False}}), ipython_dir=str(tmp_path))
    yield capture_output
    Shell.clear_instance()


def test_a_log_gets_plain_lines_one_for_each_step():
    console = written(False)
    for event in EVENTS:
        Progress(console)(event)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == len(EVENTS) and "\x1b" not in console.file.getvalue()
    assert "[helps] <b>" in lines[2] and lines[-1].strip() == "stopped: max_steps"


def test_a_notebook_gets_one_output_that_is_brought_up_to_date(displayed):
    with displayed() as seen:
        progress = NotebookProgress()
        for event in EVENTS:
            progress(event)
    assert [output.update for output in seen.outputs].count(False) == 1
    last = seen.outputs[-1].data
    assert "Gradient (offline simulation) | 0.250 → 0.500 | stopped: max_steps" in last["text/plain"]
    assert "<b>" not in seen.outputs[-2].data["text/html"]


def test_a_comparison_in_a_notebook_leaves_one_line(displayed):
    with displayed() as seen:
        bar = NotebookBar(2)
        for line in ("first", "second"):
            bar.tell("step 1")
            bar.advance(line)
        bar.end()
    assert [output.update for output in seen.outputs].count(False) == 1
    assert "first" in seen.outputs[-2].data["text/html"]
    assert seen.outputs[-1].data["text/plain"].startswith("2 of 2 runs in")


def test_ipython_in_a_terminal_is_no_notebook(displayed):
    assert not in_notebook()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_compile_within_a_comparison_tells_its_steps_beside_the_bar(terminal):
    console = written(terminal)
    with comparison_progress(console, 1) as ended:
        (listener,) = default_listeners()
        for event in EVENTS:
            listener(event)
        ended("gradient seed 0")
    lines = [line for line in console.file.getvalue().splitlines() if "gradient seed 0" in line]
    assert len(lines) == 1
    assert terminal or "helps" not in console.file.getvalue()


def test_nobody_who_looks_means_no_output(capfd):
    with comparison_progress(None, 1) as ended:
        ended("gradient seed 0")
        assert default_listeners() == []
    assert capfd.readouterr() == ("", "")
