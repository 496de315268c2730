"""What the options shared by several commands do."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from langmem_dspy.cli.options import TrackingOptions


def test_a_command_that_fails_does_not_say_that_its_runs_are_in_mlflow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = TrackingOptions(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(RuntimeError), options.around(Console()):
        raise RuntimeError("nothing was run")
    assert "are in MLflow" not in capsys.readouterr().out
    with options.around(Console()):
        pass
    assert "are in MLflow" in capsys.readouterr().out
