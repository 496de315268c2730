"""MCP: any agent uses the memory, over stdio or over streamable HTTP; the extra `mcp`.

Over HTTP there are no sessions: each request is served by itself, for the tenant whose key came with it.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from langmem_dspy._version import __version__
from langmem_dspy.errors import InputError
from langmem_dspy.namespaces import memory_context
from langmem_dspy.records import Store
from langmem_dspy.services.auth import ALONE, ScopedStore, Tenant
from langmem_dspy.services.calls import Calls
from langmem_dspy.services.limits import Limits
from langmem_dspy.services.mcp_tools import Answer, Offer, OfferedTool, checked

logger = logging.getLogger(__name__)

INSTRUCTIONS = (
    "A memory that lasts across conversations. Search it before you answer what may depend on earlier conversations; "
    "save what will matter later, and correct or delete what is wrong."
)


async def serve_stdio(store: Store, offer: Offer) -> None:
    """Serve one agent until it closes its end. Nothing else may write to stdout meanwhile."""
    server = make_server(store, offer)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


class McpEndpoint:
    """An ASGI app for one path. It expects the `Tenant` under "tenant" of the scope, and serves inside `running()`."""

    def __init__(self, server: Server[Any], body_bytes: int) -> None:
        self._server, self._body_bytes = server, body_bytes
        self._manager: StreamableHTTPSessionManager | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        manager = StreamableHTTPSessionManager(self._server, stateless=True, max_request_body_size=self._body_bytes)
        async with manager.run():
            self._manager = manager
            try:
                yield
            finally:
                self._manager = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._manager is None:
            raise RuntimeError("McpEndpoint serves inside `async with endpoint.running():` alone")
        if scope["method"] == "GET":  # a stream for what the server says by itself, which it never does
            await Response(status_code=405, headers={"Allow": "POST"})(scope, receive, send)
            return
        await self._manager.handle_request(scope, receive, send)


def asgi_app(
    store: Store,
    offer: Offer | None = None,
    *,
    seconds: float = Limits.run_seconds,
    body_bytes: int = Limits.body_bytes,
) -> McpEndpoint:
    """MCP over streamable HTTP. A call may take `seconds`; who calls was found out before it comes here."""
    return McpEndpoint(make_server(store, offer or Offer(), seconds), body_bytes)


def make_server(store: Store, offer: Offer, seconds: float = Limits.run_seconds) -> Server[Any]:
    tools = {tool.name: tool for tool in offer.tools()}
    listed = types.ListToolsResult(tools=[_described(tool) for tool in tools.values()])

    async def list_tools(ctx: ServerRequestContext[Any], params: Any) -> types.ListToolsResult:
        return listed

    async def call_tool(ctx: ServerRequestContext[Any], params: types.CallToolRequestParams) -> types.CallToolResult:
        tool = tools.get(params.name)
        if tool is None:
            known = ", ".join(tools)
            raise MCPError(types.INVALID_PARAMS, f"there is no tool {params.name[:100]!r}; there are {known}")
        seen = ScopedStore(store, _tenant(ctx).root)
        with memory_context(store=seen, **offer.variables):
            return _result(await _answer(tool, params.arguments, seconds))

    return Server(
        "langmem-dspy",
        version=__version__,
        title="Long-term memory",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def _answer(tool: OfferedTool, arguments: Mapping[str, Any] | None, seconds: float) -> Answer:
    """What the tool says. Every failure is said too, for the model to mend or to report; none shows what is inside."""
    calls = Calls()
    try:
        with calls.around():
            async with asyncio.timeout(seconds):
                return await tool.call(checked(tool, arguments))
    except InputError as error:
        return Answer(str(error), failed=True)
    except TimeoutError:
        calls.cancel("timeout")
        return Answer(f"{tool.name} took longer than {seconds:g} seconds and was stopped", failed=True)
    except asyncio.CancelledError:
        calls.cancel("cancelled")
        raise
    except Exception as error:  # whatever it is, the agent has to be told
        incident = uuid.uuid4().hex[:12]
        logger.error("tool failed", extra={"tool": tool.name, "incident": incident}, exc_info=error)
        return Answer(f"{tool.name} failed; the log of the memory server has the cause under {incident}", failed=True)


def _tenant(ctx: ServerRequestContext[Any]) -> Tenant:
    if ctx.request is None:  # over stdio, whoever started this process
        return ALONE
    tenant: Tenant = ctx.request.scope["tenant"]
    return tenant


def _described(tool: OfferedTool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=dict(tool.input_schema),
        output_schema=dict(tool.output_schema),
        annotations=types.ToolAnnotations(
            title=tool.title,
            read_only_hint=tool.reads_only,
            destructive_hint=tool.destroys,
            idempotent_hint=tool.idempotent,
            open_world_hint=False,
        ),
    )


def _result(answer: Answer) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(text=answer.text)],
        structured_content=None if answer.structured is None else dict(answer.structured),
        is_error=answer.failed,
    )
