"""The answer to a run: at once, kept alive until it has ended, or streamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from langmem_dspy.services.run import Run
from langmem_dspy.services.run_events import Event, events_at_end, events_at_start, first_event
from langmem_dspy.services.runs import Runs
from langmem_dspy.services.wire import event

KEEP_ALIVE_SECONDS = 5.0
_UNWRITTEN = 256  # runs over, but not on disk: a commit holds more than that


def places(run: Run, back: str) -> dict[str, str]:
    """Where the run is, and where a client comes back for it when its connection broke."""
    here = f"/threads/{run.thread}/runs/{run.id}"
    return {"Location": f"{here}/{back}", "Content-Location": here}


async def accepted(runs: Runs, run: Run) -> None:
    """Until the run is on disk, or is over before that and can be answered in the same breath.

    Clients faster than the disk are slowed down to it, so that what waits to be written stays little. Where a run
    cannot be written it is not done at all, and `StoreError` is raised.
    """
    if run.synced is None or run.task is None:
        return
    try:
        await asyncio.wait({run.synced, run.task}, return_when=asyncio.FIRST_COMPLETED)
        if run.synced.done():
            run.synced.result()
        elif not run.done.is_set() or runs.unwritten > _UNWRITTEN:
            await run.synced
    except BaseException:
        runs.cancel(run)
        raise


def waited(runs: Runs, run: Run, *, cancel: bool = False) -> Response:
    """The answer of a run. A line break goes out now and then, so that nobody on the way gives up the connection."""
    headers = places(run, "join")
    if run.done.is_set():
        return Response(run.result or b"null", 200, headers, "application/json")
    return StreamingResponse(_result(runs, run, cancel), 200, headers, "application/json")


def streamed(
    runs: Runs, run: Run, modes: Sequence[str], request: Request, *, cancel: bool = False
) -> StreamingResponse:
    """The events of a run, from the one after the `Last-Event-ID` of a client that comes back."""
    last = request.headers.get("last-event-id", "")
    events = _events(runs, run, modes, int(last) if last.isdecimal() and len(last) < 10 else 0, cancel)
    headers = {**places(run, "stream"), "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, 200, headers, "text/event-stream")


def ended(runs: Runs, run: Run) -> Response:
    """What a thread holds once a run of it that was cancelled has ended."""
    return StreamingResponse(_values(runs, run), 200, places(run, "join"), "application/json")


async def _result(runs: Runs, run: Run, cancel: bool) -> AsyncIterator[bytes]:
    try:
        while not await came(run.done):
            yield b"\n"
        yield run.result or b"null"
    finally:
        if cancel:
            runs.cancel(run)


async def _values(runs: Runs, run: Run) -> AsyncIterator[bytes]:
    while not await came(run.done):
        yield b"\n"
    yield runs.threads.values(run)


async def _events(runs: Runs, run: Run, modes: Sequence[str], after: int, cancel: bool) -> AsyncIterator[bytes]:
    try:
        if after < 1:
            yield _told([first_event(run)], after)
        for moment, events in ((run.started, events_at_start), (run.done, events_at_end)):
            while not await came(moment):
                yield b": heartbeat\n\n"
            if told := _told(events(run, modes), after):
                yield told
    finally:
        if cancel:
            runs.cancel(run)


def _told(events: Iterable[Event], after: int) -> bytes:
    return b"".join(event(name, data, number) for number, name, data in events if after < number)


async def came(moment: asyncio.Event) -> bool:
    """Whether it comes before something has to be sent again."""
    if moment.is_set():
        return True
    try:
        async with asyncio.timeout(KEEP_ALIVE_SECONDS):
            await moment.wait()
    except TimeoutError:
        return False
    return True
