"""A store that is down, hangs, or dies on the way: the optimizer never notices, and nothing is lost."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import made_runs
import pytest

from langmem_dspy import tracking
from langmem_dspy.errors import TrackingError
from langmem_dspy.tracking import live
from langmem_dspy.tracking.stores import resolve_store

Announce = Callable[..., None]
SPOOLS = ".langmem/runs"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def hanging_server() -> Iterator[str]:
    """Accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def server_that_only_looks_alive(release: threading.Event) -> Iterator[str]:
    """Answers /health and nothing else, until it is released."""

    class Half(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/health":
                release.wait(30)
            self.send_response(200 if self.path == "/health" else 500)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Half)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        release.set()
        server.shutdown()


def timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def delivered_runs(store: str) -> list[str]:
    return sorted(tracking.compare(tracking_uri=store)["run"])


def test_a_dead_server_costs_one_warning_and_no_time(
    store: str, announce: Announce, caplog: pytest.LogCaptureFixture
) -> None:
    handle = tracking.enable(tracking_uri=f"http://127.0.0.1:{closed_port()}")

    assert timed(lambda: announce(*made_runs.events("one"))) < 0.5
    assert not handle.flush(10)
    assert timed(lambda: announce(*made_runs.events("two"))) < 0.5
    assert timed(handle.disable) < 3

    (warning,) = warnings_of(caplog)
    assert "cannot be reached" in warning and "replay" in warning and SPOOLS in warning
    assert tracking.replay(SPOOLS, store).delivered == ("one", "two")
    assert tracking.replay(SPOOLS, store).already_there == ("one", "two")
    assert delivered_runs(store) == ["one", "two"]


def test_a_hanging_server_costs_one_warning_and_a_few_seconds_at_the_end(
    store: str, announce: Announce, caplog: pytest.LogCaptureFixture
) -> None:
    with hanging_server() as uri:
        handle = tracking.enable(tracking_uri=uri)
        assert timed(lambda: announce(*made_runs.events("one"))) < 0.5
        assert timed(handle.disable) < 6

    (warning,) = warnings_of(caplog)
    assert "does not answer" in warning
    assert tracking.replay(SPOOLS, store).delivered == ("one",)


def test_a_server_that_hangs_in_the_middle_is_left_behind(
    store: str, announce: Announce, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "SERVER_PATIENCE", 1.5)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # so that the test's thread ends when it is released
    released = threading.Event()
    with server_that_only_looks_alive(released) as uri:
        handle = tracking.enable(tracking_uri=uri)
        assert timed(lambda: announce(*made_runs.events("one"))) < 0.5
        assert not handle.flush(1.5)
        assert timed(handle.disable) < 4
        assert len(warnings_of(caplog)) == 1
        # The thread still waits for its answer; that must not keep anyone from delivering elsewhere.
        assert tracking.replay(SPOOLS, store).delivered == ("one",)


def test_an_outage_that_ends_is_caught_up_with(
    store: str, announce: Announce, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    database = tmp_path / "mlflow.db"
    away = database.rename(tmp_path / "away.db")
    database.mkdir()  # no SQLite file can be opened there
    with tracking.enable(tracking_uri=store) as handle:
        announce(*made_runs.events("one"))
        assert not handle.flush(20)
        database.rmdir()
        away.rename(database)
        assert handle.flush(20)

    assert delivered_runs(store) == ["one"]
    assert len(warnings_of(caplog)) == 1


def test_a_replay_to_a_dead_server_says_so_at_once(store: str, announce: Announce) -> None:
    with tracking.enable():
        announce(*made_runs.events("one"))

    with pytest.raises(TrackingError, match="cannot be reached"):
        tracking.replay(SPOOLS, f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(TrackingError, match="cannot be reached"):
        tracking.compare(tracking_uri=f"http://user:secret@127.0.0.1:{closed_port()}")


def test_a_password_in_the_uri_is_never_printed(store: str) -> None:
    with pytest.raises(TrackingError) as raised:
        resolve_store(f"http://user:secret@127.0.0.1:{closed_port()}").check()

    assert "secret" not in str(raised.value)


SCRIPT = textwrap.dedent("""
    import os, signal, sys, time
    import made_runs
    from langmem_dspy import tracking
    from langmem_dspy.events import Announcer
    tracking.enable(tracking_uri=sys.argv[1])
    announce = Announcer()
    for event in made_runs.events("scripted"):
        announce(event)
    print(time.time(), flush=True)
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
""")


def run_script(uri: str, ending: str = "normal") -> tuple[subprocess.CompletedProcess[str], float]:
    """A process that tracks a run and ends; the seconds it took to end."""
    path = str(Path(made_runs.__file__).parent)
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r})\n{SCRIPT}", uri, ending]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done, time.time() - float(done.stdout.split()[-1])


def test_a_process_ends_in_time_though_the_server_is_dead(store: str) -> None:
    done, seconds = run_script(f"http://127.0.0.1:{closed_port()}")

    assert done.returncode == 0 and seconds < 5
    assert done.stderr.count("tracking:") == 1 and "Traceback" not in done.stderr
    assert tracking.replay(SPOOLS, store).delivered == ("scripted",)


def test_a_process_that_ends_at_once_has_delivered_its_run(store: str) -> None:
    done, _ = run_script(store)

    assert (done.returncode, done.stderr) == (0, "")
    assert delivered_runs(store) == ["scripted"]


def test_a_run_of_a_killed_process_is_delivered_by_replay(store: str) -> None:
    done, _ = run_script(store, "killed")

    assert done.returncode == -9
    assert tracking.replay(SPOOLS, store).failed == {}
    assert delivered_runs(store) == ["scripted"]
