"""A server in this process, on loopback, and real clients of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from langgraph_sdk import get_sync_client

from langmem_dspy import FaissStore
from langmem_dspy.services.app import Service, create_app
from langmem_dspy.services.connections import Connection
from langmem_dspy.services.keys import KeyFile


class Server(uvicorn.Server):
    """uvicorn in a thread. `url` is where it is."""

    def install_signal_handlers(self) -> None:
        pass

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}"

    def client(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=headers, timeout=20)

    def sdk(self, key: str | None = None) -> Any:
        return get_sync_client(url=self.url, api_key=key)


@contextmanager
def running(service: Service) -> Iterator[Server]:
    config = uvicorn.Config(
        create_app(service),
        http=Connection,
        port=0,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    server = Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Make a server of these parts of a `Service`; it ends with the test."""
    with ExitStack() as stack:

        def make(**parts: Any) -> Server:
            if "store" not in parts:
                parts["store"] = stack.enter_context(FaissStore())
            return stack.enter_context(running(Service(**{"bench": True, **parts})))

        yield make


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for the tests of a module that leave each other alone."""
    with FaissStore() as store, running(Service(store, bench=True)) as made:
        yield made


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    """LangGraph's client of that server."""
    with server.sdk() as made:
        yield made


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    """A plain client of that server."""
    with server.client() as made:
        yield made


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")
