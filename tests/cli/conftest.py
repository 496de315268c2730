"""The command line, called in this process: `cli("memories", "list")` gives its exit code, output and errors."""

from __future__ import annotations

import sys
import warnings
from typing import NamedTuple

import pytest


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys):
    """Calls a command in an empty folder, on a terminal wide enough for its tables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments: str) -> Ended:
        from langmem_dspy.cli.app import run

        monkeypatch.setattr(sys, "argv", ["langmem-dspy", *arguments])
        capsys.readouterr()
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Cyclopts application invoked without tokens")  # as it is here
                run()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Ended(code, *capsys.readouterr())

    return call
