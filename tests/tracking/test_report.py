from __future__ import annotations

import json

import made_runs

from langmem_dspy.tracking.charts import heat_map, score_chart
from langmem_dspy.tracking.diffs import diff_html
from langmem_dspy.tracking.examples import example_rows, example_table
from langmem_dspy.tracking.history import RunHistory
from langmem_dspy.tracking.report import report_html
from langmem_dspy.tracking.spool import encode


def told(*, finished: bool = True) -> RunHistory:
    history = RunHistory()
    for event in [*made_runs.events("run"), made_runs.held_out("run")]:
        if finished or type(event).__name__ not in ("CompileFinished", "HeldOutEvaluated"):
            history.add(json.loads(encode(event)))
    return history


def test_the_report_needs_nothing_else() -> None:
    page = report_html(told())

    assert not any(loaded in page for loaded in ("src=", "href=", "@import", "http://", "https://"))


def test_the_report_tells_the_whole_story() -> None:
    page = report_html(told())

    for word in ("0.500", "0.833", "129", "42,000", "max_steps", "Unchanged: sign", "step 3", "TimeoutError", "0.75"):
        assert word.removeprefix("0") in page, word
    assert "these figures say nothing about real models" in page


def test_noise_and_contradictions_are_told_beside_the_figures() -> None:
    history = told()
    assert "believing" not in report_html(history)
    both = {"first": "<always>", "second": "never", "first_examples": ["a"], "second_examples": ["b"]}
    history.finished = {**history.finished, "result": {**history.result, "noise": 0.05, "contradictions": [both]}}

    page = report_html(history)

    assert "is 0.050" in page and "&lt;always&gt;" in page and "contradicts itself" in page


def test_prompts_are_shown_as_text_and_never_as_markup() -> None:
    page = report_html(told())

    assert "&lt;b&gt;tags&lt;/b&gt;" in page and "<b>tags</b>" not in page
    assert "{{literal}}" in page and "{customer}" in page


def test_a_run_that_broke_off_is_told_as_far_as_it_came() -> None:
    history = told(finished=False)
    history.finished = {"event": "CompileFinished", "at": 0, "stop_reason": "error", "error": "Boom: <gone>"}

    page = report_html(history)

    assert "Boom: &lt;gone&gt;" in page
    assert "better on the validation set" in page


def test_each_new_line_names_the_step_that_brought_it_in() -> None:
    page = diff_html("old", "old\nfirst\nsecond", {"old": 0, "first": 1, "second": 4})

    assert page.index("first") < page.index("step 1") < page.index("second") < page.index("step 4")
    assert "step 0" not in page


def test_words_that_changed_in_a_line_are_marked() -> None:
    page = diff_html("Answer with one word, please.", "Answer with two words, please.", {})

    assert "<del>one word</del>" in page or ("<del>one</del>" in page and "<ins>two</ins>" in page)
    assert page.count("please.") == 2


def test_a_line_that_was_replaced_is_not_marked_word_by_word() -> None:
    page = diff_html("Sort the ticket.", "Never promise a date to anyone.", {})

    assert "<del>" not in page and "<ins>" not in page


def test_a_prompt_of_a_million_characters_is_compared_in_time() -> None:
    lines = [f"rule {number}: if x{number} then y" for number in range(30_000)]

    page = diff_html("\n".join(lines), "\n".join([*lines[:100], "new", *lines[101:]]), {})

    assert page.count('class="line new"') == 1


def test_credit_is_a_heat_map_by_predictor_and_step() -> None:
    page = heat_map([{"a": 1.0}, {"b": 0.25}], ["a", "b", "never blamed"])

    assert page.count("<tr>") == 4
    assert "rgba(207,34,46,1.0)" in page and "rgba(207,34,46,0.25)" in page
    assert heat_map([{}, {}], ["a"]) == ""


def test_a_run_without_scores_has_no_chart() -> None:
    assert score_chart([], []) == ""


def test_examples_fixed_and_broken_are_told_apart() -> None:
    rows = example_rows({"a": 0.0, "b": 1.0, "c": 0.5, "d": 1.0}, {"a": 1.0, "b": 0.0, "c": 0.5})

    assert {row.example: row.change for row in rows} == {"a": "fixed", "b": "broken", "c": "same", "d": "unknown"}
    assert rows[0].example in ("b", "d")


def test_the_table_has_the_form_that_mlflow_compares() -> None:
    table = example_table(told().examples)

    assert table["columns"] == ["split", "example", "change", "baseline", "best"]
    assert ["validation", "case 0", "broken", 1.0, 0.0] in table["data"]
    assert ["held out", "t2", "fixed", 0.0, 0.5] in table["data"]
