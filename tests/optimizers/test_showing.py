"""How results look: frames, pictures, notebook and terminal; and what notebooks are told about credit."""

from __future__ import annotations

import pytest

from langmem_dspy.errors import InputError
from langmem_dspy.optimizers.comparison import Comparison, Row
from langmem_dspy.optimizers.contradictions import Contradiction
from langmem_dspy.optimizers.lessons import Lesson
from langmem_dspy.optimizers.results import Candidate, DetailedResults, RevisedPrompt
from langmem_dspy.usage import Budget, Usage, UsageReport

BEFORE, AFTER = "Answer in one <b>word</b>.", "Answer in two <b>words</b>.\nSay {name}."


def results(**changes):
    revision = RevisedPrompt("first", BEFORE, AFTER, "too short")
    candidates = (
        Candidate(0, 0, None, {"first": BEFORE, "second": "x"}, valset_scores={"a": 0.0, "b": 1.0}, accepted=True),
        Candidate(
            1, 1, 0, {"first": AFTER, "second": "x"}, (revision,), {"t": 0.5}, {"a": 1.0, "b": 0.5}, True, "fits", 40
        ),
    )
    lesson = Lesson("first", "Say {name}.", evidence=("t",), step=1, fate="in force", gain=0.5, tried_on=("t",))
    plain = {
        "run_id": "r",
        "optimizer": "Gradient",
        "settings": {},
        "models": {},
        "simulated": True,
        "candidates": candidates,
        "best_index": 1,
        "credit": ({"first": 1.0}, {}),
        "usage": UsageReport(Usage(lm_calls=90)),
        "stop_reason": "max_steps",
        "lessons": (lesson,),
    }
    return DetailedResults(**{**plain, **changes})


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.findobj() if hasattr(text, "get_text")]


def test_each_table_of_results_is_a_frame():
    found = results()
    assert found.to_frame().loc[1, "lm_calls"] == 40
    assert found.to_frame("lessons")["fate"].tolist() == ["in force"]
    assert found.to_frame("credit").loc[1].to_dict() == {"first": 1.0, "second": 0.0}
    with pytest.raises(InputError, match="choose from candidates, lessons"):
        found.to_frame("everything")


def test_the_example_that_lost_most_stands_first():
    frame = results().to_frame("examples")
    assert frame["example"].tolist() == ["b", "a"] and frame["change"].tolist() == [-0.5, 1.0]


def test_frames_without_rows_have_their_columns():
    assert "gain" in results(lessons=()).to_frame("lessons").columns
    assert results(credit=()).to_frame("credit").columns.tolist() == ["first", "second"]


def test_a_notebook_shows_escaped_texts_and_which_step_and_lesson_a_line_is_from():
    page = results()._repr_html_()
    assert "<b>word" not in page and "&lt;b&gt;" in page
    assert "step 1" in page and "Say {name}." in page and "+0.500" in page and "Unchanged: second" in page
    assert "Offline simulation" in page and "Offline simulation" not in results(simulated=False)._repr_html_()


def test_words_that_changed_are_marked_in_a_revision():
    page = RevisedPrompt("p", BEFORE, AFTER)._repr_html_()
    assert "<del>one</del>" in page and "<ins>two</ins>" in page


def test_many_contradictions_are_counted_and_the_first_are_shown():
    found = tuple(Contradiction(f"say {i}", f"never {i}", ("a",), ("b",)) for i in range(9))
    page = results(contradictions=found)._repr_html_()
    assert "9 times" in page and "say 4" in page and "say 5" not in page and "and 4 more" in page


def test_a_noisy_metric_is_told_of_where_the_figures_stand():
    assert "noisy" not in results()._repr_html_()
    told = "of one and the same prediction its standard deviation is 0.051"
    assert told in results(noise=0.0512)._repr_html_() and told in printed(results(noise=0.0512))


def test_a_terminal_shows_contradictions_too():
    found = (Contradiction("say [b]", "never [/b]", ("a",), ("b",)),)
    assert "The feedback contradicts itself:\n  'say [b]'" in printed(results(contradictions=found))


def printed(shown) -> str:
    from rich.console import Console

    console = Console(width=160)
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


def test_a_terminal_shows_the_same_without_html():
    shown = printed(results())
    assert "0.500 -> 0.750" in shown and "<b>word</b>" in shown and "Say {name}." in shown and "&lt;" not in shown


def test_a_plot_holds_the_pictures_there_is_something_to_show_in():
    assert len(results().plot().axes) == 3
    assert len(results(credit=({},)).plot().axes) == 2
    assert len(results().plot("credit").axes) == 1


def test_train_and_validation_are_drawn_apart_over_what_was_spent():
    axes = results().plot("scores").axes[0]
    labels = axes.get_legend_handles_labels()[1]
    assert {"best, validation", "candidate, validation", "candidate, train minibatch"} <= set(labels)
    assert list(axes.get_lines()[0].get_xdata()) == [0, 40, 90]  # to the end of the run, where the best still held
    assert list(axes.get_lines()[0].get_ydata()) == [0.5, 0.75, 0.75]
    with pytest.raises(InputError, match="over='calls'"):
        results().plot(over="calls")


def test_a_run_without_a_metric_is_drawn_as_one():
    bare = Candidate(0, 0, None, {"first": BEFORE})
    figure = results(candidates=(bare,), best_index=0, credit=(), lessons=()).plot()
    assert any("nothing to draw" in text for text in texts(figure))


def row(name, seed, curve=()):
    return Row(name, "desk", seed, 0.2, 0.8 + seed / 10, 100, 5, 1, True, 1.0, "done", "r", curve)


def test_a_comparison_is_drawn_as_curves_where_they_were_measured_and_as_ends_where_not():
    steps = ((0.0, 0.2), (50.0, 0.6), (100.0, 0.8))
    rows = (row("ours", 0, steps), row("ours", 1, steps), row("peer", 0), row("peer", 1))
    axes = Comparison(rows, Budget(), {"task": "m", "reflection": "m"}, True).plot().axes[0]
    ours, peer = axes.get_lines()[:2]
    assert len(ours.get_xdata()) > 100 and list(peer.get_xdata()) == [0, 100]
    assert peer.get_ydata()[1] == pytest.approx(0.85)


def test_a_plot_shows_itself_in_a_notebook():
    assert results().plot("scores")._repr_png_().startswith(b"\x89PNG")
