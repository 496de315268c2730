"""/runs and /threads/{thread_id}/runs: run a graph, in the background, waited for, or streamed."""

from __future__ import annotations

import asyncio
import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from langmem_dspy.services.answers import accepted, ended, places, streamed, waited
from langmem_dspy.services.bodies import CancelRuns, Count, CreateRun, Page, Status
from langmem_dspy.services.handling import (
    RunId,
    Select,
    ThreadId,
    graph_of,
    runs_of,
    takes,
    tenant_of,
    threads_of,
)
from langmem_dspy.services.run import OPEN, Run
from langmem_dspy.services.run_events import MODES
from langmem_dspy.services.runs import Runs, configurable
from langmem_dspy.services.wire import Refused, answer, checked, only, read, read_json, uuid_text

router = APIRouter(tags=["runs"])

_NOT_OFFERED = (
    "webhook", "command", "checkpoint", "checkpoint_id", "interrupt_before", "interrupt_after", "feedback_keys",
)  # fmt: skip
_KEPT = frozenset({
    "input", "config", "context", "metadata", "stream_mode", "if_not_exists", "multitask_strategy", "on_completion",
    "after_seconds",
})  # fmt: skip

Action = Annotated[Literal["interrupt", "rollback"], Query()]


@router.post("/runs", openapi_extra=takes(CreateRun))
@router.post("/threads/{thread_id}/runs", openapi_extra=takes(CreateRun))
async def create_run(request: Request, thread_id: ThreadId | None = None) -> Response:
    """Run a graph in the background."""
    run = await _begun(request, await read(request, CreateRun), thread_id)
    return answer(_as_accepted(request, run), 200, places(run, "join"))


@router.post("/runs/wait", openapi_extra=takes(CreateRun))
@router.post("/threads/{thread_id}/runs/wait", openapi_extra=takes(CreateRun))
async def wait_run(request: Request, thread_id: ThreadId | None = None) -> Response:
    """Run a graph and give its output; a failure is {"__error__": {"error", "message"}}."""
    body = await read(request, CreateRun)
    run = await _begun(request, body, thread_id)
    return waited(runs_of(request), run, cancel=body.on_disconnect == "cancel")


@router.post("/runs/stream", openapi_extra=takes(CreateRun))
@router.post("/threads/{thread_id}/runs/stream", openapi_extra=takes(CreateRun))
async def stream_run(request: Request, thread_id: ThreadId | None = None) -> Response:
    """Run a graph and stream what comes of it as server-sent events."""
    body = await read(request, CreateRun)
    run = await _begun(request, body, thread_id)
    return streamed(runs_of(request), run, run.modes, request, cancel=body.on_disconnect == "cancel")


@router.post("/runs/batch", openapi_extra=takes(CreateRun, many=True))
async def create_runs(request: Request) -> Response:
    """Run several graphs in the background; nothing is begun where one of them cannot be."""
    sent, most = await read_json(request), request.app.state.limits.batch
    if not isinstance(sent, list) or not 1 <= len(sent) <= most:
        raise Refused(422, f"the body is a list of 1 to {most} runs")
    bodies = [checked(one, CreateRun, f"[{i}].") for i, one in enumerate(sent)]
    requests = [_checked(request, body) for body in bodies]
    runs = runs_of(request)
    begun = [runs.accept(tenant_of(request), None, graph, asked) for graph, asked in requests]
    for run in begun:
        await accepted(runs, run)
    return answer([_as_accepted(request, run) for run in begun])


@router.post("/runs/cancel", status_code=204, openapi_extra=takes(CancelRuns))
async def cancel_runs(request: Request, action: Action = "interrupt") -> Response:
    """Cancel runs of a thread by their ids, or all of a status; 404 where none of them is under way."""
    body = await read(request, CancelRuns)
    if (body.thread_id is None or not body.run_ids) and body.status is None:
        raise Refused(422, "say which runs: thread_id and run_ids, or a status")
    thread = None if body.thread_id is None else uuid_text(body.thread_id, "thread_id")
    wanted = None if body.run_ids is None else {uuid_text(one, "run_ids") for one in body.run_ids}
    runs = runs_of(request)
    meant = [
        run
        for run in runs.open_of(tenant_of(request))
        if (wanted is None or run.id in wanted)
        and thread in (None, run.thread)
        and body.status in (None, "all", run.status)
    ]
    await _cancel(runs, meant, action)
    return Response(status_code=204)


@router.get("/threads/{thread_id}/runs")
async def list_runs(
    request: Request,
    thread_id: ThreadId,
    limit: Page = 10,
    offset: Count = 0,
    status: Annotated[Status | None, Query()] = None,
    select: Select = None,
) -> Response:
    """The runs of a thread, newest first."""
    tenant, thread = tenant_of(request), str(thread_id)
    found = runs_of(request).of_thread(tenant, thread, status, limit, offset)
    if not found:
        threads_of(request).find(tenant, thread)
    return answer([only(_view(request, run), select) for run in found])


@router.get("/threads/{thread_id}/runs/{run_id}")
async def get_run(request: Request, thread_id: ThreadId, run_id: RunId) -> Response:
    """How a run stands."""
    return answer(_view(request, _found(request, thread_id, run_id)))


@router.delete("/threads/{thread_id}/runs/{run_id}", status_code=204)
async def delete_run(request: Request, thread_id: ThreadId, run_id: RunId) -> Response:
    """Delete a run; one under way is cancelled first."""
    await runs_of(request).delete(_found(request, thread_id, run_id))
    return Response(status_code=204)


@router.get("/threads/{thread_id}/runs/{run_id}/join")
async def join_run(
    request: Request, thread_id: ThreadId, run_id: RunId, cancel_on_disconnect: bool = False
) -> Response:
    """Wait for the output of a run."""
    run = _found(request, thread_id, run_id)
    return waited(runs_of(request), run, cancel=cancel_on_disconnect)


@router.get("/threads/{thread_id}/runs/{run_id}/stream")
@router.get("/runs/{run_id}/stream", include_in_schema=False)  # LangGraph's JavaScript SDK, given no thread
async def join_run_stream(
    request: Request,
    run_id: RunId,
    thread_id: ThreadId | None = None,
    stream_mode: Annotated[list[str] | None, Query()] = None,
    cancel_on_disconnect: bool = False,
) -> Response:
    """The events of a run, from the one after the `Last-Event-ID` header."""
    run = _found(request, thread_id, run_id)
    modes = _modes([mode for mode in stream_mode or () if mode]) or run.modes  # clients send an empty one for none
    return streamed(runs_of(request), run, modes, request, cancel=cancel_on_disconnect)


@router.post("/threads/{thread_id}/runs/{run_id}/cancel", status_code=202)
async def cancel_run(
    request: Request,
    thread_id: ThreadId,
    run_id: RunId,
    wait: bool = False,
    action: Action = "interrupt",
) -> Response:
    """Cancel a run, with the calls to its model. With `wait` the answer, 200, is what the thread then holds."""
    runs, run = runs_of(request), _found(request, thread_id, run_id)
    await _cancel(runs, [run], action)
    return ended(runs, run) if wait else Response(status_code=202)


def _checked(request: Request, body: CreateRun) -> tuple[str, dict[str, Any]]:
    """The graph, and of the request what a run is made of. Raises `Refused` and `InputError`."""
    if asked := [name for name in _NOT_OFFERED if getattr(body, name)]:
        raise Refused(422, f"{', '.join(asked)}: not offered by this server")
    graph = graph_of(request, body.assistant_id)
    _modes(body.stream_mode)
    asked_for = body.model_dump(include=set(_KEPT), exclude_none=True)
    config = (body.config or {}).get("configurable")
    if config is not None and not isinstance(config, dict):
        raise Refused(422, "config.configurable is an object")
    runs_of(request).models.check(configurable(asked_for))
    return graph.name, asked_for


async def _begun(request: Request, body: CreateRun, thread_id: uuid.UUID | None) -> Run:
    graph, asked = _checked(request, body)
    runs = runs_of(request)
    run = runs.accept(tenant_of(request), None if thread_id is None else str(thread_id), graph, asked)
    await accepted(runs, run)
    return run


async def _cancel(runs: Runs, meant: list[Run], action: str) -> None:
    """Cancel runs. Those that are not yet at work have ended when this returns. Raises `Refused` where all had."""
    under_way = [run for run in meant if run.status in OPEN]
    if not under_way:
        raise Refused(404, "there is no such run under way")
    for run in under_way:
        runs.cancel(run, rollback=action == "rollback")
    for run in under_way:
        if run.calls is None and run.task is not None:
            await asyncio.wait([run.task])


def _found(request: Request, thread_id: uuid.UUID | None, run_id: uuid.UUID) -> Run:
    thread = None if thread_id is None else str(thread_id)
    return runs_of(request).find(tenant_of(request), thread, str(run_id))


def _view(request: Request, run: Run) -> dict[str, Any]:
    graph = request.app.state.graphs.get(run.graph)
    return run.view(graph.assistant_id if graph is not None else run.graph)


def _as_accepted(request: Request, run: Run) -> dict[str, Any]:
    """A run as its caller got it accepted, which it may be past already."""
    return {**_view(request, run), "status": "pending"}


def _modes(modes: str | list[str] | None) -> list[str]:
    several = [modes] if isinstance(modes, str) else list(modes or ())
    if unknown := sorted(set(several) - set(MODES)):
        raise Refused(422, f"stream_mode is among {', '.join(MODES)}; got {', '.join(unknown)[:100]}")
    return several
