"""How a command ends: one line, also after Ctrl-C, whatever was under way."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from langmem_dspy.errors import EvaluationError, InputError
from langmem_dspy.experimenting.ending import ending_in_one_line, if_it_ends_early
from langmem_dspy.experimenting.loading import load_experiment

SLOW = '''"""Is it slow?"""

import time
from dataclasses import dataclass
from pathlib import Path

import dspy

from langmem_dspy.experimenting import Cell, Row, experiment


@dataclass(frozen=True)
class Config:
    pass


class Program(dspy.Module):
    def forward(self, number):
        Path("began").touch()
        time.sleep(0.5)
        raise RuntimeError("what it needs is closed by now")


@experiment(Config, variants=("quick", "slow"), baseline="quick", score="score", seeds=1)
def slowness(cell: Cell[Config]) -> Row:
    if cell.variant == "slow":
        examples = [dspy.Example(number=i).with_inputs("number") for i in range(40)]
        dspy.Evaluate(devset=examples, metric=lambda gold, pred, trace=None: 1.0, num_threads=4)(Program())
    return {"score": 1.0}
'''


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is no signal there")
def test_ctrl_c_in_an_experiment_is_one_line_of_what_is_kept_and_how_to_go_on(tmp_path):
    (tmp_path / "slowness.py").write_text(SLOW)
    running = subprocess.Popen(
        [sys.executable, "-c", "from langmem_dspy.cli.app import run; run()", "run", "slowness.py", "--no-track"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_for(tmp_path / "began")
    running.send_signal(signal.SIGINT)
    said, errors = running.communicate(timeout=30)
    assert running.returncode == 130
    assert errors.splitlines() == [
        "Interrupted: 1 of 2 cells are finished and kept; the same command goes on with the rest."
    ]
    assert "quick seed 0" in said and "Error" not in said


def wait_for(path: Path) -> None:
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.02)


def ended(error: BaseException, *kept: str) -> int:
    with pytest.raises(SystemExit) as ending, ending_in_one_line():
        if kept:
            with if_it_ends_early(lambda: kept[0]):
                raise error
        raise error
    return int(ending.value.code)


def test_what_is_kept_follows_the_error(capsys):
    assert ended(EvaluationError("it is [wrong][/]"), "Half of it is kept.") == 1
    assert capsys.readouterr().err == "EvaluationError: it is [wrong][/]. Half of it is kept.\n"


def test_a_slip_in_what_was_given_is_told_without_it(capsys):
    assert ended(InputError("no [such] thing"), "Half of it is kept.") == 1
    assert capsys.readouterr().err == "InputError: no [such] thing\n"


def test_an_interrupt_that_nothing_is_known_of_is_told_by_its_name(capsys):
    assert ended(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "Interrupted\n"


def test_logging_and_signals_are_left_as_they_were():
    before = signal.getsignal(signal.SIGINT), logging.getLogger("dspy").level
    with ending_in_one_line():
        pass
    assert (signal.getsignal(signal.SIGINT), logging.getLogger("dspy").level) == before
    assert not logging.getLogger("dspy.utils.parallelizer").filters


@pytest.mark.parametrize(
    ("fresh", "said"),
    [
        (False, "3 of 4 cells are finished and kept; the same command goes on with the rest."),
        (True, "1 of 4 cells are finished and kept; the same command without --fresh goes on with the rest."),
    ],
)
def test_cells_that_were_finished_before_are_kept_too(toy_file, fresh, said):
    stop = '    if Path("stop").exists() and cell.variant == "big":\n        raise KeyboardInterrupt\n    calls = Path'
    toy_file.write_text(toy_file.read_text().replace("    calls = Path", stop))
    toy = load_experiment(toy_file)
    toy.run(toy.config(), seeds=1, track=False)
    toy_file.with_name("stop").touch()
    with pytest.raises(KeyboardInterrupt) as ended:
        toy.run(toy.config(), vary=["seed=1,0"], track=False, fresh=fresh)
    assert ended.value.__notes__ == [said]
