"""Which MLflow store is meant, whether it answers, and a client of it.

MLflow's HTTP client waits for minutes when a server is gone, by process-wide settings that are the user's own. So a
store is asked for a sign of life here, in seconds, before MLflow is let at it, and nothing ever waits for MLflow's own
answer without a limit.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from langmem_dspy.errors import InputError, TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.store.entities import PagedList

T = TypeVar("T")

DEFAULT_EXPERIMENT = "langmem-dspy"
SIGN_OF_LIFE_SECONDS = (2.0, 3.0)  # to connect, to answer
# What MLflow and its parts say at every retry and while a new database is made.
_CHATTY = ("urllib3.connectionpool", "mlflow.store.db.utils", "alembic.runtime.migration")
# Without it MLflow takes runs with prompts for traces, and opens on a page that shows no runs.
_SHOW_RUNS_FIRST = {"mlflow.experimentKind": "custom_model_development"}
_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class TrackingStore:
    """A place that keeps runs, by its URI: a SQLite file, another database, or a server."""

    uri: str

    @property
    def remote(self) -> bool:
        return urlsplit(self.uri).scheme in ("http", "https")

    @property
    def file(self) -> Path | None:
        """The SQLite file behind it, if there is one."""
        path = self.uri.removeprefix(_SQLITE)
        return Path(path) if self.uri.startswith(_SQLITE) and path not in ("", ":memory:") else None

    def check(self) -> None:
        """Raise `TrackingError` within seconds if a server does not answer or a SQLite file cannot be opened."""
        if self.file is not None:
            self._check_file(self.file)
        elif self.remote:
            self._check_server()

    def check_made(self) -> None:
        """As `check`, for those who only read: a SQLite file that is not there is told of and not made."""
        if self.file is not None and not self.file.exists():
            raise TrackingError(f"there are no runs yet: no MLflow store at {self.file}; name another by tracking_uri")
        self.check()

    def client(self) -> MlflowClient:
        """A client of the store. `check` first: MLflow itself would wait for minutes."""
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.uri)

    def experiment_id(self, client: MlflowClient, name: str) -> str:
        """The experiment called `name`, made if it is not there; one that was deleted is restored."""
        found = client.get_experiment_by_name(name)
        if found is None:
            # Beside the database, so that artifacts are found from whatever folder the store is opened later.
            beside = self.file.parent / "mlartifacts" / _slug(name) if self.file else None
            location = beside.as_uri() if beside else None
            return str(client.create_experiment(name, artifact_location=location, tags=_SHOW_RUNS_FIRST))
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _check_file(self, file: Path) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(file, timeout=3)) as connection:
                connection.execute("PRAGMA schema_version")
        except (OSError, sqlite3.Error) as error:
            raise TrackingError(f"the MLflow store in {file} cannot be opened: {error}") from error

    def _check_server(self) -> None:
        import requests

        try:
            # Any answer will do, a refusal too: MLflow itself says better what is wrong with it.
            requests.get(f"{self.uri.rstrip('/')}/health", timeout=SIGN_OF_LIFE_SECONDS).close()
        except requests.exceptions.SSLError:
            return
        except requests.RequestException as error:
            reason = "does not answer" if isinstance(error, requests.Timeout) else "cannot be reached"
            raise TrackingError(f"the MLflow server at {_without_password(self.uri)} {reason}") from error


def resolve_store(tracking_uri: str | os.PathLike[str] | None = None) -> TrackingStore:
    """The store meant by `tracking_uri`, which may be a path to a SQLite file.

    None: what MLflow is set to (`mlflow.set_tracking_uri`, MLFLOW_TRACKING_URI), else `mlflow.db` in this folder.
    """
    given = str(tracking_uri) if tracking_uri is not None else _mlflow_setting()
    if not given.strip():
        raise InputError("tracking_uri is empty; give a URI such as 'sqlite:///mlflow.db' or 'http://localhost:5000'")
    if "://" not in given and given.endswith((".db", ".sqlite", ".sqlite3")):
        given = f"{_SQLITE}{Path(given).absolute()}"
    store = TrackingStore(given)
    if store.file is not None and not store.file.is_absolute():
        return TrackingStore(f"{_SQLITE}{store.file.absolute()}")
    return store


def resolve_experiment(name: str | None) -> str:
    """`name`, else MLFLOW_EXPERIMENT_NAME, else "langmem-dspy"."""
    return name or os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_EXPERIMENT


def pages(search: Callable[[str | None], PagedList[T]]) -> Iterator[PagedList[T]]:
    """Every page of a search, which is given the token of each: MLflow cuts off what is beyond the first."""
    token: str | None = None
    while True:
        page = search(token)
        yield page
        token = page.token
        if not token:
            return


def runs_where(client: MlflowClient, experiment_id: str, condition: str) -> list[Run]:
    """All runs of the experiment for which `condition` holds, in MLflow's own order."""
    found = pages(lambda token: client.search_runs([experiment_id], condition, page_token=token))
    return [run for page in found for run in page]


@contextmanager
def hushed(thread: threading.Thread) -> Iterator[None]:
    """Keeps what MLflow's parts log from `thread` off the screen; what matters there is said by us, once."""

    def others(record: logging.LogRecord) -> bool:
        return record.thread != thread.ident or record.levelno >= logging.ERROR

    loggers = [logging.getLogger(name) for name in _CHATTY]
    for logger in loggers:
        logger.addFilter(others)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(others)


def _mlflow_setting() -> str:
    mlflow: Any = sys.modules.get("mlflow")  # who has set it there has imported it
    if mlflow is not None and mlflow.is_tracking_uri_set():
        return str(mlflow.get_tracking_uri())
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db"


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name).strip(".") or "experiment"


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
