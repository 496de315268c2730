"""What the OpenAPI schema tells of each operation beside its parameters: examples, and the form of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel

from langmem_dspy.services import views

DESCRIPTION = """\
Memories and prompt optimization over HTTP, as LangGraph's clients speak it: `langgraph_sdk`, LangGraph's JavaScript \
SDK and `RemoteGraph` work unchanged.

A server with keys wants one as `x-api-key` or as a bearer token. Who holds it sees one namespace and what lies below \
it, as if that were all. A server without keys answers its own machine alone.

Two graphs can be run: `extract_memories` makes memories of conversations and keeps them, `optimize_prompts` makes \
better prompts of conversations and feedback. Their inputs and outputs are at /assistants/{name}/schemas. A run that \
was accepted ends, also when the server is killed meanwhile.

A request that is not done is answered by {"detail": "..."}. A run that fails is answered by 200 and \
{"__error__": {"error", "message"}}, since it was accepted before it failed. Times are ISO 8601 in UTC. At \
/mcp the same memory is served to agents by MCP, over streamable HTTP."""

TAGS = {
    "runs": "Run a graph: waited for, streamed, or in the background; alone, or in a thread.",
    "store": "Memories by namespace and key, and found by meaning.",
    "threads": "What belongs together over several runs, and the states it went through.",
    "assistants": "The graphs that are served. Each has one assistant, by its name or its id.",
    "system": "Is it up, what is it, what does it do.",
}


@dataclass(frozen=True)
class Told:
    """`many`: a list of `model`. `kind` is the media type of the answer, None for one without a body.

    `runs`: it begins a run, and may stand at a path of a thread too.
    """

    model: type[BaseModel] | None = None
    many: bool = False
    null: bool = False
    plain: Mapping[str, Any] = field(default_factory=dict)
    kind: str | None = "application/json"
    example: Any = None
    description: str = ""
    bodies: Mapping[str, Any] = field(default_factory=dict)
    others: Mapping[int, str] = field(default_factory=dict)
    runs: bool = False
    conflicts: bool = False

    def schema(self, template: str) -> dict[str, Any]:
        if self.model is None:
            return dict(self.plain)
        one: dict[str, Any] = {"$ref": template.format(model=self.model.__name__)}
        if self.many:
            return {"type": "array", "items": one}
        return {"anyOf": [one, {"type": "null"}]} if self.null else one


_TIME = "2026-01-05T09:30:00+00:00"
_THREAD, _RUN = "0f0c8a52-6e0b-4f8e-8a43-0b4f3ff0c6d1", "5a3d8a0e-14a2-4c9f-bf4e-9d5a6d1a7c11"
_TALK = [
    {"role": "user", "content": "I prefer dark mode and minimalist interfaces"},
    {"role": "assistant", "content": "I'll remember your UI preferences."},
]
_EXTRACT = {"assistant_id": "extract_memories", "input": {"messages": _TALK, "namespace": ["memories", "ann"]}}
_PROMPT = {
    "name": "assistant_prompt",
    "prompt": "You are a helpful assistant.",
    "when_to_update": "When user requests more detail",
    "update_instructions": "Add instructions about providing context",
}
_OPTIMIZE = {
    "assistant_id": "optimize_prompts",
    "input": {"prompts": [_PROMPT], "threads": [[_TALK, "Say what you will remember, in one sentence."]]},
    "config": {"configurable": {"kind": "gradient"}},
}
_ITEM = {
    "namespace": ["memories", "ann"],
    "key": "ui",
    "value": {"content": "Ann prefers dark mode."},
    "created_at": _TIME,
    "updated_at": _TIME,
}
_VALUES = {"updated_memories": [{**_ITEM, "version": 1}]}
_RUNS = {"Extract memories": _EXTRACT, "Improve prompts": _OPTIMIZE}
_STREAM = (
    f'id: 1\nevent: metadata\ndata: {{"run_id": "{_RUN}", "attempt": 1, "thread_id": "{_THREAD}"}}\n\n'
    'id: 10\nevent: values\ndata: {"updated_memories": []}\n\nid: 12\nevent: end\ndata: null\n\n'
)
_EVENTS = Told(plain={"type": "string"}, kind="text/event-stream", example=_STREAM, description="server-sent events")
_OUTPUT = 'The output of the graph, or {"__error__": {...}}. Line breaks before it keep the connection alive.'
_NUMBER = {"type": "integer"}
_DONE = Told(kind=None, description="done")
_STATE_QUERY: dict[str, Any] = {"The newest": {"checkpoint": {}}}

OPERATIONS: Mapping[str, Told] = {
    "create_run": Told(views.RunView, bodies=_RUNS, runs=True, description="the run, which is accepted"),
    "wait_run": Told(example=_VALUES, bodies=_RUNS, runs=True, description=_OUTPUT),
    "stream_run": replace(_EVENTS, bodies=_RUNS, runs=True),
    "create_runs": Told(
        views.RunView,
        many=True,
        bodies={"Two runs": [_EXTRACT, _OPTIMIZE]},
        others={404: "one of them has the id of no assistant of this server; none is begun"},
    ),
    "cancel_runs": Told(
        kind=None,
        bodies={"All of mine": {"status": "all"}},
        others={404: "none of them is under way"},
        description="they are told to end",
    ),
    "list_runs": Told(views.RunView, many=True),
    "get_run": Told(views.RunView),
    "delete_run": _DONE,
    "join_run": Told(example=_VALUES, description=_OUTPUT),
    "join_run_stream": _EVENTS,
    "cancel_run": Told(
        kind=None,
        others={200: "it has ended, where `wait` was asked for; the values of its thread"},
        description="it is told to end",
    ),
    "put_item": Told(
        kind=None,
        bodies={"A memory": {name: _ITEM[name] for name in ("namespace", "key", "value")}},
        description="written",
        conflicts=True,
    ),
    "get_item": Told(views.StoredItem, null=True, example=_ITEM, description="the item, or null"),
    "delete_item": Told(
        kind=None, bodies={"A memory": {"namespace": ["memories", "ann"], "key": "ui"}}, description="gone"
    ),
    "search_items": Told(
        views.FoundItems,
        bodies={
            "By meaning": {"namespace_prefix": ["memories"], "query": "UI preferences", "limit": 5},
            "By fields": {"namespace_prefix": ["memories", "ann"], "filter": {"kind": "preference"}},
        },
        example={"items": [{**_ITEM, "score": 0.47}]},
    ),
    "list_namespaces": Told(
        views.Namespaces,
        bodies={"Everyone's": {"prefix": ["memories"], "max_depth": 2}},
        example={"namespaces": [["memories", "ann"]]},
    ),
    "create_thread": Told(views.ThreadView, bodies={"With metadata": {"metadata": {"topic": "ui"}}}, conflicts=True),
    "search_threads": Told(views.FoundThread, many=True, bodies={"Idle ones": {"status": "idle", "limit": 5}}),
    "count_threads": Told(plain=_NUMBER, bodies={"Idle ones": {"status": "idle"}}, example=1),
    "prune_threads": Told(views.Pruned, bodies={"One": {"thread_ids": [_THREAD], "strategy": "keep_latest"}}),
    "get_thread": Told(views.ThreadView),
    "update_thread": Told(
        views.ThreadView,
        bodies={"Metadata": {"metadata": {"topic": "ui"}}},
        others={204: "for `Prefer: return=minimal`"},
    ),
    "delete_thread": _DONE,
    "copy_thread": Told(views.ThreadView),
    "get_state": Told(views.State),
    "get_state_at": Told(views.State),
    "read_state": Told(views.State, bodies=_STATE_QUERY),
    "update_state": Told(views.StateUpdate, bodies={"A value": {"values": {"topic": "ui"}}}),
    "read_history": Told(views.State, many=True, bodies={"The last two": {"limit": 2}}),
    "get_history": Told(views.State, many=True),
    "search_assistants": Told(views.Assistant, many=True, bodies={"All": {"limit": 10}}),
    "count_assistants": Told(plain=_NUMBER, bodies={"All": {}}, example=2),
    "get_assistant": Told(views.Assistant),
    "get_graph": Told(views.Drawing),
    "get_schemas": Told(views.Schemas),
    "get_subgraphs": Told(plain={"type": "object"}, example={}),
    "list_versions": Told(views.Assistant, many=True, bodies={"All": {}}),
    "ok": Told(views.Up, example={"ok": True}),
    "info": Told(views.Info),
    "metrics": Told(plain={"type": "string"}, kind="text/plain", example="langmem_runs_under_way 0.0\n"),
    "status": Told(plain={"type": "object"}, description="what the page at /status shows"),
}
