from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import made_runs
import pytest

from langmem_dspy.events import CandidateEvaluated, Event, StepFinished
from langmem_dspy.tracking.history import RunHistory
from langmem_dspy.tracking.identity import program_name, prompt_names
from langmem_dspy.tracking.measures import (
    closing_tags,
    description,
    params_of,
    points_of,
    run_name,
    summary_of,
    tags_of,
)
from langmem_dspy.tracking.spool import encode


def plain(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encode(event))
    return found


def history(run_id: str = "run") -> RunHistory:
    told = RunHistory()
    for event in made_runs.events(run_id):
        told.add(plain(event))
    return told


def a_step(**changes: Any) -> StepFinished:
    step = StepFinished("run", 3, 3, 1, True, "better", 0.4, 0.7, 0.8, 0.8, {"classify": 0.5}, 90, 27_000, 0.03)
    return replace(step, **changes)


def values(event: Event) -> dict[str, float]:
    return {point.key: point.value for point in points_of(plain(event), RunHistory())}


def test_a_step_becomes_the_promised_metrics() -> None:
    assert values(a_step()) == {
        "eval/best_score": 0.8,
        "eval/best_score_by_lm_calls": 0.8,
        "eval/candidate_score": 0.8,
        "eval/train_before": 0.4,
        "eval/train_after": 0.7,
        "lm/calls": 90,
        "lm/tokens": 27_000,
        "lm/cost_usd": 0.03,
        "predictor_credit/classify": 0.5,
        "step/accepted": 1.0,
    }


def test_the_best_score_is_the_first_chart() -> None:
    keys = [*values(a_step()), *summary_of(history()), *values(made_runs.held_out("run"))]

    assert min(keys) == "eval/best_score"


def test_what_is_not_known_is_left_out_and_never_a_zero() -> None:
    step = a_step(candidate_score=None, train_after=None, cost=float("nan"))

    assert not {"eval/candidate_score", "eval/train_after", "lm/cost_usd"} & values(step).keys()


def test_only_the_student_on_the_validation_set_is_the_first_point() -> None:
    scored = CandidateEvaluated("run", 0, 0, "valset", 0.5, (0.5,), ("a",))

    curves = dict.fromkeys(("eval/best_score", "eval/best_score_by_lm_calls", "eval/candidate_score"), 0.5)
    assert values(scored) == {**curves, "lm/calls": 0, "lm/tokens": 0}  # from where nothing was spent
    assert values(replace(scored, split="minibatch")) == {}
    assert "eval/best_score" not in values(replace(scored, candidate=2))


def test_points_carry_the_time_of_their_event() -> None:
    event = a_step()

    assert {point.at for point in points_of(plain(event), RunHistory())} == {int(event.at * 1000)}


@pytest.mark.parametrize("name", ["agents[0].predict", "naïve", "a b/c"])
def test_predictors_of_any_name_make_keys_that_mlflow_takes(name: str) -> None:
    (key,) = (key for key in values(a_step(credit={name: 1.0})) if key.startswith("predictor_credit/"))

    assert re.fullmatch(r"[\w./ :-]+", key, re.ASCII)


def test_a_finished_run_is_summed_up() -> None:
    summary = summary_of(history())

    assert summary["run/score_before"] == 0.5
    assert summary["run/score_after"] == pytest.approx(5 / 6)
    assert summary["run/improvement"] == pytest.approx(1 / 3)
    assert (summary["run/prompts_changed"], summary["run/steps"], summary["run/seconds"]) == (2, 3, 12.5)
    assert (summary["lm/calls"], summary["lm/tokens"]) == (129, 42_000)


def best_scores(told: RunHistory) -> list[tuple[int, float]]:
    points = points_of(told.finished, told)
    return [(point.step, round(point.value, 2)) for point in points if point.key == "eval/best_score"]


def test_an_optimizer_that_tells_no_steps_still_has_a_curve() -> None:
    told = history()
    told.steps = []

    assert best_scores(told) == [(0, 0.5), (1, 0.67), (3, 0.83)]


def test_scores_found_out_at_the_end_belong_to_the_steps_that_brought_them() -> None:
    told = history()
    for step in told.steps:
        step["best_score"] = step["candidate_score"] = None
    told.steps.append({**told.steps[-1], "step": 5, "candidate": None})
    late = plain(CandidateEvaluated("run", 5, 3, "valset", 0.83, (0.83,), ("a",)))

    assert best_scores(told) == [(0, 0.5), (1, 0.67), (3, 0.83), (5, 0.83)]
    assert [(point.key, point.step) for point in points_of(late, told)] == [("eval/candidate_score", 3)]


def test_settings_models_and_data_become_params() -> None:
    params = params_of(history().started, "abc123+changes")

    assert params["optimizer"] == "MultiPromptOptimizer"
    assert params["budget.lm_calls"] == "400"
    assert params["model.task"] == "offline/simulation-middle"
    assert params["data.val.digest"] == "bbbb2222"
    assert (params["seed"], params["git_commit"]) == ("0", "abc123+changes")


def test_values_too_long_or_strange_for_mlflow_are_made_to_fit() -> None:
    started = {**history().started, "settings": {"long": "x" * 10_000, "strange": "\ud800\0"}}
    params = params_of(started, None)

    assert len(params["long"]) == 6000 and params["long"].endswith("…")
    assert params["strange"].encode() == b"?"


def test_a_simulated_run_says_so_everywhere() -> None:
    started = history().started
    tags = tags_of(started, {"simulation_fingerprint": "f00d"})

    assert (tags["simulated"], tags["simulation_fingerprint"]) == ("yes", "f00d")
    assert "simulated" in run_name(started)
    assert "nothing about real models" in description(started)
    assert "nothing about real models" in closing_tags(history())["mlflow.note.content"]


def test_a_real_run_does_not_look_simulated() -> None:
    started = {**history().started, "simulated": False}

    assert tags_of(started, {})["simulated"] == "no"
    assert "simulat" not in run_name(started) + description(started)


def test_a_failed_run_tells_why() -> None:
    told = history()
    told.finished = {**told.finished, "stop_reason": "error", "error": "EvaluationError: all failed", "result": None}

    tags = closing_tags(told)

    assert tags["stop_reason"] == "error"
    assert tags["error"] == "EvaluationError: all failed"


def test_a_run_that_goes_on_after_a_kill_is_told_once() -> None:
    told = history()
    for event in made_runs.events("run"):
        told.add(plain(event))

    assert len(told.steps) == 3


def test_results_survive_the_way_through_json() -> None:
    assert history().detailed == made_runs.results("run")


def test_prompt_names_are_allowed_and_distinct() -> None:
    names = prompt_names("Désk-1a2b", ["classify", "agents[0].predict", "agents.0.predict", "", "x y", "x?y"])

    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", name) for name in names.values())
    assert len(set(names.values())) == 6


def test_a_program_keeps_its_name_when_its_prompts_change() -> None:
    class Other(made_runs.Desk):
        pass

    assert program_name(made_runs.Desk()) == program_name(made_runs.compiled_desk())
    assert program_name(made_runs.Desk()) != program_name(Other())
