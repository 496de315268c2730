"""MCP at a path of the server. Its library costs 25 MB and half a second, so it is loaded by the first request."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

from langmem_dspy.records import Store
from langmem_dspy.services.limits import Limits
from langmem_dspy.services.models import Models
from langmem_dspy.services.wire import Refused

if TYPE_CHECKING:
    from langmem_dspy.services.mcp_server import McpEndpoint


class McpRoute:
    """The ASGI app of the route. `stop()` when the server ends."""

    def __init__(self, store: Store, models: Models, limits: Limits) -> None:
        self._store, self._models, self._limits = store, models, limits
        self._starting: asyncio.Task[McpEndpoint] | None = None
        self._running: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if find_spec("mcp") is None:
            raise Refused(422, "this server was installed without MCP: pip install 'langmem-dspy[mcp]'")
        if self._starting is None or _failed(self._starting):
            self._starting = asyncio.create_task(self._start())
        # One caller going away must not undo what others wait for.
        endpoint = await asyncio.shield(self._starting)
        await endpoint(scope, receive, send)

    async def stop(self) -> None:
        self._stopping.set()
        if self._running is not None:
            await asyncio.wait([self._running], timeout=5)

    async def _start(self) -> McpEndpoint:
        endpoint = await asyncio.to_thread(self._load)
        ready = asyncio.get_running_loop().create_future()
        self._running = asyncio.create_task(self._run(endpoint, ready))
        await ready
        return endpoint

    def _load(self) -> McpEndpoint:
        from langmem_dspy.services.mcp_server import asgi_app
        from langmem_dspy.services.mcp_tools import Offer

        offer = Offer(model=self._models.find(None))
        return asgi_app(self._store, offer, seconds=self._limits.run_seconds, body_bytes=self._limits.body_bytes)

    async def _run(self, endpoint: McpEndpoint, ready: asyncio.Future[None]) -> None:
        try:
            async with endpoint.running():
                ready.set_result(None)
                await self._stopping.wait()
        except Exception as error:
            if ready.done():
                raise
            ready.set_exception(error)


def _failed(task: asyncio.Task[McpEndpoint]) -> bool:
    """Whether it is over, and the next request may try again."""
    return task.done() and (task.cancelled() or task.exception() is not None)
