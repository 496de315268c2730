from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or `mlflow server` can deadlock without a network


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh MLflow database: making one takes seconds, copying it nothing."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty store beside the test's files; the test runs in their folder."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


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
