"""`langmem-dspy run`, `sweep` and `replay`: experiments, yours and ours."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from langmem_dspy.errors import InputError

_File = Annotated[Path, Parameter(allow_leading_hyphen=True)]
_Rest = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]
_HELP = ("--help", "-h")


def run(file: _File, *options: _Rest) -> None:
    """Run an experiment: `langmem-dspy run experiments/index_scaling.py --help` tells what it takes.

    Every cell becomes a run in MLflow; cells that were finished before are read back.

    Parameters
    ----------
    file
        The Python file of the experiment. What follows is its own: its options, --config, --vary, --seeds.
    """
    from langmem_dspy.experimenting.command import command
    from langmem_dspy.experimenting.loading import load_experiment

    if str(file) in _HELP:
        return _explain("run")
    command(load_experiment(file), f"langmem-dspy run {file}")(options)


def sweep(file: _File, *options: _Rest) -> None:
    """Run an experiment for every combination: `--vary seed=0..4 --vary kind=gradient,metaprompt`.

    Parameters
    ----------
    file
        The Python file of the experiment. What follows is its own, with at least one --vary.
    """
    if str(file) in _HELP:
        return _explain("sweep")
    if not any(option == "--vary" or option.startswith("--vary=") for option in options) and not {*_HELP} & {*options}:
        raise InputError("a sweep varies something: --vary seed=0..4, or --vary lm_calls=100,400; repeat it for a grid")
    run(file, *options)


def _explain(name: str) -> None:
    from langmem_dspy.cli.app import app

    app.help_print([name])


def replay(run_id: str, *, file: Path | None = None, tracking_uri: str | None = None) -> None:
    """Measure a logged run again, with its logged config, and tell whether the figures are the same.

    Takes the run of a cell, or of a whole experiment, by its MLflow id or the beginning of it. Columns of time are not
    compared. Ends with code 1 if a figure differs.

    Parameters
    ----------
    run_id
        The run in MLflow.
    file
        The experiment's file, if it is no longer where it was.
    tracking_uri
        Which MLflow. Default: MLFLOW_TRACKING_URI, else ./mlflow.db.
    """
    from rich.console import Console

    from langmem_dspy.experimenting.replaying import replay as measured_again

    console, differing = Console(), 0
    for number, cell in enumerate(measured_again(run_id, tracking_uri=tracking_uri, file=file), 1):
        if number == 1 and cell.then.simulated:
            console.print("[yellow]The offline simulation answers, as it did then.[/]")
        console.print(cell)
        differing += not cell.equal
    console.print("Equal." if not differing else f"[red]{differing} of {number} cells differ.[/]")
    sys.exit(1 if differing else 0)
