"""MLflow's pages for the store in use: its own server as a child process, or the server that is there already."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import webbrowser
from dataclasses import dataclass
from typing import IO

from langmem_dspy.errors import TrackingError
from langmem_dspy.tracking.saved_view import view_query
from langmem_dspy.tracking.stores import TrackingStore, resolve_experiment, resolve_store

START_SECONDS = 60.0


@dataclass
class UiServer:
    """MLflow at `url`, its runs of ours at `runs_url`. `process` is None where a server was there already.

    Leaving the context stops the server that was started.
    """

    url: str
    runs_url: str
    process: subprocess.Popen[bytes] | None = None

    def wait(self) -> None:
        """Until the server ends."""
        if self.process is not None:
            self.process.wait()

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> UiServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def ui(
    tracking_uri: str | os.PathLike[str] | None = None,
    port: int = 5000,
    *,
    host: str = "127.0.0.1",
    experiment: str | None = None,
    open_browser: bool = True,
) -> UiServer:
    """Serve MLflow's pages on the store that `tracking_uri` means (as for `enable`), ready when this returns.

    The browser opens on the runs of `experiment` (as for `enable`). A busy port is passed over for the next free one;
    a store that is a server itself is only opened. Raises `TrackingError` if the server does not come up, with the
    end of what it said.
    """
    store = resolve_store(tracking_uri)
    store.check()
    if store.remote:
        server = UiServer(store.uri.rstrip("/"), "")
    else:
        port = _free_port(host, port)
        with tempfile.TemporaryFile() as said:
            server = UiServer(f"http://{host}:{port}", "", _start(store.uri, host, port, said))
            _await(server, said)
    try:
        server.runs_url = server.url + _runs_page(store, resolve_experiment(experiment))
    except BaseException:
        server.stop()
        raise
    if open_browser:
        webbrowser.open(server.runs_url)
    return server


def _runs_page(store: TrackingStore, experiment: str) -> str:
    """The path of the experiment's runs in our view; left to itself, MLflow opens on a page without runs."""
    found = store.client().get_experiment_by_name(experiment)
    if found is None:
        return ""
    return f"/#/experiments/{found.experiment_id}/runs?{view_query(found.tags)}"


def _start(uri: str, host: str, port: int, said: IO[bytes]) -> subprocess.Popen[bytes]:
    # One worker serves a person well, and without MLflow's job queue it is up seconds sooner. Without the local cost
    # map, LiteLLM fetches one while it is imported, and the server can lock itself out where there is no network.
    options = {"--backend-store-uri": uri, "--host": host, "--port": str(port), "--workers": "1"}
    command = [sys.executable, "-m", "mlflow", "server", *(word for option in options.items() for word in option)]
    ours = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = {**ours, **os.environ}
    return subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)


def _await(server: UiServer, said: IO[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.process is not None and server.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{server.url}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    server.stop()
    said.seek(0)
    words = said.read().decode(errors="replace").strip()[-1500:]
    raise TrackingError(f"MLflow's server did not come up at {server.url}. It said last:\n{words}")


def _free_port(host: str, wanted: int) -> int:
    for port in range(wanted, wanted + 20):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise TrackingError(f"no free port from {wanted} to {wanted + 19} on {host}; choose another with port=")
