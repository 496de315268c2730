"""The unmodified client of LangGraph against the server, through every resource it knows."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from langgraph.pregel.remote import RemoteGraph
from langgraph_sdk import get_client

CONVERSATION = [
    {"role": "user", "content": "I prefer dark mode and minimalist interfaces"},
    {"role": "assistant", "content": "I'll remember your UI preferences."},
]


@pytest.fixture
def thread(client):
    return client.threads.create()["thread_id"]


def test_the_readmes_prompt_optimization_runs_with_url_and_model_changed(server):
    async def snippet():
        async with get_client(url=server.url) as client:
            return await client.runs.wait(
                None,
                "optimize_prompts",
                input={
                    "threads": [[CONVERSATION, 'If `ticket` mentions "refund", set `queue` to "billing".']],
                    "prompts": [
                        {
                            "name": "assistant_prompt",
                            "prompt": "You are a helpful assistant.",
                            "when_to_update": "When user requests more detail",
                            "update_instructions": "Add instructions about providing context",
                        }
                    ],
                },
                config={"configurable": {"model": "offline"}},
            )

    results = asyncio.run(snippet())
    assert "billing" in results["optimized_prompts"][0]["prompt"]
    assert results["updated_prompts"] == results["optimized_prompts"]


def test_the_readmes_extraction_is_found_by_its_search(server):
    async def snippet():
        async with get_client(url=server.url) as client:
            results = await client.runs.wait(
                None,
                "extract_memories",
                input={
                    "messages": CONVERSATION,
                    "schemas": [
                        {
                            "title": "UserPreference",
                            "type": "object",
                            "properties": {"preference": {"type": "string"}, "category": {"type": "string"}},
                            "description": "User preferences",
                        }
                    ],
                },
                config={"configurable": {"model": "offline"}},
            )
            return results, await client.store.search_items((), query="UI preferences")

    results, memories = asyncio.run(snippet())
    assert results["updated_memories"]
    assert memories["items"][0]["value"] == results["updated_memories"][0]["value"]


def test_an_item_goes_in_and_out_of_the_store(client):
    client.store.put_item(["users", "ann"], key="pie", value={"content": "likes pie"})
    item = client.store.get_item(["users", "ann"], key="pie")
    assert (item["namespace"], item["value"]) == (["users", "ann"], {"content": "likes pie"})
    found = client.store.search_items(["users"], query="pie", filter={"content": "likes pie"})["items"]
    assert found[0]["key"] == "pie" and found[0]["score"] > 0
    assert ["users", "ann"] in client.store.list_namespaces(prefix=["users"])["namespaces"]
    client.store.delete_item(["users", "ann"], key="pie")
    assert client.store.get_item(["users", "ann"], key="pie") is None


def test_a_run_is_waited_for_with_a_place_to_come_back_to(server):
    with server.client() as http:
        answer = http.post("/runs/wait", json={"assistant_id": "echo", "input": {"a": 1}})
        assert answer.status_code == 200 and answer.json() == {"a": 1}
        assert http.get(answer.headers["location"]).json() == {"a": 1}
        assert answer.headers["location"] == answer.headers["content-location"] + "/join"


def test_a_failure_is_told_of_in_a_200(server):
    with server.client() as http:
        answer = http.post("/runs/wait", json={"assistant_id": "extract_memories", "input": {"nothing": 1}})
        assert answer.status_code == 200
        assert answer.json()["__error__"]["error"] == "InputError"
        assert "messages" in answer.json()["__error__"]["message"]
        assert http.get(answer.headers["location"]).json() == answer.json()


def test_values_of_a_thread_grow_with_its_runs_and_keep_their_history(client, thread):
    assert client.runs.wait(thread, "echo", input={"a": 1}) == {"a": 1}
    run = client.runs.create(thread, "echo", input={"b": 2})
    assert client.runs.join(thread, run["run_id"]) == {"b": 2}
    assert client.threads.get_state(thread)["values"] == {"a": 1, "b": 2}
    newest, oldest = client.threads.get_history(thread)
    assert newest["parent_checkpoint"]["checkpoint_id"] == oldest["checkpoint"]["checkpoint_id"]
    at = client.threads.get_state(thread, checkpoint_id=oldest["checkpoint"]["checkpoint_id"])
    assert at["values"] == {"a": 1}
    assert len(client.threads.get_history(thread, before=newest["checkpoint"]["checkpoint_id"])) == 1
    assert [one["status"] for one in client.runs.list(thread)] == ["success", "success"]


def test_runs_of_one_thread_are_done_in_their_order(client, thread):
    runs = [client.runs.create(thread, "echo", input={"n": n}) for n in range(8)]
    client.runs.join(thread, runs[-1]["run_id"])
    states = client.threads.get_history(thread, limit=20)
    assert [state["values"]["n"] for state in reversed(states)] == list(range(8))


def test_a_thread_is_updated_copied_counted_and_deleted(client):
    mark = str(uuid.uuid4())
    thread = client.threads.create(metadata={"mark": mark})["thread_id"]
    client.threads.update(thread, metadata={"more": 1})
    client.threads.update_state(thread, {"c": 3})
    copy = client.threads.copy(thread)["thread_id"]
    assert client.threads.get_state(copy)["values"] == {"c": 3}
    assert client.threads.count(metadata={"mark": mark, "more": 1}) == 2
    found = client.threads.search(metadata={"mark": mark}, sort_by="created_at", sort_order="asc")
    assert [one["thread_id"] for one in found] == [thread, copy]
    assert client.threads.prune([copy]) == {"pruned_count": 1}
    client.threads.delete(thread)
    assert client.threads.count(metadata={"mark": mark}) == 0
    with pytest.raises(Exception, match="no thread"):
        client.threads.get(thread)


def test_a_thread_that_is_there_already_is_taken_only_where_asked_for(client, thread):
    assert client.threads.create(thread_id=thread, if_exists="do_nothing")["thread_id"] == thread
    with pytest.raises(Exception, match="already"):
        client.threads.create(thread_id=thread)
    missing = str(uuid.uuid4())
    with pytest.raises(Exception, match="no thread"):
        client.runs.wait(missing, "echo", input={})
    assert client.runs.wait(missing, "echo", input={"a": 1}, if_not_exists="create") == {"a": 1}


def test_events_of_a_run_are_numbered_and_a_client_goes_on_where_it_was(client, thread):
    parts = list(client.runs.stream(thread, "echo", input={"a": 1}, stream_mode=["values", "updates"]))
    assert [part.event for part in parts] == ["metadata", "updates", "values", "end"]
    numbers = [int(part.id) for part in parts]
    assert numbers == sorted(set(numbers))
    run = parts[0].data["run_id"]
    rest = client.runs.join_stream(thread, run, stream_mode="values", last_event_id=parts[1].id)
    assert [(part.event, part.id) for part in rest] == [("values", parts[2].id), ("end", parts[3].id)]
    assert [part.event for part in client.runs.join_stream(thread, run)] == ["metadata", "updates", "values", "end"]


def test_each_stream_mode_tells_of_a_run_what_langgraphs_clients_expect(client, thread):
    def streamed(mode):
        parts = list(client.runs.stream(thread, "echo", input={"a": 1}, stream_mode=mode))
        assert (parts[0].event, parts[-1].event) == ("metadata", "end")
        assert {part.event for part in parts[1:-1]} <= {mode}
        return [part.data for part in parts[1:-1]]

    begun, done = streamed("tasks")
    assert (begun["name"], begun["input"]) == ("echo", {"a": 1}) and begun["id"] == done["id"]
    assert (done["result"], done["error"], done["interrupts"]) == ({"a": 1}, None, [])
    debug = streamed("debug")
    assert [one["type"] for one in debug] == ["task", "task_result", "checkpoint"]
    state = streamed("checkpoints")[-1]
    at = client.threads.get_state(thread)
    assert state["config"]["configurable"]["checkpoint_id"] == at["checkpoint"]["checkpoint_id"]
    assert state["values"] == at["values"]
    events = streamed("events")
    assert [one["event"] for one in events] == ["on_chain_start", "on_chain_end"]
    assert events[-1]["data"]["output"] == {"a": 1}
    for mode in ("messages", "messages-tuple", "custom"):  # no chat model of LangChain's is asked
        assert streamed(mode) == []


def test_parts_of_version_two_are_read_too(client):
    parts = list(client.runs.stream(None, "echo", input={"a": 1}, version="v2"))
    assert [(part["type"], part["data"]) for part in parts][-1] == ("values", {"a": 1})


def test_a_failure_is_streamed_as_an_error(client):
    parts = list(client.runs.stream(None, "extract_memories", input={}))
    assert [part.event for part in parts] == ["metadata", "error"]
    assert parts[1].data["error"] == "InputError"


def test_every_run_says_that_the_simulation_answers(client, server):
    run = client.runs.create(None, "echo", input={})
    assert "offline simulation" in run["metadata"]["simulation"]
    with server.client() as http:
        assert "offline simulation" in http.get("/info").json()["simulation"]


def test_a_batch_is_begun_as_a_whole_or_not_at_all(client):
    runs = client.runs.create_batch([{"assistant_id": "echo", "input": {"n": n}} for n in range(3)])
    assert [client.runs.join(run["thread_id"], run["run_id"]) for run in runs] == [{"n": n} for n in range(3)]
    with pytest.raises(Exception, match="no assistant"):
        client.runs.create_batch([{"assistant_id": "echo"}, {"assistant_id": "nobody"}])


def test_a_run_that_is_due_later_is_cancelled(client, thread):
    run = client.runs.create(thread, "echo", input={}, after_seconds=3600)
    assert client.threads.get(thread)["status"] == "busy"
    client.runs.cancel(thread, run["run_id"], wait=True)
    assert client.runs.get(thread, run["run_id"])["status"] == "interrupted"
    assert client.threads.get(thread)["status"] == "interrupted"


def test_a_run_that_has_ended_is_not_there_to_be_cancelled(client, thread):
    run = client.runs.create(thread, "echo", input={"a": 1})["run_id"]
    client.runs.join(thread, run)
    for cancel in (
        lambda: client.runs.cancel(thread, run),
        lambda: client.runs.cancel(thread, run, wait=True),
        lambda: client.runs.cancel_many(thread_id=thread, run_ids=[run]),
    ):
        with pytest.raises(Exception) as caught:
            cancel()
        assert caught.value.response.status_code == 404


def test_to_wait_for_the_end_of_a_cancelled_run_gives_what_its_thread_holds(client, thread):
    client.runs.wait(thread, "echo", input={"a": 1})
    run = client.runs.create(thread, "echo", input={"b": 2}, after_seconds=3600)
    assert client.runs.cancel(thread, run["run_id"], wait=True) == {"a": 1}


def test_a_run_is_pending_when_it_is_accepted_and_says_whose_it_is(client, thread):
    run = client.runs.create(thread, "echo", input={"a": 1}, metadata={"mine": 1}, stream_mode=["values", "debug"])
    echo = client.assistants.get("echo")["assistant_id"]
    assert (run["status"], run["kwargs"]["stream_mode"]) == ("pending", ["values", "debug"])
    assert {"mine": 1, "graph_id": "echo", "assistant_id": echo}.items() <= run["metadata"].items()
    assert client.threads.get(thread)["metadata"] == {"graph_id": "echo", "assistant_id": echo}


def test_a_rollback_leaves_no_trace_of_a_run(client, thread):
    run = client.runs.create(thread, "echo", input={}, after_seconds=3600)
    client.runs.cancel(thread, run["run_id"], wait=True, action="rollback")
    assert client.runs.list(thread) == []


def test_many_runs_are_cancelled_at_once(client, thread):
    runs = [client.runs.create(thread, "echo", input={}, after_seconds=3600) for _ in range(3)]
    client.runs.cancel_many(thread_id=thread, run_ids=[run["run_id"] for run in runs])
    assert {run["status"] for run in client.runs.list(thread)} == {"interrupted"}
    answers = [client.runs.join(thread, run["run_id"]) for run in runs]
    assert [answer["__error__"]["error"] for answer in answers] == ["UserInterrupt"] * 3


@pytest.mark.parametrize("strategy, status", [("interrupt", "interrupted"), ("rollback", None)])
def test_a_new_run_takes_the_place_of_one_under_way(client, thread, strategy, status):
    client.runs.create(thread, "echo", input={"old": 1}, after_seconds=3600)
    assert client.runs.wait(thread, "echo", input={"new": 1}, multitask_strategy=strategy) == {"new": 1}
    assert [run["status"] for run in client.runs.list(thread)] == ["success", *([status] if status else [])]


def test_a_busy_thread_is_refused_where_asked_for(client, thread):
    client.runs.create(thread, "echo", input={}, after_seconds=3600)
    with pytest.raises(Exception, match="busy"):
        client.runs.wait(thread, "echo", input={}, multitask_strategy="reject")
    client.threads.delete(thread)


def test_assistants_are_found_by_graph_and_by_id(client):
    found = client.assistants.search()
    assert {one["graph_id"] for one in found} == {"extract_memories", "optimize_prompts", "echo"}
    assert client.assistants.count() == 3
    echo = client.assistants.search(graph_id="echo")[0]["assistant_id"]
    assert client.runs.wait(None, echo, input={"a": 1}) == {"a": 1}
    assert client.assistants.get("echo")["assistant_id"] == echo
    assert client.assistants.get_schemas("extract_memories")["input_schema"]["required"] == ["messages"]
    assert len(client.assistants.get_graph(echo)["nodes"]) == 3
    assert client.assistants.get_subgraphs(echo) == {}


@pytest.mark.parametrize(
    "asked",
    [
        lambda client: client.assistants.create("echo"),
        lambda client: client.assistants.delete("echo"),
        lambda client: client.crons.create("echo", schedule="* * * * *"),
        lambda client: client.runs.create(None, "echo", input={}, webhook="http://elsewhere"),
        lambda client: client.runs.create(None, "echo", command={"resume": 1}),
        lambda client: client.runs.create(None, "echo", input={}, interrupt_before="*"),
    ],
)
def test_what_is_not_offered_is_refused_in_words(client, asked):
    with pytest.raises(Exception, match=r"offered|cannot be made") as caught:
        asked(client)
    assert caught.value.response.status_code == 422


def test_a_remote_graph_is_invoked_with_and_without_a_thread(client):
    graph = RemoteGraph("echo", sync_client=client)
    assert graph.invoke({"a": 1}) == {"a": 1}
    config = {"configurable": {"thread_id": str(uuid.uuid4())}}
    assert graph.invoke({"a": 2}, config) == {"a": 2}
    graph.update_state(config, {"b": 3})
    assert graph.get_state(config).values == {"a": 2, "b": 3}
    assert len(list(graph.get_state_history(config))) == 2
    assert set(graph.get_graph().nodes) == {"__start__", "echo", "__end__"}
