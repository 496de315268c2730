"""/threads: what belongs together over several runs, and the states it went through."""

from __future__ import annotations

import uuid
from itertools import islice
from typing import Any

from fastapi import APIRouter, Request, Response

from langmem_dspy.services.bodies import (
    CountThreads,
    CreateThread,
    Page,
    PruneThreads,
    ReadHistory,
    ReadState,
    SearchThreads,
    UpdateState,
    UpdateThread,
)
from langmem_dspy.services.extracting import Part
from langmem_dspy.services.handling import Select, ThreadId, runs_of, takes, tenant_of, threads_of
from langmem_dspy.services.thread_views import state_view, ttl_view, view
from langmem_dspy.services.wire import Refused, answer, only, paged, read, uuid_text

router = APIRouter(prefix="/threads", tags=["threads"])


@router.post("", openapi_extra=takes(CreateThread))
async def create_thread(request: Request) -> Response:
    """Make a thread."""
    body = await read(request, CreateThread)
    if body.thread_id is not None:
        body.thread_id = uuid_text(body.thread_id, "thread_id")
    return answer(await threads_of(request).create(tenant_of(request), body))


@router.post("/search", openapi_extra=takes(SearchThreads))
async def search_threads(request: Request) -> Response:
    """Threads by metadata, values and status, the last changed first."""
    body = await read(request, SearchThreads)
    parts = [Part(path) for path in (body.extract or {}).values()]  # refused before anything is looked for
    page, headers = paged(threads_of(request).search(tenant_of(request), body), body.limit, body.offset)
    found = [view(row) for row in page]
    told = [only(thread, body.select) for thread in found]
    if parts:
        for one, thread in zip(told, found, strict=True):
            one["extracted"] = {name: part.of(thread) for name, part in zip(body.extract or {}, parts, strict=True)}
    return answer(told, 200, headers)


@router.post("/count", openapi_extra=takes(CountThreads))
async def count_threads(request: Request) -> Response:
    """How many threads there are."""
    return answer(threads_of(request).count(tenant_of(request), await read(request, CountThreads)))


@router.post("/prune", openapi_extra=takes(PruneThreads))
async def prune_threads(request: Request) -> Response:
    """Delete threads, or all of their states but the last."""
    body, threads, tenant = await read(request, PruneThreads), threads_of(request), tenant_of(request)
    identifiers = [uuid_text(one, "thread_ids") for one in body.thread_ids]
    if body.strategy == "delete":
        await _end_runs(request, identifiers)
        return answer({"pruned_count": await threads.delete(tenant, identifiers)})
    return answer({"pruned_count": await threads.keep_latest(tenant, identifiers)})


@router.get("/{thread_id}")
async def get_thread(request: Request, thread_id: ThreadId, include: str = "") -> Response:
    """A thread; with `include=ttl` also when it will be forgotten."""
    row = threads_of(request).find(tenant_of(request), str(thread_id))
    return answer({**view(row), "ttl": ttl_view(row)} if "ttl" in include.split(",") else view(row))


@router.patch("/{thread_id}", openapi_extra=takes(UpdateThread))
async def update_thread(request: Request, thread_id: ThreadId) -> Response:
    """Merge metadata into a thread's."""
    body = await read(request, UpdateThread)
    updated = await threads_of(request).update(tenant_of(request), str(thread_id), body.metadata, body.ttl)
    if "return=minimal" in request.headers.get("prefer", ""):
        return Response(status_code=204)
    return answer(updated)


@router.delete("/{thread_id}", status_code=204)
async def delete_thread(request: Request, thread_id: ThreadId) -> Response:
    """Delete a thread with its runs and states; runs under way are cancelled."""
    tenant, identifier = tenant_of(request), str(thread_id)
    threads_of(request).find(tenant, identifier)
    await _end_runs(request, [identifier])
    await threads_of(request).delete(tenant, [identifier])
    return Response(status_code=204)


@router.post("/{thread_id}/copy")
async def copy_thread(request: Request, thread_id: ThreadId) -> Response:
    """A new thread with the same metadata, values and states."""
    return answer(await threads_of(request).copy(tenant_of(request), str(thread_id)))


@router.get("/{thread_id}/state")
async def get_state(request: Request, thread_id: ThreadId, subgraphs: bool = False, select: Select = None) -> Response:
    """The newest state of a thread."""
    return _state(request, thread_id, None, select)


@router.get("/{thread_id}/state/{checkpoint_id}")
async def get_state_at(
    request: Request, thread_id: ThreadId, checkpoint_id: str, subgraphs: bool = False, select: Select = None
) -> Response:
    """A state of a thread."""
    return _state(request, thread_id, checkpoint_id, select)


@router.post("/{thread_id}/state/checkpoint", openapi_extra=takes(ReadState))
async def read_state(request: Request, thread_id: ThreadId) -> Response:
    """A state of a thread; the newest where the checkpoint has no id."""
    body = await read(request, ReadState)
    return _state(request, thread_id, body.checkpoint.get("checkpoint_id"), body.select)


@router.post("/{thread_id}/state", openapi_extra=takes(UpdateState))
async def update_state(request: Request, thread_id: ThreadId) -> Response:
    """Merge values into a thread's, as a new state."""
    body = await read(request, UpdateState)
    if body.command:
        raise Refused(422, "command: not offered by this server; send values")
    at = body.checkpoint_id or (body.checkpoint or {}).get("checkpoint_id")
    threads, at = threads_of(request), None if at is None else str(at)
    made = await threads.set_state(tenant_of(request), str(thread_id), body.values, body.as_node, at)
    return answer({"checkpoint": made, "configurable": made, "checkpoint_id": made["checkpoint_id"]})


@router.post("/{thread_id}/history", openapi_extra=takes(ReadHistory))
async def read_history(request: Request, thread_id: ThreadId) -> Response:
    """The states of a thread, newest first."""
    body = await read(request, ReadHistory)
    return _history(request, thread_id, body)


@router.get("/{thread_id}/history")
async def get_history(request: Request, thread_id: ThreadId, limit: Page = 10, before: str | None = None) -> Response:
    """The states of a thread, newest first."""
    return _history(request, thread_id, ReadHistory(limit=limit, before=before))


def _history(request: Request, thread_id: uuid.UUID, body: ReadHistory) -> Response:
    threads, tenant, identifier = threads_of(request), tenant_of(request), str(thread_id)
    threads.find(tenant, identifier)
    states = threads.states(tenant, identifier)
    before = body.before.get("checkpoint_id") if isinstance(body.before, dict) else body.before
    if before is not None:
        at = next((i for i, state in enumerate(states) if state["id"] == before), len(states))
        states = states[at + 1 :]
    wanted = (body.metadata or {}).items()
    views = (state_view(identifier, state) for state in states)
    found = islice((one for one in views if wanted <= one["metadata"].items()), body.limit)
    return answer([only(one, body.select) for one in found])


def _state(request: Request, thread_id: uuid.UUID, checkpoint: Any, select: list[str] | None) -> Response:
    threads, tenant, identifier = threads_of(request), tenant_of(request), str(thread_id)
    threads.find(tenant, identifier)
    if checkpoint is None:
        found = threads.state(tenant, identifier, None)
    else:  # as text: a body may hold anything, and nothing but text is an id
        found = threads.reached(tenant, identifier, str(checkpoint))
    return answer(only(state_view(identifier, found), select))


async def _end_runs(request: Request, threads: list[str]) -> None:
    runs = runs_of(request)
    ending = [run for run in runs.open_of(tenant_of(request)) if run.thread in threads]
    for run in ending:  # all of them before any has ended, or the next in line would begin
        runs.cancel(run)
    for run in ending:
        await run.done.wait()
