"""An accepted run ends or is told of, whatever happens to the server meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from contextlib import contextmanager

import dspy
import httpx
import pytest
from langgraph_sdk import get_sync_client
from loopback import Endpoint

from langmem_dspy.services.limits import Limits
from langmem_dspy.services.models import Models

TALK = [{"role": "user", "content": "I like shoo-fly pie."}]
REPLY = (
    '[[ ## operations ## ]]\n[{"op": "insert", "content": {"content": "The user likes shoo-fly pie"}}]\n\n'
    "[[ ## finished ## ]]\nTrue\n\n[[ ## completed ## ]]"
)


class Slow:
    """A model that answers when it is let."""

    def __init__(self) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()

    def __call__(self, body) -> str:
        self.asked.set()
        self.go_on.wait(20)
        return REPLY


@pytest.fixture
def slow():
    model = Slow()
    yield model
    model.go_on.set()


@pytest.fixture
def endpoint(slow):
    with Endpoint(slow) as made:
        yield made


@pytest.fixture
def models(endpoint):
    return Models(dspy.LM("openai/some-model", api_base=endpoint.url, api_key="k", cache=False))


def wait_until(true, seconds=10.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def status(client, run):
    return client.runs.get(run["thread_id"], run["run_id"])["status"]


def test_cancelling_a_run_ends_its_call_to_the_model(serve, models, slow):
    with serve(models=models).sdk() as client:
        run = client.runs.create(None, "extract_memories", input={"messages": TALK})
        assert slow.asked.wait(10)
        began = time.monotonic()
        client.runs.cancel(run["thread_id"], run["run_id"], wait=True)
        assert time.monotonic() - began < 2  # the model has still not answered
        assert status(client, run) == "interrupted"
        assert client.store.search_items(())["items"] == []


def test_a_run_waits_for_those_before_it_also_where_the_one_between_is_cancelled(serve, models, slow):
    with serve(models=models).sdk() as client:
        thread = client.threads.create()["thread_id"]
        first = client.runs.create(thread, "extract_memories", input={"messages": TALK})
        assert slow.asked.wait(10)
        between, last = (client.runs.create(thread, "echo", input={"n": n}) for n in range(2))
        client.runs.cancel(thread, between["run_id"], wait=True)
        assert [status(client, run) for run in (first, between, last)] == ["running", "interrupted", "pending"]
        slow.go_on.set()
        assert client.runs.join(thread, last["run_id"]) == {"n": 1}
        assert client.threads.get_state(thread)["values"].keys() == {"updated_memories", "n"}


def test_a_run_that_takes_too_long_ends_by_itself(serve, models, slow):
    server = serve(models=models, limits=Limits(run_seconds=0.3))
    with server.sdk() as client, pytest.raises(Exception, match=r"longer than 0\.3 seconds"):
        client.runs.wait(None, "extract_memories", input={"messages": TALK})


def test_a_client_that_leaves_takes_its_run_with_it_where_it_said_so(serve, models, slow):
    server = serve(models=models)
    with server.client() as http, server.sdk() as client:
        body = {"assistant_id": "extract_memories", "input": {"messages": TALK}, "on_disconnect": "cancel"}
        with http.stream("POST", "/runs/wait", json=body) as answer:
            thread, run = answer.headers["content-location"].split("/")[2::2]
            assert slow.asked.wait(10)
        wait_until(lambda: status(client, {"thread_id": thread, "run_id": run}) == "interrupted")


def test_a_wait_is_kept_alive_until_the_model_answers(serve, models, slow, monkeypatch):
    monkeypatch.setattr("langmem_dspy.services.answers.KEEP_ALIVE_SECONDS", 0.05)
    with serve(models=models).client() as http:
        body = {"assistant_id": "extract_memories", "input": {"messages": TALK}}
        with http.stream("POST", "/runs/wait", json=body) as answer:
            pieces = answer.iter_raw()
            assert [next(pieces) for _ in range(2)] == [b"\n", b"\n"]
            slow.go_on.set()
            assert b"shoo-fly" in b"".join(pieces)


def test_beyond_the_queue_callers_are_told_to_come_back(serve):
    with serve(limits=Limits(queue=2, queue_of_tenant=2)).client() as http:
        body = {"assistant_id": "echo", "input": {}, "after_seconds": 3600}
        answers = [http.post("/runs", json=body) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert int(answers[2].headers["retry-after"]) > 0


def test_stopping_waits_for_the_runs_under_way(tmp_path, serve, models, slow):
    ledger = tmp_path / "runs.sqlite"
    server = serve(models=models, ledger=ledger)
    with server.sdk() as client:
        run = client.runs.create(None, "extract_memories", input={"messages": TALK})
        assert slow.asked.wait(10)
    server.should_exit = True
    slow.go_on.set()
    wait_until(lambda: not server.started or not server.servers[0].is_serving())
    with serve(models=models, ledger=ledger).sdk() as client:
        wait_until(lambda: status(client, run) == "success")


@contextmanager
def process(port, store, endpoint):
    """The server as its users start it; killed at the end."""
    command = [sys.executable, "-c", "from langmem_dspy.cli import main; main()", "serve", "--port", str(port)]
    command += ["--store", str(store), "--model", "openai/some-model", "--api-base", endpoint.url]
    with subprocess.Popen(command, env={**os.environ, "OPENAI_API_KEY": "k"}, stdout=-3, stderr=-3) as server:
        try:
            wait_until(lambda: _is_up(port, server), 60)
            yield server
        finally:
            server.send_signal(signal.SIGKILL)


def _is_up(port, server):
    assert server.poll() is None, "the server ended"
    try:
        return httpx.get(f"http://127.0.0.1:{port}/ok").status_code == 200
    except httpx.TransportError:
        return False


def test_killed_in_the_middle_of_a_wait_the_clients_own_retry_gets_the_result(tmp_path, slow, endpoint):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result, accepted = [], threading.Event()

    def wait():
        with warnings.catch_warnings(), get_sync_client(url=f"http://127.0.0.1:{port}") as client:
            warnings.simplefilter("ignore")  # the client says that it tries again
            talk = {"messages": TALK}
            result.append(
                client.runs.wait(None, "extract_memories", input=talk, on_run_created=lambda _: accepted.set())
            )

    waiting = threading.Thread(target=wait, daemon=True)
    with process(port, tmp_path / "store", endpoint):
        waiting.start()
        assert slow.asked.wait(20) and accepted.wait(20)  # the model may be asked before the client knows of the run
    slow.go_on.set()
    with process(port, tmp_path / "store", endpoint):
        waiting.join(30)
    assert "shoo-fly" in str(result[0]["updated_memories"])
