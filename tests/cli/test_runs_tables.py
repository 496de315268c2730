"""A run as `langmem-dspy show` tells it."""

from __future__ import annotations

from types import SimpleNamespace

from rich.console import Console

from langmem_dspy.cli.runs_tables import story
from langmem_dspy.optimizers.contradictions import Contradiction
from langmem_dspy.optimizers.results import Candidate, DetailedResults, RevisedPrompt
from langmem_dspy.usage import Usage, UsageReport

CANDIDATES = (
    Candidate(0, 0, None, {"sort": "Sort."}, valset_scores={"a": 0.25}, accepted=True, reason="the student"),
    Candidate(
        1,
        1,
        0,
        {"sort": "Sort well."},
        (RevisedPrompt("sort", "Sort.", "Sort well."),),
        valset_scores={"a": 0.75},
        accepted=True,
        reason="GEPA's best",
        lm_calls=390,
    ),
)


def told(**changes) -> str:
    usage = UsageReport(Usage(lm_calls=400))
    results = DetailedResults("r", "GEPA", {}, {}, True, CANDIDATES, 1, (), usage, "budget: lm_calls", **changes)
    history = SimpleNamespace(
        started={"simulated": True},
        finished={"stop_reason": "budget: lm_calls"},
        detailed=results,
        held_out=None,
        score_before=0.25,
        score_after=0.75,
        steps=[],
        seconds=1.0,
    )
    frame = SimpleNamespace(groupby=lambda by, sort: ())
    run = SimpleNamespace(name="GEPA", mlflow_run="f00", status="FINISHED", history=history, examples=lambda: frame)
    console = Console(width=80)
    with console.capture() as caught:
        console.print(*story(run, 5), sep="\n", highlight=False)  # type: ignore[arg-type]
    return caught.get()


def test_a_run_without_steps_is_told_by_its_candidates():
    lines = [line.split() for line in told().splitlines()]
    assert ["0", "0", "0.250", "–", "the", "student"] in lines
    assert ["1", "390", "0.750", "✓", "sort", "GEPA's", "best"] in lines
    assert not any(line[:1] == ["step"] for line in lines)


def test_noise_and_contradictions_are_told_beside_the_figures():
    found = (Contradiction("[always]", "[/never]", ("a",), ("b",)),)
    said = told(noise=0.0512, contradictions=found)
    assert "The metric is noisy" in said and "0.051" in said
    assert "The feedback contradicts itself:" in said and "'[always]' (said of a) against '[/never]'" in said
    assert "noisy" not in told() and "contradicts" not in told()
