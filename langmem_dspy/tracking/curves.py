"""Several logged runs side by side: what they cost for what they scored, and what they were given that differs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from langmem_dspy.tracking.reading import LoggedRun, read_runs

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def curves(runs: Sequence[str], *, tracking_uri: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """One row per run and step: train and validation scores apart, with the calls, tokens and cost spent until then."""
    import pandas as pd

    frames = [_named(run) for run in read_runs(list(runs), tracking_uri=tracking_uri)]
    return pd.concat(frames, ignore_index=True)


def differences(runs: Sequence[str], *, tracking_uri: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """What the runs were given that is not the same for all: a row per param, a column per run; None where unset."""
    import pandas as pd

    read = read_runs(list(runs), tracking_uri=tracking_uri)
    names = dict.fromkeys(name for run in read for name in run.params)
    given = {name: [run.params.get(name) for run in read] for name in names}
    rows = {name: values for name, values in given.items() if len(set(values)) > 1}
    return pd.DataFrame.from_dict(rows, orient="index", columns=[run.mlflow_run for run in read])


def curve_plot(runs: Sequence[str], *, tracking_uri: str | os.PathLike[str] | None = None) -> Figure:
    """The best validation score of each run over its LM calls, and the train scores of its steps as dots."""
    from langmem_dspy.optimizers.drawn import Drawn

    drawn = Drawn()
    axes = drawn.subplots()
    for name, some in curves(runs, tracking_uri=tracking_uri).groupby("run", sort=False):
        (line,) = axes.step(some["lm_calls"], some["best"].astype(float), where="post", label=f"{name}, validation")
        axes.plot(some["lm_calls"], some["train_after"].astype(float), ".", color=line.get_color(), alpha=0.4)
    axes.set_xlabel("LM calls (dots: each step's minibatch, after its revision)")
    axes.set_ylabel("score")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return drawn


def _named(run: LoggedRun) -> pd.DataFrame:
    steps = run.steps()
    steps.insert(0, "run", f"{run.name} ({run.mlflow_run[:8]})")
    return steps
