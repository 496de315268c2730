"""The OpenAPI schema is one a client can be written from: what it says is what the server does."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def schema(server):
    with server.client() as http:
        return http.get("/openapi.json").json()


def _operations(schema):
    return [(path, method, one) for path, methods in schema["paths"].items() for method, one in methods.items()]


def _answer(server, path: str, method: str, thread: str, run: str, **options: Any) -> Any:
    filled = path.format(
        thread_id=thread, run_id=run, assistant_id="extract_memories", checkpoint_id="none", namespace="x"
    )
    query = {"/store/items": {"namespace": "memories.ann", "key": "ui"}}.get(path, {}) if method == "get" else {}
    with server.client() as http:
        return http.request(method, filled, params=query, **options)


def _check(schema, part, value) -> None:
    jsonschema.validate(value, {**part, "components": schema["components"]})


def test_every_operation_has_its_own_id_and_an_answer_with_a_form(schema):
    operations = _operations(schema)
    assert len({one["operationId"] for *_, one in operations}) == len(operations) > 40
    for _, _, one in operations:
        assert one["description"]
        success = next(answer for status, answer in one["responses"].items() if status.startswith("2"))
        assert all("schema" in kind for kind in success.get("content", {}).values())


def test_every_reference_leads_somewhere(schema):
    def follow(part):
        if isinstance(part, dict):
            if isinstance(reference := part.get("$ref"), str):
                found = schema
                for name in reference.removeprefix("#/").split("/"):
                    found = found[name]
            for one in part.values():
                follow(one)
        elif isinstance(part, list):
            for one in part:
                follow(one)

    follow(schema)


def test_examples_are_what_the_schema_asks_for_and_what_the_server_takes(server, schema):
    """Each body is sent as it stands, and each answer, streams aside, has the form that is told."""
    with server.sdk() as client:
        thread = client.threads.create()["thread_id"]
        run = client.runs.create(thread, "echo", input={"a": 1})["run_id"]
        client.runs.join(thread, run)
        client.store.put_item(["memories", "ann"], key="ui", value={"content": "Ann prefers dark mode."})
    asked = 0
    for path, method, one in sorted(_operations(schema), key=lambda of: of[1] == "delete"):
        body = one.get("requestBody", {}).get("content", {}).get("application/json", {})
        for example in body.get("examples", {None: {"value": None}}).values():
            if body:
                _check(schema, body["schema"], example["value"])
            value = {**example["value"], "thread_ids": []} if path == "/threads/prune" else example["value"]
            answer = _answer(server, path, method, thread, run, **({"json": value} if body else {}))
            if answer.status_code == 404 and (method == "delete" or "cancel" in path or "{checkpoint_id}" in path):
                continue  # there is no checkpoint of that name, and a thread or a run ends only once
            asked += 1
            assert str(answer.status_code) in one["responses"], (path, method, answer.text)
            assert answer.status_code < 300, (path, method, answer.text)
            told = one["responses"][str(answer.status_code)].get("content", {}).get("application/json")
            if told is not None:
                _check(schema, told["schema"], answer.json())
            for name in told or {}:
                if name == "example":
                    _check(schema, told["schema"], told["example"])
    assert asked > 45


@pytest.mark.parametrize(
    "view, path, method, body",
    [
        ("RunView", "/runs", "post", {"assistant_id": "echo"}),
        ("ThreadView", "/threads", "post", {}),
        ("Assistant", "/assistants/echo", "get", None),
        ("Schemas", "/assistants/echo/schemas", "get", None),
    ],
)
def test_a_view_tells_every_field_there_is(server, schema, view, path, method, body):
    with server.client() as http:
        answer = http.request(method, path, **({} if body is None else {"json": body})).json()
    assert set(answer) == set(schema["components"]["schemas"][view]["properties"])


def test_refusals_have_the_form_that_is_told(server, schema):
    with server.client() as http:
        answers = {
            "404": http.get(f"/threads/{NOBODY}"),
            "422": http.post("/store/items/search", json={"limit": "many"}),
            "409": http.post("/threads", json={"thread_id": http.post("/threads", json={}).json()["thread_id"]}),
        }
    for status, answer in answers.items():
        assert str(answer.status_code) == status
        refusal = schema["components"]["responses"][status]["content"]["application/json"]["schema"]
        _check(schema, refusal, answer.json())


def test_keys_and_bearers_are_told_as_ways_in(schema):
    schemes = schema["components"]["securitySchemes"]
    assert schemes["key"]["name"] == "x-api-key" and schemes["bearer"]["scheme"] == "bearer"
    assert schema["paths"]["/ok"]["get"]["security"] == []
