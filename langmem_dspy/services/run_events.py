"""What is streamed of a run. All of it follows from the run alone, so that a client that comes back, also to a server
that was started anew, goes on where it was.

A graph here is one step and no chat model of LangChain's, so that `messages`, `messages-tuple`, `custom`, `tools` and
`lifecycle` have no events of their own; as with LangGraph's server, they are no error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from langmem_dspy.services.run import Run
from langmem_dspy.services.wire import time_text

MODES = (
    "values", "updates", "messages", "messages-tuple", "events", "tasks", "checkpoints", "debug", "custom", "tools",
    "lifecycle",
)  # fmt: skip
_ALWAYS = ("metadata", "error", "end")

Event = tuple[int, str, Any]
"""Its number, its name and its data. Each event there can be has one number, whichever modes are asked for."""


def first_event(run: Run) -> Event:
    """What is known of a run once it was accepted."""
    about = {"run_id": run.id, "attempt": max(run.attempts, 1), "thread_id": run.thread}
    told = {name: run.metadata[name] for name in ("model", "simulation") if name in run.metadata}
    return 1, "metadata", {**about, **told}


def events_at_start(run: Run, modes: Sequence[str]) -> Iterator[Event]:
    """What is streamed once a run is at work."""
    return _numbered(2, _beginning(run), modes)


def events_at_end(run: Run, modes: Sequence[str]) -> Iterator[Event]:
    """What is streamed of a run that has ended."""
    return _numbered(5, _ending(run), modes)


def _numbered(first: int, events: Iterator[tuple[str, Any]], modes: Sequence[str]) -> Iterator[Event]:
    wanted = (*_ALWAYS, *modes)
    return ((i, name, data) for i, (name, data) in enumerate(events, first) if name in wanted)


def _beginning(run: Run) -> Iterator[tuple[str, Any]]:
    task = {**_task(run), "input": run.request.get("input"), "triggers": [f"branch:to:{run.graph}"]}
    yield "tasks", task
    yield "debug", _debug("task", task, run.created)
    yield "events", _chain_event(run, "on_chain_start", {"input": task["input"]})


def _ending(run: Run) -> Iterator[tuple[str, Any]]:
    error = run.error
    output = None if error is not None else orjson.loads(run.result or b"null")
    result = {**_task(run), "error": error and f"{error['error']}: {error['message']}", "result": output}
    yield "tasks", {**result, "interrupts": []}
    yield "debug", _debug("task_result", {**result, "interrupts": []}, run.updated)
    if error is not None:
        yield "error", error
        return
    yield "updates", {run.graph: output}
    state = _checkpoint(run, output)
    yield "checkpoints", state
    yield "debug", _debug("checkpoint", state, run.updated)
    yield "values", output
    yield "events", _chain_event(run, "on_chain_end", {"input": run.request.get("input"), "output": output})
    yield "end", None


def _task(run: Run) -> dict[str, Any]:
    return {"id": run.id, "name": run.graph}


def _debug(kind: str, payload: Any, at: float) -> dict[str, Any]:
    return {"step": 1, "timestamp": time_text(at), "type": kind, "payload": payload}


def _chain_event(run: Run, name: str, data: Any) -> dict[str, Any]:
    """As LangChain's `astream_events` tells it."""
    about = {"event": name, "name": run.graph, "run_id": run.id, "parent_ids": [], "tags": []}
    return {**about, "metadata": dict(run.metadata), "data": data}


def _checkpoint(run: Run, values: Any) -> dict[str, Any]:
    # A thread's state has the id of the run that led to it.
    configurable = {"thread_id": run.thread, "checkpoint_ns": "", "checkpoint_id": run.id}
    return {
        "config": {"configurable": configurable},
        "parent_config": None,
        "values": values,
        "metadata": {"source": "loop", "step": 1, "parents": {}, "run_id": run.id},
        "next": [],
        "tasks": [],
    }
