"""Who may do what, and what is refused at the door."""

from __future__ import annotations

import json
import logging
import socket
import uuid

import dspy
import pytest
from langgraph_sdk import get_sync_client

from langmem_dspy.errors import InputError
from langmem_dspy.services import connections
from langmem_dspy.services.keys import KeyFile
from langmem_dspy.services.limits import Limits
from langmem_dspy.services.models import Models
from langmem_dspy.services.serving import JsonLines, alone, check_host

TALK = [{"role": "user", "content": "I prefer dark mode and minimalist interfaces"}]


@pytest.fixture
def shared(serve, keys):
    """A server with two tenants, and a client of each."""
    ann, bob = keys.create("ann"), keys.create("bob", ["teams", "bob"])
    server = serve(keys=keys)
    with server.sdk(ann) as one, server.sdk(bob) as other:
        yield server, one, other


def test_without_a_good_key_nobody_gets_in(shared):
    server = shared[0]
    for headers in ({}, {"x-api-key": "lmd_00000000_x"}, {"x-api-key": b"\xfc"}, {"authorization": "Bearer x"}):
        with server.client(**headers) as http:
            answer = http.post("/store/items/search", json={})
            assert answer.status_code == 401 and "x-api-key" in answer.json()["detail"]
            assert http.get("/ok").status_code == 200


def test_a_key_may_come_as_a_bearer(serve, keys):
    key = keys.create("ann")
    with serve(keys=keys).client(authorization=f"Bearer {key}") as http:
        assert http.post("/store/items/search", json={}).status_code == 200


def test_a_revoked_key_lets_in_no_more(serve, keys):
    key = keys.create("ann")
    server = serve(keys=KeyFile(keys.path))
    with server.client(**{"x-api-key": key}) as http:
        assert http.get("/metrics").status_code == 200
        keys.revoke("ann")
        server.config.app.state.service.keys._checked = float("-inf")  # as if a second had passed
        assert http.get("/metrics").status_code == 401


def test_the_file_of_keys_holds_none(keys):
    key = keys.create("ann")
    assert key.rpartition("_")[2] not in keys.path.read_text()
    assert keys.path.stat().st_mode & 0o077 == 0
    assert keys.tenant(key).root == ("ann",)
    assert keys.tenant(key + "x") is None


@pytest.mark.parametrize("root", [["teams"], ["teams", "bob", "x"]])
def test_a_root_inside_of_anothers_is_refused(keys, root):
    keys.create("bob", ["teams", "bob"])
    keys.create("bob again", ["teams", "bob"])
    with pytest.raises(InputError, match="lie in one another"):
        keys.create("eve", root)


def test_tenants_see_nothing_of_each_other(shared):
    _, ann, bob = shared
    ann.store.put_item(["memories"], key="1", value={"content": "secret pie"})
    ann.runs.wait(None, "extract_memories", input={"messages": TALK, "namespace": ["teams", "bob", "memories"]})
    assert len(ann.store.search_items(())["items"]) == 2
    assert bob.store.search_items(())["items"] == []
    assert bob.store.list_namespaces()["namespaces"] == []
    assert bob.store.get_item(["memories"], key="1") is None
    bob.store.delete_item(["memories"], key="1")
    assert ann.store.get_item(["memories"], key="1") is not None


def test_ids_of_another_tenant_are_not_there(shared):
    _, ann, bob = shared
    thread = ann.threads.create()["thread_id"]
    run = ann.runs.create(thread, "echo", input={"secret": 1})["run_id"]
    ann.runs.join(thread, run)
    asked = [
        lambda: bob.threads.get(thread),
        lambda: bob.threads.get_state(thread),
        lambda: bob.threads.copy(thread),
        lambda: bob.threads.delete(thread),
        lambda: bob.runs.get(thread, run),
        lambda: bob.runs.join(thread, run),
        lambda: bob.runs.cancel(thread, run),
        lambda: bob.runs.delete(thread, run),
        lambda: bob.runs.list(thread),
        lambda: bob.runs.wait(thread, "echo", input={}),
    ]
    for ask in asked:
        with pytest.raises(Exception, match=r"404|there is no"):
            ask()
    assert bob.threads.search() == [] and bob.threads.count() == 0
    bob.threads.create(thread_id=thread)  # their own of that id, which changes nothing of the other
    bob.runs.wait(thread, "echo", input={"mine": 1})
    assert ann.threads.get_state(thread)["values"] == {"secret": 1}


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "example.com", "::"])
def test_without_keys_other_machines_are_not_served(host):
    with pytest.raises(InputError, match="keys create"):
        check_host(host, with_keys=False)
    check_host(host, with_keys=True)
    check_host("127.0.0.1", with_keys=False)


def test_without_keys_web_pages_of_elsewhere_are_refused(http):
    for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
        assert http.post("/store/items/search", json={}, headers=headers).status_code == 403
    assert http.post("/store/items/search", json={}, headers={"origin": "http://localhost:3000"}).status_code == 200


def test_no_other_origin_is_let_read(http):
    answer = http.options(
        "/store/items", headers={"origin": "http://localhost", "access-control-request-method": "PUT"}
    )
    assert "access-control-allow-origin" not in answer.headers


POISON = {
    "half a character": b'"\\ud800"',
    "NUL": b'"a\\u0000b"',
    "no number": b"NaN",
    "infinite": b"-Infinity",
    "64 bits and more": b"9223372036854775808",
    "a huge integer": b"1" * 100,
    "a whole page of digits": b"1" * 6000,
    "too deep": b"[" * 200 + b"]" * 200,
    "far too deep": b"[" * 100_000 + b"]" * 100_000,
    "no JSON": b"{",
    "not UTF-8": b'"\xff"',
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
@pytest.mark.parametrize(
    "path, body",
    [
        ("/store/items", b'{"namespace": ["a"], "key": "k", "value": {"x": %s}}'),
        ("/store/items/search", b'{"namespace_prefix": ["a"], "filter": {"x": %s}}'),
        ("/runs/wait", b'{"assistant_id": "echo", "input": %s}'),
        ("/runs/batch", b'[{"assistant_id": "echo", "metadata": {"x": %s}}]'),
        ("/threads", b'{"metadata": {"x": %s}}'),
    ],
)
def test_poison_is_refused_and_the_connection_lives(http, path, body, poison):
    method = "PUT" if path == "/store/items" else "POST"
    answer = http.request(method, path, content=body % poison)
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"]
    assert http.get("/ok").status_code == 200


def test_ordinary_numbers_pass(http):
    numbers = [2**63 - 1, -(2**63), 0.1, 1e300, -1.5e-300]
    answer = http.post("/runs/wait", json={"assistant_id": "echo", "input": {"n": numbers, "t": "1" * 100}})
    assert answer.json() == {"n": numbers, "t": "1" * 100}


def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not(serve):
    with serve(limits=Limits(body_bytes=1000)).client() as http:
        assert http.post("/runs/wait", content=b" " * 2000).status_code == 413
        assert http.post("/runs/wait", content=(b" " * 100 for _ in range(20))).status_code == 413


def test_who_asks_too_often_is_slowed_down(serve):
    with serve(limits=Limits(rate=5)).client() as http:
        answers = [http.get("/ok") for _ in range(12)]
        assert answers[0].status_code == 200 and answers[-1].status_code == 429
        assert int(answers[-1].headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    "configurable",
    [
        {"model": "openai/gpt-4.1"},
        {"model": {"api_base": "http://evil.example"}},
        {"api_base": "http://evil.example"},
        {"api_key": "k"},
        {"options": {"base_url": "http://evil.example"}},
    ],
)
@pytest.mark.parametrize("place", ["config", "context"])
def test_callers_do_not_choose_where_a_model_is_asked(http, configurable, place):
    chosen = {"config": {"configurable": configurable}} if place == "config" else {"context": configurable}
    answer = http.post("/runs/wait", json={"assistant_id": "extract_memories", "input": {"messages": TALK}, **chosen})
    assert answer.status_code == 422


def test_models_that_are_allowed_may_be_named():
    models = Models(dspy.LM("openai/one"), ["openai/gpt-*", "anthropic/claude-3-5-sonnet-latest"])
    assert models.find(None).model == models.find("openai/one").model == "openai/one"
    assert models.find("openai/gpt-4.1-mini").model == "openai/gpt-4.1-mini"
    assert models.find("anthropic:claude-3-5-sonnet-latest").model == "anthropic/claude-3-5-sonnet-latest"
    with pytest.raises(InputError, match="not offered"):
        models.find("mistral/large")
    with pytest.raises(InputError, match="not offered"):
        models.find("offline")


def test_an_error_inside_goes_to_the_log_and_not_to_the_caller(serve, caplog, monkeypatch):
    server = serve()
    store = server.config.app.state.store

    def fails(*args, **kwargs):
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(store, "batch", fails)
    with server.client() as http, caplog.at_level(logging.ERROR):
        answer = http.post("/store/items/search", json={})
        assert answer.status_code == 500
        assert "hunter2" not in answer.text
        incident = answer.json()["detail"].rpartition(" ")[2]
        ended = http.post("/runs/wait", json={"assistant_id": "extract_memories", "input": {"messages": TALK}})
        assert ended.json()["__error__"]["error"] == "RuntimeError" and "hunter2" not in ended.text
        assert http.get("/info").status_code == 200
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    assert incident in [line.get("incident") for line in lines]
    assert "hunter2" not in json.dumps(lines)
    assert any("fails" in place for line in lines for place in line["at"])


def test_logs_of_requests_tell_no_contents(serve, caplog):
    with serve().client() as http, caplog.at_level(logging.INFO):
        http.post("/runs/wait", json={"assistant_id": "echo", "input": {"said": "my secret"}})
        http.get("/store/items", params={"namespace": "private", "key": "secret"})
    lines = " ".join(JsonLines().format(record) for record in caplog.records if record.name.startswith("langmem"))
    assert "/runs/wait" in lines and "secret" not in lines and "private" not in lines


def test_metrics_count_requests_and_runs(serve):
    with serve().client() as http:
        http.post("/runs/wait", json={"assistant_id": "echo", "input": {}})
        http.get(f"/threads/{uuid.uuid4()}")
        text = http.get("/metrics").text
    assert 'langmem_requests_total{method="POST",route="/runs/wait",status="200"} 1.0' in text
    assert 'langmem_runs_ended_total{graph="echo",status="success"} 1.0' in text


def test_a_second_server_on_one_folder_is_refused(tmp_path):
    with alone(tmp_path), pytest.raises(InputError, match="another server"), alone(tmp_path):
        pass


def test_a_client_with_a_key_is_told_apart_by_it(shared):
    server, ann, _ = shared
    ann.store.put_item(["x"], key="1", value={"a": 1})
    with get_sync_client(url=server.url, headers={}) as stranger, pytest.raises(Exception, match="x-api-key"):
        stranger.store.search_items(())


def test_half_a_request_holds_no_connection_and_a_long_run_keeps_its_own(serve, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.1)
    server = serve()
    address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    with socket.create_connection(address, 5) as silent, socket.create_connection(address, 5) as half:
        half.sendall(b"POST /runs/wait HTTP/1.1\r\nHo")
        with server.client() as http:
            body = {"assistant_id": "echo", "input": {"a": 1}, "after_seconds": 0.5}
            assert http.post("/runs/wait", json=body).json() == {"a": 1}
        assert silent.recv(1) == half.recv(1) == b""
