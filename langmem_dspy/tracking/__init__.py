"""Runs in MLflow: what was tried, what it scored, what it cost, and the prompts that came out.

    with tracking.enable():
        best = optimizer.compile(program, trainset=train, valset=val)
    tracking.compare()

This is the only folder that imports MLflow, and only once a run is delivered or read.
"""

from langmem_dspy.tracking.browser import UiServer, ui
from langmem_dspy.tracking.comparison import compare
from langmem_dspy.tracking.evaluation import Evaluated, evaluate
from langmem_dspy.tracking.live import Tracking, enable
from langmem_dspy.tracking.replaying import Replayed, replay

__all__ = ["Evaluated", "Replayed", "Tracking", "UiServer", "compare", "enable", "evaluate", "replay", "ui"]
