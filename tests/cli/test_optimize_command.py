"""`langmem-dspy optimize` on a program of the user's own, offline."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import dspy
import pytest

from langmem_dspy.cli.loading import load_examples

PROGRAM = """
import dspy

route = dspy.Predict(dspy.Signature("ticket -> queue", "Choose a queue for the ticket."))

def metric(gold, pred, trace=None):
    right = pred.queue.strip() == gold.queue
    rule = f'If `ticket` mentions "{gold.word}", set `queue` to "{gold.queue}".'
    return dspy.Prediction(score=float(right), feedback="" if right else rule)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(PROGRAM)
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "latin.json").write_bytes('{"route": "Zürich"}'.encode("latin-1"))
    words = [("refund", "billing"), ("crash", "bugs")]
    rows = [{"ticket": f"Case {i}: my {w}", "queue": q, "word": w} for i, (w, q) in enumerate(words * 6)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from langmem_dspy.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True, timeout=100
    )


def test_a_program_is_improved_saved_and_loads_again(folder: Path) -> None:
    ran = command(folder, "optimize", "mine:route", "--data", "train.jsonl", "--metric", "mine:metric", "--no-track")
    assert ran.returncode == 0, ran.stderr
    assert "offline simulation" in ran.stdout.splitlines()[0]
    state = json.loads((folder / "optimized.json").read_text())
    assert "refund" in state["signature"]["instructions"] and "crash" in state["signature"]["instructions"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mine:nothing", "--data", "train.jsonl", "--metric", "mine:metric"], "has no 'nothing'"),
        (["mine:route", "--data", "mine.py", "--metric", "mine:metric"], "is not JSON"),
        (["mine:route", "--data", "train.jsonl", "--metric", "mine"], "module:object"),
        (
            ["mine:route", "--data", "train.jsonl", "--metric", "mine:metric", "--guidance", "list.json"],
            "list.json is no JSON object",
        ),
        (
            ["mine:route", "--data", "train.jsonl", "--metric", "mine:metric", "--guidance", "latin.json"],
            "latin.json is not text in UTF-8",
        ),
        (["mine:route", "--data", "latin.json", "--metric", "mine:metric"], "latin.json is not text in UTF-8"),
    ],
)
def test_a_slip_is_told_in_one_line(folder: Path, arguments: list[str], said: str) -> None:
    ran = command(folder, "optimize", *arguments, "--no-track")
    assert ran.returncode == 1 and said in " ".join(ran.stderr.split())
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.jsonl", '{"ticket": "first\u2028second", "queue": "a"}\r\n\r\n{"ticket": "third", "queue": "b"}\r\n'),
        ("rows.csv", 'ticket,queue\r\n"first\u2028second",a\r\nthird,b\r\n'),
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_rows_end_where_lines_of_the_file_do_and_begin_behind_its_mark(tmp_path, name, text, mark) -> None:
    (tmp_path / name).write_bytes((mark + text).encode())
    found = load_examples(tmp_path / name, dspy.Predict("ticket -> queue"), None)
    assert [(row.ticket, row.queue) for row in found] == [("first\u2028second", "a"), ("third", "b")]


@pytest.mark.parametrize(
    ("journal", "said"),
    [
        (("--log-dir", "logs"), "is kept in logs: the same command goes on there"),
        ((), "with --log-dir, a run that was ended goes on where it was"),
    ],
)
def test_an_interrupted_run_tells_how_to_go_on(cli, tmp_path, folder, monkeypatch, journal, said) -> None:
    def interrupted(gold, pred, trace=None):
        raise KeyboardInterrupt

    monkeypatch.setattr("langmem_dspy.cli.loading.load_object", lambda name: interrupted)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr("langmem_dspy.cli.loading.load_program", lambda name: dspy.Predict("ticket -> queue"))
    ran = cli("optimize", "mine:route", "--data", "train.jsonl", "--metric", "mine:metric", "--no-track", *journal)
    assert ran.code == 130
    assert ran.err.startswith("Interrupted: ") and said in ran.err and len(ran.err.splitlines()) == 1


def test_an_interrupted_demo_tells_what_there_is(cli, monkeypatch) -> None:
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("langmem_dspy.optimizers.compare.compare_optimizers", interrupted)
    ran = cli("demo", "--no-track")
    assert (ran.code, ran.err) == (130, "Interrupted: Nothing is kept.\n")
