"""What clients of LangGraph rely on beside the answers: headers, pages, methods, forms of bodies, odd spellings."""

from __future__ import annotations

import gzip
import json
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from langgraph_sdk import get_sync_client


def run_in(http, thread, **more):
    return http.post(f"/threads/{thread}/runs/wait", json={"assistant_id": "echo", "input": {}, **more})


def test_pages_of_threads_tell_how_many_there_are_and_where_the_next_begins(http):
    mark = {"metadata": {"mark": str(uuid.uuid4())}}
    for _ in range(3):
        http.post("/threads", json=mark)
    first = http.post("/threads/search", json={**mark, "limit": 2})
    assert (first.headers["x-pagination-total"], first.headers["x-pagination-next"]) == ("3", "2")
    last = http.post("/threads/search", json={**mark, "limit": 2, "offset": 2})
    assert len(last.json()) == 1 and "x-pagination-next" not in last.headers


def test_assistants_come_as_an_object_with_the_next_page(client):
    first = client.assistants.search(limit=2, sort_by="name", response_format="object")
    assert len(first["assistants"]) == 2 and first["next"] == "2"
    rest = client.assistants.search(limit=2, offset=2, sort_by="name", response_format="object")
    assert len(rest["assistants"]) == 1 and rest["next"] is None


def test_selected_fields_alone_are_told(client):
    assert [set(one) for one in client.assistants.search(select=["name"], limit=1)] == [{"name"}]
    thread = client.threads.create()["thread_id"]
    client.runs.wait(thread, "echo", input={"a": 1})
    assert client.threads.search(ids=[thread], select=["thread_id", "values"]) == [
        {"thread_id": thread, "values": {"a": 1}}
    ]
    assert [set(run) for run in client.runs.list(thread, select=["status"])] == [{"status"}]


def test_runs_are_listed_by_status_and_page_newest_first(client):
    thread = client.threads.create()["thread_id"]
    done = [client.runs.create(thread, "echo", input={"n": n}) for n in range(3)]
    client.runs.join(thread, done[-1]["run_id"])
    waiting = client.runs.create(thread, "echo", input={}, after_seconds=3600)
    assert [run["run_id"] for run in client.runs.list(thread, status="pending")] == [waiting["run_id"]]
    listed = client.runs.list(thread, status="success", limit=1, offset=1)
    assert [run["run_id"] for run in listed] == [done[1]["run_id"]]
    client.threads.delete(thread)


def test_values_are_selected_one_by_one(client):
    thread = client.threads.create()["thread_id"]
    client.runs.wait(thread, "echo", input={"a": 1, "b": 2})
    state = client.threads.get_state(thread, select=["values.a", "next"])
    assert state == {"values": {"a": 1}, "next": []}
    assert client.threads.get_state(thread, checkpoint={"thread_id": thread}, select=["values.c"]) == {"values": {}}
    assert client.threads.get_history(thread, select=["values.b"]) == [{"values": {"b": 2}}]


def test_parts_of_threads_are_extracted_by_their_paths(client, http):
    mark = str(uuid.uuid4())
    thread = client.threads.create(metadata={"mark": mark})["thread_id"]
    client.runs.wait(thread, "echo", input={"messages": [{"content": "a"}, {"content": "b"}]})
    paths = {"last": "values.messages[-1].content", "mark": "metadata.mark", "none": "values.messages[7].x"}
    found = client.threads.search(metadata={"mark": mark}, select=["thread_id"], extract=paths)
    assert found == [{"thread_id": thread, "extracted": {"last": "b", "mark": mark, "none": None}}]
    for path in ("secrets.a", "values.", "values[x]", "values..a", "", "values[99999999999]"):
        refused = http.post("/threads/search", json={"extract": {"part": path}})
        assert refused.status_code == 422 and "a path to extract" in refused.json()["detail"], path


def test_a_thread_tells_why_its_last_run_failed(client):
    thread = client.threads.create()["thread_id"]
    client.runs.wait(thread, "extract_memories", input={}, raise_error=False)
    found = client.threads.get(thread)
    assert (found["status"], found["error"]["error"]) == ("error", "InputError")
    client.runs.wait(thread, "echo", input={})
    assert client.threads.get(thread)["error"] is None


def test_a_state_is_made_from_an_earlier_one(client):
    thread = client.threads.create()["thread_id"]
    client.runs.wait(thread, "echo", input={"a": 1})
    first = client.threads.get_state(thread)
    client.threads.update_state(thread, {"a": 2})
    client.threads.update_state(thread, {"b": 3}, checkpoint=first["checkpoint"])
    now = client.threads.get_state(thread)
    assert now["values"] == {"a": 1, "b": 3}
    assert now["parent_checkpoint_id"] == first["checkpoint_id"]
    assert [state["metadata"]["step"] for state in client.threads.get_history(thread)] == [2, 1, 0]
    with pytest.raises(Exception, match="no such checkpoint"):
        client.threads.update_state(thread, {}, checkpoint_id=str(uuid.uuid4()))


def test_an_assistant_that_is_not_there_is_told_apart_by_name_and_id(http):
    for assistant, status in (("nobody", 422), (str(uuid.uuid4()), 404)):
        assert http.post("/runs/wait", json={"assistant_id": assistant}).status_code == status
        assert http.get(f"/assistants/{assistant}").status_code == status


def test_a_thread_tells_when_it_will_be_forgotten(client, http):
    thread = client.threads.create(ttl=5)["thread_id"]
    assert "ttl" not in http.get(f"/threads/{thread}").json()
    ttl = http.get(f"/threads/{thread}", params={"include": "ttl"}).json()["ttl"]
    assert ttl["strategy"] == "delete" and 4.9 < ttl["ttl_minutes"] <= 5
    client.threads.update(thread, metadata={}, ttl=50)
    assert http.get(f"/threads/{thread}?include=ttl").json()["ttl"]["ttl_minutes"] > 49
    kept = client.threads.create()["thread_id"]
    assert http.get(f"/threads/{kept}?include=ttl").json()["ttl"] is None


def test_a_thread_is_answered_even_where_its_time_is_over_at_once(http):
    made = http.post("/threads", json={"ttl": {"ttl": 1e-9}})
    assert made.status_code == 200
    assert http.get(f"/threads/{made.json()['thread_id']}").status_code == 404


def test_a_stream_is_joined_by_its_run_alone(client, http):
    run = client.runs.create(None, "echo", input={"a": 1}, on_completion="keep")
    text = http.get(f"/runs/{run['run_id']}/stream").text
    assert "event: values" in text and "event: end" in text
    assert http.get(f"/runs/{uuid.uuid4()}/stream").status_code == 404


def test_a_stream_goes_on_after_the_last_event_of_a_client(http):
    streamed = http.post("/runs/stream", json={"assistant_id": "echo", "input": {"a": 1}})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.headers["cache-control"] == "no-store"
    place = streamed.headers["location"]
    assert place == streamed.headers["content-location"] + "/stream"
    last = streamed.text.partition("event: values")[0].rpartition("id: ")[2].strip()
    rest = http.get(place, headers={"last-event-id": last}).text
    assert "event: values" not in rest and "event: end" in rest
    for none in (b"-1", b"\xb2"):  # the latter, a raised 2, is a digit and no number
        everything = http.get(place, headers={"last-event-id": none}).text
        assert "event: metadata" in everything and "event: values" in everything


def test_a_thread_id_counts_in_any_spelling(http):
    thread = str(uuid.uuid4())
    assert http.post("/threads", json={"thread_id": thread.upper()}).json()["thread_id"] == thread
    assert http.get(f"/threads/{thread.upper()}").json()["thread_id"] == thread
    assert http.get("/threads/no-uuid").status_code == 422


def test_a_busy_thread_says_so_and_stays_usable(http):
    thread = http.post("/threads", json={}).json()["thread_id"]
    later = {"assistant_id": "echo", "input": {}, "after_seconds": 3600}
    run = http.post(f"/threads/{thread}/runs", json=later).json()["run_id"]
    assert run_in(http, thread, multitask_strategy="reject").status_code == 409
    with ThreadPoolExecutor(3) as pool:  # to say it again meanwhile does not break off its ending
        told = list(pool.map(lambda _: http.post(f"/threads/{thread}/runs/{run}/cancel").status_code, range(3)))
    assert 202 in told and set(told) <= {202, 404}
    assert run_in(http, thread, multitask_strategy="reject").status_code == 200


def test_a_body_counts_whatever_its_type_is_called_and_however_it_is_cut(http):
    body = json.dumps({"assistant_id": "echo", "input": {"a": 1}}).encode()
    for kind in ("text/plain", "application/json; charset=utf-8"):
        assert http.post("/runs/wait", content=body, headers={"content-type": kind}).json() == {"a": 1}
    assert http.post("/runs/wait", content=iter((body[:9], body[9:]))).json() == {"a": 1}


def test_a_packed_body_is_refused_as_such(http):
    packed = gzip.compress(b'{"assistant_id": "echo"}')
    answer = http.post("/runs/wait", content=packed, headers={"content-encoding": "gzip"})
    assert answer.status_code == 415 and "gzip" in answer.json()["detail"]
    assert http.get("/ok").status_code == 200


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("HEAD", "/ok", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/runs/wait", 405),
        ("POST", "/store/items", 405),
        ("OPTIONS", "/threads", 405),
        ("PATCH", "/store/items/search", 405),
    ],
)
def test_paths_and_methods_that_are_not_there_are_told_apart(http, method, path, status):
    answer = http.request(method, path)
    assert answer.status_code == status
    if method != "HEAD":
        assert answer.json()["detail"]


def test_a_trailing_slash_leads_to_the_path_without(http):
    assert http.post("/threads/", json={}, follow_redirects=True).status_code == 200


def test_filters_compare_and_offsets_page_without_a_query(client):
    space = ["numbers", str(uuid.uuid4())]
    for n in range(5):
        client.store.put_item(space, key=str(n), value={"n": n, "kind": "odd" if n % 2 else "even"}, index=False)
    found = client.store.search_items(space, filter={"n": {"$gte": 2}, "kind": "even"})["items"]
    assert sorted(item["key"] for item in found) == ["2", "4"]
    pages = [client.store.search_items(space, limit=2, offset=at)["items"] for at in (0, 2, 4)]
    assert sorted(item["key"] for page in pages for item in page) == list("01234")
    with pytest.raises(Exception, match="unknown filter operator"):
        client.store.search_items(space, filter={"n": {"$near": 2}})


def test_namespaces_are_listed_by_beginning_end_and_depth(client):
    mark = str(uuid.uuid4())
    for who, what in (("ann", "facts"), ("bob", "facts"), ("bob", "rules")):
        client.store.put_item([mark, who, what], key="1", value={"a": 1})
    asked = client.store.list_namespaces
    assert asked(prefix=[mark], suffix=["facts"])["namespaces"] == [[mark, "ann", "facts"], [mark, "bob", "facts"]]
    assert asked(prefix=[mark], max_depth=2)["namespaces"] == [[mark, "ann"], [mark, "bob"]]
    assert asked(prefix=[mark, "*", "rules"])["namespaces"] == [[mark, "bob", "rules"]]
    assert asked(prefix=[mark], limit=1, offset=1)["namespaces"] == [[mark, "bob", "facts"]]


def test_a_client_that_gives_up_its_connection_cancels_only_where_it_said_so(server):
    with get_sync_client(url=server.url) as client:
        thread = client.threads.create()["thread_id"]
        stream = client.runs.stream(thread, "echo", input={"a": 1}, on_disconnect="continue", after_seconds=0.3)
        run = next(iter(stream)).data["run_id"]
        stream.close()
        assert client.runs.join(thread, run) == {"a": 1}


def test_the_model_and_the_limits_come_from_the_environment_too(monkeypatch):
    from langmem_dspy.cli.app import app

    monkeypatch.setenv("LANGMEM_DSPY_MODEL", "openai/some-model")
    monkeypatch.setenv("LANGMEM_DSPY_QUEUE", "7")
    _, bound, *_ = app.parse_args(["serve", "--run-seconds", "5"])
    limits = bound.arguments["limits"].limits()
    assert bound.arguments["models"].model == "openai/some-model"
    assert (limits.queue, limits.run_seconds) == (7, 5)
