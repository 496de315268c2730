from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture
def store(mlflow_store: str) -> str:
    """The URI of an empty store beside the test's files; the test runs in their folder."""
    return mlflow_store


@pytest.fixture(autouse=True)
def tracking_is_off_afterwards() -> Iterator[None]:
    yield
    from langmem_dspy.tracking import live

    if live._active is not None:
        live._active.disable()


@pytest.fixture
def announce() -> Callable[..., None]:
    """Announces events as an optimizer does."""
    from langmem_dspy.events import Announcer, Event

    def announced(*events: Event) -> None:
        announcer = Announcer()
        for event in events:
            announcer(event)

    return announced


@pytest.fixture
def users_mlflow(store: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """MLflow as the user sets it up in this process, and none of it left afterwards."""
    import mlflow
    from mlflow.tracking import fluent

    for name in ("_active_experiment_id", "_last_active_run_id"):
        if hasattr(fluent, name) and not hasattr(getattr(fluent, name), "get"):
            monkeypatch.setattr(fluent, name, None)
    for variable in ("MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(variable, raising=False)
    mlflow.set_tracking_uri(store)
    yield mlflow
    mlflow.set_tracking_uri(None)
    for variable in ("MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID", "MLFLOW_TRACKING_URI"):
        os.environ.pop(variable, None)
