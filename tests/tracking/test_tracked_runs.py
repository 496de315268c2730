from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dspy
import made_runs
import pytest
from dspy.teleprompt import Teleprompter

from langmem_dspy import tracking
from langmem_dspy.errors import InputError, TrackingError
from langmem_dspy.events import Announcer, CompileFinished, Event, StepFinished

Announce = Callable[..., None]


class MadeOptimizer(Teleprompter):
    """Announces a made run inside a compile, as PromptOptimizer does."""

    def __init__(self, run_id: str, told: Sequence[Event] | None = None) -> None:
        super().__init__()
        self.run_id, self.told = run_id, told

    def compile(self, student: dspy.Module, *, trainset: Any = (), **kwargs: Any) -> dspy.Module:
        announce = Announcer()
        for event in self.told if self.told is not None else made_runs.events(self.run_id):
            announce(event)
        return made_runs.compiled_desk()


def client(store: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=store)


def runs(store: str, experiment: str = "langmem-dspy") -> list[Any]:
    reader = client(store)
    found = reader.get_experiment_by_name(experiment)
    return list(reader.search_runs([found.experiment_id])) if found else []


def artifacts(store: str, run: Any) -> Path:
    return Path(client(store).download_artifacts(run.info.run_id, ""))


def test_a_compile_is_one_run_with_all_of_it(store: str) -> None:
    with tracking.enable():
        MadeOptimizer("one").compile(made_runs.Desk())

    (run,) = runs(store)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["eval/best_score"] == pytest.approx(5 / 6)
    assert run.data.metrics["predictor_credit/draft"] == 1.0
    assert run.data.params["seed"] == "0" and run.data.params["data.val.digest"] == "bbbb2222"
    assert run.data.tags["stop_reason"] == "max_steps" and run.data.tags["simulated"] == "yes"
    assert "simulated" in run.info.run_name
    history = client(store).get_metric_history(run.info.run_id, "eval/best_score")
    assert [(point.step, round(point.value, 2)) for point in history] == [(0, 0.5), (1, 0.67), (2, 0.67), (3, 0.83)]
    files = {str(f.relative_to(artifacts(store, run))) for f in artifacts(store, run).rglob("*") if f.is_file()}
    assert files == {
        "report.html",
        "examples.json",
        "events.jsonl",
        "prompts/before.json",
        "prompts/after.json",
        "program/best.json",
    }


def test_the_best_program_is_loaded_in_one_line(store: str) -> None:
    with tracking.enable():
        MadeOptimizer("one").compile(made_runs.Desk())

    program = made_runs.Desk()
    program.load(artifacts(store, runs(store)[0]) / "program/best.json")

    assert program.classify.signature.instructions == made_runs.CLASSIFY_2


def test_examples_are_a_table_that_mlflow_reads(store: str) -> None:
    with tracking.enable():
        MadeOptimizer("one").compile(made_runs.Desk())

    (run,) = runs(store)
    table = client(store).load_table(run.info.experiment_id, "examples.json", run_ids=[run.info.run_id])

    assert set(table["change"]) == {"fixed", "broken", "same"}


def test_scores_on_held_out_examples_come_after_the_end(store: str, announce: Announce) -> None:
    with tracking.enable() as handle:
        MadeOptimizer("one").compile(made_runs.Desk())
        assert handle.flush(30)
        announce(made_runs.held_out("one"))

    (run,) = runs(store)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["heldout/score_after"] == pytest.approx(2.5 / 3)
    assert run.data.tags["problem"] == "support desk"
    assert "held out" in (artifacts(store, run) / "examples.json").read_text()


def test_compiles_in_several_threads_are_kept_apart(store: str, users_mlflow: Any) -> None:
    with tracking.enable(), users_mlflow.start_run():  # a run of the user's own must not become theirs
        threads = [
            threading.Thread(target=MadeOptimizer(f"run {number}").compile, args=(made_runs.Desk(),))
            for number in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    found = runs(store)
    assert sorted(run.data.tags["langmem_dspy.run_id"] for run in found) == [f"run {number}" for number in range(4)]
    assert not any("mlflow.parentRunId" in run.data.tags for run in found)
    assert all((artifacts(store, run) / "program/best.json").exists() for run in found)


def test_a_run_announced_around_another_optimizers_compile_gets_its_program(store: str, announce: Announce) -> None:
    first, *steps, last = made_runs.events("peer")
    with tracking.enable():
        announce(first)
        MadeOptimizer("not announced", []).compile(made_runs.Desk())
        announce(*steps, last)

    (run,) = runs(store)
    assert run.data.tags["program"].startswith("Desk-")
    assert (artifacts(store, run) / "program/best.json").exists()


def test_a_run_that_fails_is_marked_so(store: str, announce: Announce) -> None:
    *told, _ = made_runs.events("failed")
    with tracking.enable():
        announce(*told, CompileFinished("failed", "error", None, "EvaluationError: the metric always raises"))

    (run,) = runs(store)
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == "EvaluationError: the metric always raises"
    assert "the metric always raises" in (artifacts(store, run) / "report.html").read_text()


def test_a_run_that_never_ends_does_not_look_under_way(store: str, announce: Announce) -> None:
    with tracking.enable():
        announce(*list(made_runs.events("cut"))[:5])

    (run,) = runs(store)
    assert run.info.status == "KILLED"
    assert run.data.tags["stop_reason"] == "interrupted"


def test_a_run_that_goes_on_after_a_kill_stays_one_run(store: str, announce: Announce) -> None:
    with tracking.enable():
        announce(*list(made_runs.events("again"))[:5])
    resumed = list(made_runs.beginning("again", max_steps=99))[:1] + list(made_runs.events("again"))[1:]
    with tracking.enable():
        announce(*resumed)

    (run,) = runs(store)
    assert run.info.status == "FINISHED"
    assert run.data.tags["stop_reason"] == "max_steps"
    points = client(store).get_metric_history(run.info.run_id, "eval/best_score")
    assert [point.step for point in points] == [0, 1, 2, 3]


def test_enabling_twice_is_enabling_once(store: str) -> None:
    with tracking.enable() as handle:
        assert tracking.enable() is handle
        other = tracking.enable("another experiment")
        assert not handle.enabled and other.enabled
        MadeOptimizer("one").compile(made_runs.Desk())
        other.disable()

    assert runs(store) == [] and len(runs(store, "another experiment")) == 1


def test_nothing_is_left_behind_in_dspy_once_it_is_off(store: str) -> None:
    before = list(dspy.settings.callbacks)
    with tracking.enable():
        assert len(dspy.settings.callbacks) > len(before)

    assert dspy.settings.callbacks == before
    MadeOptimizer("unseen").compile(made_runs.Desk())
    assert runs(store) == []


def test_a_thread_that_may_not_configure_dspy_still_tracks(
    store: str, announce: Announce, caplog: pytest.LogCaptureFixture
) -> None:
    dspy.configure(callbacks=list(dspy.settings.callbacks))  # this thread owns DSPy's settings from now on
    thread = threading.Thread(target=tracking.enable)
    thread.start()
    thread.join()
    announce(*made_runs.events("one"))
    tracking.enable().disable()

    assert len(runs(store)) == 1
    assert "program/best.json" in caplog.text


def test_a_callback_that_is_not_heard_is_not_missed_silently(
    store: str, announce: Announce, caplog: pytest.LogCaptureFixture
) -> None:
    with dspy.context(lm=None), tracking.enable():  # DSPy's context has settled the callbacks already
        MadeOptimizer("one").compile(made_runs.Desk())
        MadeOptimizer("two").compile(made_runs.Desk())

    assert caplog.text.count("before `with dspy.context(...)`") == 1
    assert len(runs(store)) == 2


def test_mlflows_own_variables_are_honoured(
    store: str, announce: Announce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "mlflow.db").rename(elsewhere / "named.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere / 'named.db'}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "by variable")
    with tracking.enable():
        announce(*made_runs.events("one"))

    (run,) = runs(f"sqlite:///{elsewhere / 'named.db'}", "by variable")
    assert str(elsewhere) in run.info.artifact_uri


def test_the_git_commit_of_the_users_folder_is_a_param(store: str, announce: Announce, tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True, capture_output=True)
    with tracking.enable():
        announce(*made_runs.events("one"))

    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert runs(store)[0].data.params["git_commit"] == commit.stdout.strip()


def test_a_million_characters_and_lone_surrogates_arrive(store: str, announce: Announce) -> None:
    found = made_runs.results("big")
    prompts = {**made_runs.BEFORE, "classify": "x" * 1_000_000, "draft": "half \ud83d of a pair"}
    candidates = tuple(type(c)(**{**vars(c), "prompts": prompts, "revisions": ()}) for c in found.candidates)
    result = type(found)(**{**vars(found), "candidates": candidates}).to_dict()
    with tracking.enable() as handle:
        announce(*made_runs.beginning("big"), CompileFinished("big", "done\ud800", result))
        assert handle.flush(60)

    assert runs(store)[0].info.status == "FINISHED"


def test_replaying_what_has_arrived_changes_nothing(store: str, tmp_path: Path) -> None:
    with tracking.enable():
        MadeOptimizer("one").compile(made_runs.Desk())

    assert tracking.replay().already_there == ("one",)
    (tmp_path / ".langmem/runs/one/delivered.json").unlink()  # as if the process had died before noting it
    assert tracking.replay().delivered == ("one",)

    (run,) = runs(store)
    points = client(store).get_metric_history(run.info.run_id, "eval/best_score")
    assert [point.step for point in points] == [0, 1, 2, 3]
    assert len(client(store).search_prompt_versions(f"{run.data.tags['program']}.classify")) == 2


def test_a_store_that_was_made_anew_is_filled_again(store: str, announce: Announce, tmp_path: Path) -> None:
    empty = (tmp_path / "mlflow.db").read_bytes()
    with tracking.enable():
        announce(*made_runs.events("one"))
    (tmp_path / "other.db").write_bytes(empty)
    note = tmp_path / ".langmem/runs/one/delivered.json"
    note.write_text(note.read_text().replace("mlflow.db", "other.db"))

    assert tracking.replay(tracking_uri="other.db").delivered == ("one",)


def test_a_replay_of_nothing_says_what_it_wants(store: str) -> None:
    with pytest.raises(InputError, match="give a run's folder"):
        tracking.replay("nowhere")


def test_a_run_that_cannot_be_delivered_keeps_no_other_back(store: str, announce: Announce, tmp_path: Path) -> None:
    with tracking.enable(tracking_uri="sqlite:////dev/null/no.db") as handle:
        announce(*made_runs.events("good"), *made_runs.events("bad"))
        assert not handle.flush(30)
    (tmp_path / ".langmem/runs/bad/events.jsonl").write_text('{"event": "CompileStarted"}\n')

    done = tracking.replay()

    assert done.delivered == ("good",)
    assert list(done.failed) == ["bad"]


def test_runs_are_compared_in_a_table(store: str, announce: Announce) -> None:
    with tracking.enable():
        announce(*made_runs.events("first"))
        announce(*made_runs.events("second", after=1.0, simulated=False), made_runs.held_out("second"))

    table = tracking.compare()

    assert set(table["run"]) == {"first", "second"}
    second = table.set_index("run").loc["second"]
    assert (second["score_before"], second["score_after"], second["heldout_before"]) == (0.5, 1.0, pytest.approx(1 / 3))
    assert (second["lm_calls"], second["tokens"], second["prompts_changed"]) == (129, 42_000, 2)
    assert (second["seconds"], second["seed"], second["simulated"]) == (12.5, 0, False)
    assert list(tracking.compare(["second", "first"])["run"]) == ["second", "first"]
    with pytest.raises(TrackingError, match="no run 'third' at"):
        tracking.compare("third")
    with pytest.raises(TrackingError, match="no experiment 'none'"):
        tracking.compare(experiment="none")


def test_importing_it_costs_no_mlflow() -> None:
    code = "import sys, langmem_dspy.tracking; sys.exit('mlflow' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_optimizers_thread_pays_next_to_nothing(store: str, caplog: pytest.LogCaptureFixture) -> None:
    step = next(event for event in made_runs.events("one") if isinstance(event, StepFinished))
    with tracking.enable(), caplog.at_level(logging.ERROR):
        announce = Announcer()
        announce(next(made_runs.beginning("one")))
        began = time.thread_time()
        for _ in range(1000):
            announce(step)
        spent = time.thread_time() - began

    assert spent / 1000 < 0.00025  # CPU seconds an event
    spooled = Path(".langmem/runs/one/events.jsonl").read_text().splitlines()
    assert len(spooled) == 1001 and json.loads(spooled[-1])["step"] == step.step
