"""How runs and threads end where something is in the way: a full disk, a time that is over, a line of runs."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from langmem_dspy import FaissStore
from langmem_dspy.services import answers
from langmem_dspy.services import app as app_module
from langmem_dspy.services.app import Service, create_app


@pytest.fixture
def http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(app_module, "_SWEEP_SECONDS", 0.05)
    service = Service(FaissStore(), bench=True, ledger=tmp_path / "runs.sqlite")
    with TestClient(create_app(service), base_url="http://127.0.0.1") as client:
        yield client


def test_who_waits_for_a_run_hears_that_its_end_could_not_be_kept(http, monkeypatch):
    ledger = http.app.state.runs.ledger
    commit = ledger._commit

    def full(statements: Any) -> None:
        if any("result = ?" in sql for sql, _ in statements):
            raise sqlite3.OperationalError("database or disk is full")
        commit(statements)

    monkeypatch.setattr(ledger, "_commit", full)
    thread = http.post("/threads", json={}).json()["thread_id"]
    said = http.post(f"/threads/{thread}/runs/wait", json={"assistant_id": "echo", "input": {}}).json()
    assert said["__error__"]["error"] == "StoreError" and "disk" not in said["__error__"]["message"]
    assert http.app.state.runs.under_way == 0
    monkeypatch.setattr(ledger, "_commit", commit)
    again = http.post(f"/threads/{thread}/runs/wait", json={"assistant_id": "echo", "input": {"n": 1}})
    assert again.json() == {"n": 1}


def test_clients_faster_than_the_disk_are_slowed_down_to_it(http, monkeypatch):
    monkeypatch.setattr(answers, "_UNWRITTEN", 3)
    runs = http.app.state.runs

    def ask() -> Any:
        return http.post("/runs/wait", json={"assistant_id": "echo", "input": {"n": 1}}).json()

    with ThreadPoolExecutor() as pool:
        with runs.ledger._writing:  # nothing is written meanwhile
            assert [ask() for _ in range(3)] == [{"n": 1}] * 3 and runs.unwritten == 3
            late = pool.submit(ask)
            with pytest.raises(TimeoutError):
                late.result(0.3)
        assert late.result(10) == {"n": 1}


def test_the_runs_of_a_thread_go_with_it_when_its_time_is_over(http):
    thread = http.post("/threads", json={"ttl": {"ttl": 0.005}}).json()["thread_id"]
    http.post(f"/threads/{thread}/runs/wait", json={"assistant_id": "echo", "input": {"secret": 1}})
    ledger, end = http.app.state.runs.ledger, time.monotonic() + 10
    while ledger.rows("SELECT * FROM runs") and time.monotonic() < end:
        time.sleep(0.05)
    assert not ledger.rows("SELECT * FROM runs")


def test_no_run_in_line_begins_while_its_thread_is_deleted(http, monkeypatch):
    began: list[Any] = []
    graph = http.app.state.graphs["echo"]

    async def slow(given: Any, config: Any, store: Any) -> Any:
        began.append(given)
        await asyncio.sleep(2)  # longer than it takes to delete

    monkeypatch.setitem(graph.__dict__, "run", slow)
    thread = http.post("/threads", json={}).json()["thread_id"]
    for n in range(3):
        http.post(f"/threads/{thread}/runs", json={"assistant_id": "echo", "input": {"n": n}})
    assert http.delete(f"/threads/{thread}").status_code == 204
    assert began in ([], [{"n": 0}])


def test_ids_in_a_body_count_in_any_spelling(http):
    thread = http.post("/threads", json={}).json()["thread_id"]
    late = {"assistant_id": "echo", "input": {}, "after_seconds": 3600}
    run = http.post(f"/threads/{thread}/runs", json=late).json()["run_id"]
    assert len(http.post("/threads/search", json={"ids": [thread.upper()]}).json()) == 1
    http.post("/runs/cancel", json={"thread_id": thread.upper(), "run_ids": [run.upper()]})
    assert http.get(f"/threads/{thread}/runs/{run}/join").json()["__error__"]["error"] == "UserInterrupt"


def test_a_first_start_of_mcp_that_failed_is_tried_again(http, monkeypatch):
    pytest.importorskip("mcp")
    route = http.app.state.mcp
    load, tried = route._load, []

    def fails_once() -> Any:
        tried.append(1)
        if len(tried) == 1:
            raise OSError("no memory")
        return load()

    monkeypatch.setattr(route, "_load", fails_once)
    hello = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    headers = {"accept": "application/json, text/event-stream"}
    assert http.post("/mcp", json=hello, headers=headers).status_code == 500
    assert http.post("/mcp", json=hello, headers=headers).status_code != 500
    assert len(tried) == 2
