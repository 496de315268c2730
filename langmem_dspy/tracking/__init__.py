"""Runs in MLflow: what was tried, what it scored, what it cost, and the prompts that came out.

    with tracking.enable():
        best = optimizer.compile(program, trainset=train, valset=val)
    tracking.compare()

This is the only folder that imports MLflow, and only once a run is delivered or read.
"""

from langmem_dspy.tracking.browser import UiServer, ui
from langmem_dspy.tracking.comparison import compare
from langmem_dspy.tracking.curves import curve_plot, curves, differences
from langmem_dspy.tracking.evaluation import Evaluated, evaluate
from langmem_dspy.tracking.live import Tracking, enable
from langmem_dspy.tracking.prompt_versions import PromptVersions, RegisteredPrompt
from langmem_dspy.tracking.reading import LoggedRun, read_run
from langmem_dspy.tracking.replaying import Replayed, replay

__all__ = [
    "Evaluated",
    "LoggedRun",
    "PromptVersions",
    "RegisteredPrompt",
    "Replayed",
    "Tracking",
    "UiServer",
    "compare",
    "curve_plot",
    "curves",
    "differences",
    "enable",
    "evaluate",
    "read_run",
    "replay",
    "ui",
]
