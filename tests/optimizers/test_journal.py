"""Killed at any moment and started again, a run asks only what was in flight, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import dspy
import pytest
from fakes import fake_lm
from loopback import Endpoint, text_of_body
from programs import TwoSteps, examples, is_upper, model, one_step, reviewer, wants, worker

from langmem_dspy.errors import JournalError
from langmem_dspy.optimizers import GradientOptimizer
from langmem_dspy.optimizers.journal import FILE_NAME, Journal
from langmem_dspy.usage import Budget

SCRIPT = Path(__file__).with_name("killed_compile.py")
BLAME = '[{"prompt_name": "second", "reason": "it is last", "trajectory_ids": []}]'


def answer(body):
    text = text_of_body(body)
    return worker(text) if "answer" in wants(text) else reviewer(text, blame=BLAME)


def start(endpoint, log_dir, threads):
    command = [sys.executable, str(SCRIPT), endpoint.url, str(log_dir), str(threads)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors[-2000:]
    *_, outcome, counts = out.strip().splitlines()
    return outcome, json.loads(counts)


@pytest.fixture(scope="module")
def undisturbed():
    with Endpoint(answer) as endpoint:
        outcome, (calls, *_) = finish(start(endpoint, "", 2))
    assert json.loads(outcome)["stop_reason"] == "perfect score on the valset"
    return outcome, calls


@pytest.mark.parametrize(("threads", "kills"), [(1, [1, 14]), (2, [13, 17]), (8, [5, 20])])
def test_killed_at_several_moments_a_run_asks_only_what_was_in_flight(tmp_path, undisturbed, threads, kills):
    """Each kill comes while the request of that number is being answered."""
    running: list[subprocess.Popen] = []
    lock = threading.Lock()

    def deadly(body):
        with lock:
            if len(endpoint.bodies) in kills:
                kills.remove(len(endpoint.bodies))
                os.kill(running[-1].pid, signal.SIGKILL)
        return answer(body)

    expected, calls = undisturbed
    rounds = len(kills)
    with Endpoint(deadly) as endpoint:
        for _ in range(rounds):
            running.append(start(endpoint, tmp_path, threads))
            running[-1].communicate(timeout=60)
            assert running[-1].returncode == -signal.SIGKILL
        running.append(start(endpoint, tmp_path, threads))
        outcome, (_, hits, whole_run, tokens) = finish(running[-1])
    assert outcome == expected
    assert hits > 0 and whole_run == calls and tokens == 15 * calls
    assert calls < len(endpoint.bodies) <= calls + rounds * threads


def compiled(log_dir, lm=None, student=None, **settings):
    with dspy.context(lm=lm or fake_lm(model)):
        data = examples(4)
        optimizer = GradientOptimizer(**{"metric": is_upper, "num_threads": 2, "log_dir": log_dir, **settings})
        return optimizer.compile(student or one_step(), trainset=data, valset=data)


def test_a_finished_run_started_again_asks_nothing_and_says_the_same(tmp_path):
    first = compiled(tmp_path).detailed_results
    lm = fake_lm(model)
    again = compiled(tmp_path, lm).detailed_results
    assert lm.engine.calls == 0 and again.usage.total.journal_hits == first.usage.lm_calls
    assert again.candidates == first.candidates and again.run_id == first.run_id
    assert again.usage.whole_run.lm_calls == first.usage.lm_calls


@pytest.mark.parametrize("torn", [b'{"key": "abc", "resp', b'{"key"', b"\xff"])
def test_a_torn_last_line_counts_as_still_in_flight(tmp_path, torn):
    compiled(tmp_path)
    journal = tmp_path / FILE_NAME
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]) + torn)
    lm = fake_lm(model)
    assert compiled(tmp_path, lm).detailed_results.best.score == 1
    assert lm.engine.calls == 1
    assert len(journal.read_bytes().splitlines()) == len(lines)


def test_a_torn_first_line_starts_over(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b'{"run_id": "abc", "ident')
    assert compiled(tmp_path).detailed_results.usage.total.journal_hits == 0


def test_a_line_that_is_no_entry_is_named(tmp_path):
    compiled(tmp_path)
    journal = tmp_path / FILE_NAME
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + b"[1, 2]\n" + b"".join(lines[1:]))
    with pytest.raises(JournalError, match="line 2"):
        compiled(tmp_path)


@pytest.mark.parametrize(
    "other",
    [{"student": TwoSteps()}, {"seed": 3}, {"lm": dspy.LM("fake/other", engine=fake_lm(model).engine)}],
)
def test_the_journal_of_another_run_is_refused_and_left_as_it_is(tmp_path, other):
    compiled(tmp_path)
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(JournalError, match="another run"):
        compiled(tmp_path, **other)
    assert (tmp_path / FILE_NAME).read_bytes() == before
    compiled(tmp_path)  # and the folder is not left claimed


def test_budget_steps_and_threads_may_change_when_going_on(tmp_path):
    cut = compiled(tmp_path, budget=Budget(lm_calls=5))
    assert cut.detailed_results.stop_reason == "budget: lm_calls"
    lm = fake_lm(model)
    done = compiled(tmp_path, lm, budget=Budget(lm_calls=50), num_threads=8, max_steps=3).detailed_results
    assert done.best.score == 1 and lm.engine.calls == 4 and done.usage.whole_run.lm_calls == 9


def test_a_resumed_run_stops_at_the_budget_where_the_first_one_did(tmp_path):
    """Replayed replies are handed out at once, so a limit on tokens must not cut among them."""
    budget = Budget(tokens=145)  # reached while the last of ten calls is in flight
    first = compiled(tmp_path, budget=budget, num_threads=4).detailed_results
    for threads in (1, 4):
        again = compiled(tmp_path, budget=budget, num_threads=threads).detailed_results
        assert (again.candidates, again.stop_reason) == (first.candidates, first.stop_reason)


def test_two_runs_in_one_folder_at_once_are_refused(tmp_path):
    with Journal(tmp_path, {"a": 1}), pytest.raises(JournalError, match="another run is writing"):
        compiled(tmp_path)


def test_another_process_in_the_folder_is_refused(tmp_path):
    hold = (
        "import sys; from langmem_dspy.optimizers.journal import Journal\n"
        "journal = Journal(sys.argv[1], {}); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(JournalError, match="another run is writing"):
            compiled(tmp_path)
        other.kill()
    (tmp_path / FILE_NAME).unlink()
    assert compiled(tmp_path).detailed_results.best.score == 1


def test_a_log_dir_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(JournalError, match="choose another log_dir"):
        compiled(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_log_dir_that_is_read_only_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(JournalError, match="choose another log_dir"):
        compiled(tmp_path)


def test_a_disk_that_fills_up_ends_the_run_and_leaves_whole_lines(tmp_path):
    """A limit on the size of files stands in for the disk."""
    code = (
        "import sys, resource, signal; sys.path[:0] = sys.argv[2:]\n"
        "import test_journal as t\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "try: t.compiled(sys.argv[1])\n"
        "except t.JournalError as error: print(type(error).__name__, error, error.detailed_results.stop_reason)"
    )
    here = Path(__file__).parent
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(here), str(here.parent)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.stdout.startswith("JournalError cannot write the journal") and "same log_dir" in run.stdout, run.stderr
    assert run.stdout.strip().endswith("error")
    lines = (tmp_path / FILE_NAME).read_bytes().splitlines(keepends=True)
    assert len(lines) > 2 and all(json.loads(line) for line in lines)
    lm = fake_lm(model)
    assert compiled(tmp_path, lm).detailed_results.best.score == 1
    assert lm.engine.calls < 10


def test_a_program_that_swallows_every_error_cannot_hide_a_full_disk(tmp_path, monkeypatch):
    class Stubborn(dspy.Predict):
        def forward(self, **kwargs):
            try:
                return super().forward(**kwargs)
            except Exception:  # noqa: BLE001 - the program under test is stubborn
                return dspy.Prediction(answer="")

    def full(handle):
        raise OSError(28, "No space left on device")

    student = Stubborn(dspy.Signature("text -> answer", "Say it."))
    written = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: real(handle) if len(written) < 2 and not written.append(1) else full(handle)
    )
    with pytest.raises(JournalError, match="No space left"):
        compiled(tmp_path, student=student)


def test_replies_of_any_unicode_are_kept(tmp_path):
    def odd(text):
        return (
            model(text).replace("Answer in", "Answer 日本 \u2028 😀 in")
            if "improved_prompt" in wants(text)
            else model(text)
        )

    first = compiled(tmp_path, fake_lm(odd), max_steps=1).detailed_results
    assert compiled(tmp_path, fake_lm(odd), max_steps=1).detailed_results.candidates == first.candidates


def test_a_journal_runs_no_code_and_is_readable(tmp_path):
    compiled(tmp_path)
    first, *entries = [json.loads(line) for line in (tmp_path / FILE_NAME).read_text().splitlines()]
    assert first["identity"]["optimizer"] == "GradientOptimizer"
    assert all({"key", "response", "cost"} == entry.keys() for entry in entries)
