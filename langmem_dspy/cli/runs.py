"""`langmem-dspy compare`, `show`, `diff` and `report`: what became of the runs, told in a terminal."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from langmem_dspy.errors import InputError


def compare(
    *runs: str, tracking_uri: str | None = None, experiment: str | None = None, plot: Path | None = None
) -> None:
    """Lay runs side by side: scores, calls, tokens, cost, and what of their settings differs.

    Parameters
    ----------
    runs
        Ids of runs, MLflow's or ours, or how they begin. Default: every optimizer run of the experiment.
    tracking_uri
        Which MLflow. Default: MLFLOW_TRACKING_URI, else ./mlflow.db.
    experiment
        Whose runs, where none are named. Default: MLFLOW_EXPERIMENT_NAME, else langmem-dspy.
    plot
        Also draw validation scores over LM calls, into this .png or .svg file.
    """
    from rich.console import Console

    from langmem_dspy import tracking
    from langmem_dspy.cli.runs_tables import difference_table, figure_table, score_table
    from langmem_dspy.tracking.reading import read_runs

    console = Console()
    if not runs:
        frame = tracking.compare(experiment=experiment, tracking_uri=tracking_uri)
        console.print(score_table(frame))
        runs = tuple(frame["mlflow_run"])
    else:
        read = read_runs(list(runs), tracking_uri=tracking_uri)
        if all(run.kind == "optimizer" for run in read):
            console.print(score_table(tracking.compare(runs, tracking_uri=tracking_uri)))
        else:
            console.print(figure_table(read))
    if 1 < len(runs) <= 8:
        console.print(difference_table(tracking.differences(runs, tracking_uri=tracking_uri)))
    if plot is not None:
        tracking.curve_plot(runs, tracking_uri=tracking_uri).savefig(plot, dpi=120)
        console.print(f"Drawn in {plot}.", highlight=False)


def show(run: str = "latest", *, tracking_uri: str | None = None, examples: int = 10) -> None:
    """One run: scores and cost by step, who was blamed, lessons, examples lost and won, and why it stopped.

    Parameters
    ----------
    run
        Id of a run of an optimizer, a cell or an experiment, or how it begins; "latest" is the last optimizer's.
    tracking_uri
        Which MLflow. Default: MLFLOW_TRACKING_URI, else ./mlflow.db.
    examples
        How many examples to name, those that lost most first.
    """
    from rich.console import Console

    from langmem_dspy.cli.runs_tables import cell_table, story
    from langmem_dspy.tracking import read_run

    found = read_run(run, tracking_uri=tracking_uri)
    parts = story(found, examples) if found.kind == "optimizer" else cell_table(found)
    Console().print(*parts, sep="\n", highlight=False)


def diff(run: str = "latest", other: str | None = None, *, tracking_uri: str | None = None) -> None:
    """What became of the prompts: before and after of a run, line by line with the step that brought each in.

    Parameters
    ----------
    run
        Id of an optimizer's run, or how it begins.
    other
        Another run: the diff is then from the best prompts of the first to the best prompts of this one.
    tracking_uri
        Which MLflow. Default: MLFLOW_TRACKING_URI, else ./mlflow.db.
    """
    from rich.console import Console

    from langmem_dspy.cli.runs_tables import prompt_diff
    from langmem_dspy.tracking import read_run

    first = read_run(run, tracking_uri=tracking_uri)
    second = read_run(other, tracking_uri=tracking_uri) if other else first
    before = first.results.best.prompts if other else first.results.baseline.prompts
    Console().print(*prompt_diff(before, second), sep="\n", highlight=False, soft_wrap=True)


def report(
    run: str = "latest", *, out: Path | None = None, open_browser: bool = True, tracking_uri: str | None = None
) -> None:
    """Write the report of a run, one HTML file with everything in it, and open it.

    Parameters
    ----------
    run
        Id of an optimizer's run, or how it begins.
    out
        Where to write it. Default: report-ID.html, in this folder.
    open_browser
        Open it in the browser.
    tracking_uri
        Which MLflow. Default: MLFLOW_TRACKING_URI, else ./mlflow.db.
    """
    from rich.console import Console

    from langmem_dspy.tracking import read_run

    found = read_run(run, tracking_uri=tracking_uri)
    if found.kind != "optimizer":
        raise InputError(
            f"run {found.mlflow_run} is of an experiment: `langmem-dspy show` tells of it; reports are of optimizers"
        )
    to = found.report(out or Path(f"report-{found.mlflow_run[:8]}.html"))
    Console().print(f"The report of {found.name} is in {to}.", highlight=False)
    if open_browser:
        webbrowser.open(to.absolute().as_uri())
