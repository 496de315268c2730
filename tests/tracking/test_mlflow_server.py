"""Against MLflow's own server, which is slow to start: one for everything here."""

from __future__ import annotations

import logging
import shutil
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path

import made_runs
import pytest

from langmem_dspy import tracking

Announce = Callable[..., None]


def test_a_server_that_comes_late_and_dies_in_the_middle_loses_nothing(
    store: str, announce: Announce, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    other = tmp_path / "other.db"
    shutil.copyfile(tmp_path / "mlflow.db", other)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    *told, last = made_runs.events("second")
    handle = tracking.enable(tracking_uri=f"http://127.0.0.1:{port}")
    announce(*made_runs.events("first"))
    assert not handle.flush(10)
    with tracking.ui(store, port, open_browser=False) as server:
        assert server.url == f"http://127.0.0.1:{port}"
        with urllib.request.urlopen(server.url, timeout=10) as page:
            assert b"MLflow" in page.read()
        assert tracking.ui(server.url, open_browser=False).process is None  # a server is there already
        assert handle.flush(60)
        announce(*told[:6])
        assert handle.flush(60)
        shown = tracking.ui(server.url, open_browser=False).runs_url
        assert "/#/experiments/1/runs?" in shown and "viewStateShareKey=langmem-dspy" in shown
        table = tracking.compare(tracking_uri=server.url).set_index("run")
        assert dict(table["status"]) == {"first": "FINISHED", "second": "RUNNING"}
    announce(*told[6:], last)
    handle.disable()

    done = tracking.replay(".langmem/runs", other)

    assert done.failed == {}
    table = tracking.compare(tracking_uri=other).set_index("run")
    assert dict(table["status"]) == {"first": "FINISHED", "second": "FINISHED"}
    assert list(table["steps"]) == [3, 3]
    assert sum(record.levelno >= logging.WARNING for record in caplog.records) == 2  # one an outage
