"""Option groups that several commands share: models, budget, tracking."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cyclopts import Parameter

from langmem_dspy.experimenting.models import ModelOptions, OneModelOptions

if TYPE_CHECKING:
    from rich.console import Console

    from langmem_dspy.usage import Budget


__all__ = ["BudgetOptions", "ModelOptions", "OneModelOptions", "TrackingOptions"]


@Parameter(name="*")
@dataclass(frozen=True)
class BudgetOptions:
    """What a run may spend at most.

    Parameters
    ----------
    lm_calls
        LM calls, of the program and of reflection together.
    tokens
        Prompt and completion tokens.
    cost
        US dollars, where the price of the model is known.
    seconds
        Wall time.
    """

    lm_calls: int | None = 500
    tokens: int | None = None
    cost: float | None = None
    seconds: float | None = None

    def budget(self) -> Budget:
        from langmem_dspy.usage import Budget

        return Budget(lm_calls=self.lm_calls, tokens=self.tokens, cost=self.cost, seconds=self.seconds)


@Parameter(name="*")
@dataclass(frozen=True)
class TrackingOptions:
    """Where the runs are kept.

    Parameters
    ----------
    track
        Leave the runs in MLflow.
    tracking_uri
        Which MLflow. Default: MLFLOW_TRACKING_URI, else ./mlflow.db.
    """

    track: bool = True
    tracking_uri: str | None = None

    @contextmanager
    def around(self, console: Console) -> Iterator[None]:
        """Track what runs inside; wait until it is delivered, and say so when it is not."""
        if not self.track:
            yield
            return
        from langmem_dspy import tracking

        handle = tracking.enable(tracking_uri=self.tracking_uri)
        ended = False
        try:
            yield
            ended = True
        finally:
            with console.status("Writing the runs to MLflow ..."):
                delivered = handle.flush(timeout=60)
            handle.disable()
            if delivered and ended:  # after an error there may be none
                console.print("The runs are in MLflow; [bold]langmem-dspy ui[/] opens it.", highlight=False)
            elif not delivered:
                console.print("[yellow]MLflow has not taken everything; `tracking.replay` delivers the rest later.[/]")
