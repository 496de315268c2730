"""The memory as MCP tools: by the real client in memory and over stdio, and over HTTP with keys."""

import asyncio
import json
import sys

import dspy
import httpx
import pytest

from langmem_dspy.errors import StoreError
from langmem_dspy.simulation import offline_lm
from langmem_dspy.store import FaissStore

pytest.importorskip("mcp")

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.shared.exceptions import MCPError

from langmem_dspy.services.app import Service, create_app
from langmem_dspy.services.mcp_server import make_server
from langmem_dspy.services.mcp_tools import Offer

ANN = ("memories", "ann")


@pytest.fixture
def store():
    with FaissStore() as store:
        yield store


def talk(store, *calls, **offer):
    """What the server answers to `calls`, each a tool's name and arguments."""
    offered = Offer(offer.pop("namespace", ANN), offline_lm("strong"), **offer)

    async def main():
        async with Client(make_server(store, offered)) as client:
            return [await client.call_tool(name, arguments) for name, arguments in calls]

    return asyncio.run(main())


def listed(store):
    async def main():
        async with Client(make_server(store, Offer(("memories", "{user_id}"), variables={"user_id": "ann"}))) as client:
            return {tool.name: tool for tool in (await client.list_tools()).tools}

    return asyncio.run(main())


def test_what_an_agent_saves_it_finds_changes_and_deletes(store):
    (created,) = talk(store, ("manage_memory", {"content": "Ann likes shoo-fly pie"}))
    key = created.structured_content["id"]
    assert created.structured_content == {"done": "created", "id": key} and store.get(ANN, key) is not None
    found, updated, deleted, after = talk(
        store,
        ("search_memory", {"query": "pie"}),
        ("manage_memory", {"action": "update", "id": key, "content": "Ann likes apple pie"}),
        ("manage_memory", {"action": "delete", "id": key}),
        ("search_memory", {"query": "pie"}),
    )
    (memory,) = found.structured_content["memories"]
    assert memory["content"] == "Ann likes shoo-fly pie" and memory["content"] in found.content[0].text
    assert updated.structured_content["done"] == "updated" and deleted.structured_content["done"] == "deleted"
    assert after.structured_content == {"memories": []} and "No memories" in after.content[0].text


def test_the_graphs_are_tools_too(store):
    said = [{"role": "user", "content": "I really like shoo-fly pie."}]
    thread = {"messages": [*said, {"role": "assistant", "content": "Ok."}], "feedback": "Always name the dessert."}
    extracted, optimized = talk(
        store,
        ("extract_memories", {"messages": said}),
        ("optimize_prompts", {"prompts": [{"name": "agent", "prompt": "You help {name}."}], "threads": [thread]}),
    )
    (item,) = extracted.structured_content["updated_memories"]
    assert item["namespace"] == list(ANN) and store.get(ANN, item["key"]).value == item["value"]
    (prompt,) = optimized.structured_content["optimized_prompts"]
    assert prompt["name"] == "agent" and "{name}" in prompt["prompt"]
    assert json.loads(optimized.content[0].text) == optimized.structured_content


def test_no_tool_takes_what_belongs_to_the_caller(store):
    tools = listed(store)
    assert set(tools) == {"manage_memory", "search_memory", "extract_memories", "optimize_prompts"}
    asked = {name for tool in tools.values() for name in tool.input_schema["properties"]}
    assert not asked & {"namespace", "user_id", "store", "model", "tenant"}
    (refused,) = talk(store, ("search_memory", {"query": "x", "namespace": ["memories", "bob"]}))
    assert refused.is_error and "namespace" in refused.content[0].text


def test_the_namespace_is_filled_in_by_the_owner(store):
    call = ("manage_memory", {"content": "x y z"})
    talk(store, call, namespace=("memories", "{user_id}"), variables={"user_id": "ann"})
    assert len(store.search(ANN)) == 1


def test_clients_are_told_which_tools_only_read(store):
    hints = {name: tool.annotations for name, tool in listed(store).items()}
    assert {name for name, hint in hints.items() if hint.read_only_hint} == {"search_memory", "optimize_prompts"}
    assert [name for name, hint in hints.items() if hint.destructive_hint] == ["manage_memory"]
    assert hints["search_memory"].idempotent_hint


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("search_memory", {}, "'query' is a required property"),
        ("search_memory", {"query": "x", "limit": "many"}, "limit"),
        ("manage_memory", {"action": "explode"}, "explode"),
        ("manage_memory", {"action": "delete", "id": "none"}, "There is no memory none"),
        ("manage_memory", {}, "content is needed"),
        ("manage_memory", {"content": "a\x00b"}, "NUL"),
        ("extract_memories", {"messages": []}, "messages"),
    ],
)
def test_what_a_model_does_wrong_it_is_told_as_the_tools_error(store, name, arguments, told):
    (answer,) = talk(store, (name, arguments))
    assert answer.is_error and told in answer.content[0].text and answer.structured_content is None
    assert store.search(()) == []


def test_nulls_are_arguments_left_out(store):
    (answer,) = talk(store, ("manage_memory", {"content": "x y z", "id": None, "action": None}))
    assert answer.structured_content["done"] == "created"


def test_a_tool_that_is_not_there_is_a_protocol_error(store):
    async def main():
        async with Client(make_server(store, Offer())) as client:
            with pytest.raises(MCPError, match="there is no tool 'nope'"):
                await client.call_tool("nope", {})

    asyncio.run(main())


class Broken(FaissStore):
    def batch(self, ops):
        raise StoreError("the password is 1234")


def test_no_text_of_an_inner_error_reaches_the_agent(caplog):
    with Broken() as store:
        (answer,) = talk(store, ("search_memory", {"query": "x"}))
    assert answer.is_error and "1234" not in answer.content[0].text and "under" in answer.content[0].text
    assert "tool failed" in caplog.text


def test_dspy_uses_the_tools_over_stdio(tmp_path):
    code = "import sys; from langmem_dspy.cli import main; sys.argv[0] = 'langmem-dspy'; main()"
    options = ["mcp", "--store", str(tmp_path / "m"), "--namespace", "memories/{user_id}", "--var", "user_id=ann"]

    async def main():
        params = StdioServerParameters(command=sys.executable, args=["-c", code, *options])
        async with Client(stdio_client(params)) as client:
            made = [dspy.Tool.from_mcp_tool(client, tool) for tool in (await client.list_tools()).tools]
            tools = {tool.name: tool for tool in made}
            created = await tools["manage_memory"].acall(content="Ann likes shoo-fly pie")
            return created, await tools["search_memory"].acall(query="pie")

    created, found = asyncio.run(main())
    assert created.startswith("Created memory") and "shoo-fly pie" in found
    with FaissStore(tmp_path / "m") as store:
        assert len(store.search(ANN)) == 1


# --- over HTTP ---


def post(app, *requests):
    """The answers to JSON-RPC `requests`, each with the headers it is sent with."""

    async def main():
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            answers = [
                await client.post("/mcp", json=body, headers={"accept": "application/json, text/event-stream", **sent})
                for body, sent in requests
            ]
            answers.append(await client.get("/mcp", headers=requests[0][1]))
        await app.state.mcp.stop()
        return answers

    return asyncio.run(main())


def calling(name, **arguments):
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


def result(answer):
    (data,) = [line[5:] for line in answer.text.splitlines() if line.startswith("data:") and line[5:].strip()]
    return json.loads(data)["result"]


def test_over_http_a_key_leads_to_its_own_memories_alone(store, keys):
    ann, bob = ({"x-api-key": keys.create(name)} for name in ("ann", "bob"))
    bearer = {"authorization": f"Bearer {ann['x-api-key']}"}
    save, find = calling("manage_memory", content="Ann likes pie"), calling("search_memory", query="pie")
    saved, hers, his, hers_again, none, stream = post(
        create_app(Service(store, keys=keys)), (save, ann), (find, ann), (find, bob), (find, bearer), (find, {})
    )
    assert result(saved)["structuredContent"]["done"] == "created"
    assert [m["content"] for m in result(hers)["structuredContent"]["memories"]] == ["Ann likes pie"]
    assert result(his)["structuredContent"] == {"memories": []}
    assert result(hers_again)["structuredContent"] == result(hers)["structuredContent"]
    assert none.status_code == 401 and stream.status_code == 405
    assert store.list_namespaces() == [("ann", "memories")]
