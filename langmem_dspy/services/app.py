"""The HTTP server, put together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.routing import Route

from langmem_dspy._version import __version__
from langmem_dspy.errors import ConflictError, InputError
from langmem_dspy.records import Store
from langmem_dspy.services import (
    assistant_routes,
    page_routes,
    run_routes,
    status_routes,
    store_routes,
    system_routes,
    thread_routes,
)
from langmem_dspy.services.gate import Gate
from langmem_dspy.services.keys import KeyFile
from langmem_dspy.services.ledger import Ledger
from langmem_dspy.services.limits import Limits
from langmem_dspy.services.mcp_route import McpRoute
from langmem_dspy.services.metrics import Metrics
from langmem_dspy.services.models import Models
from langmem_dspy.services.openapi import openapi, operation_id
from langmem_dspy.services.registry import served_graphs, warm
from langmem_dspy.services.run import OPEN
from langmem_dspy.services.runs import Runs
from langmem_dspy.services.threads import Threads
from langmem_dspy.services.wire import Refused, refusal, time_text, told_of

_SWEEP_SECONDS = 30.0
# What is asked most often is matched first.
_ROUTERS = (run_routes, store_routes, thread_routes, assistant_routes, system_routes, status_routes, page_routes)

# FastAPI's own pages load their scripts from another host; ours is at /docs.
_PAGES: dict[str, Any] = {"docs_url": None, "redoc_url": None, "generate_unique_id_function": operation_id}


@dataclass(frozen=True)
class Service:
    """What a server is made of. `ledger` is the file of its runs and threads, None for memory; `keys` None: no keys.

    `mlflow` is where pages of it can be seen, for a link; any other tracking URI gives none.
    """

    store: Store
    models: Models = field(default_factory=Models)
    ledger: Path | None = None
    keys: KeyFile | None = None
    limits: Limits = field(default_factory=Limits)
    bench: bool = False
    mlflow: str | None = None


def create_app(service: Service) -> FastAPI:
    """The server as an ASGI app."""
    app = FastAPI(title="langmem-dspy", version=__version__, lifespan=_lifespan, **_PAGES)
    metrics = Metrics()
    state: Any = app.state
    state.service, state.store, state.limits, state.metrics = service, service.store, service.limits, metrics
    state.graphs, state.began = served_graphs(bench=service.bench), time_text(time.time())
    state.mlflow = status_routes.page_url(service.mlflow)
    for module in _ROUTERS:
        app.include_router(module.router)
    state.mcp = McpRoute(service.store, service.models, service.limits)
    app.router.routes.append(Route("/mcp", state.mcp))
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(InputError, _bad_input)
    app.add_exception_handler(RequestValidationError, _bad_parameter)
    app.add_exception_handler(ConflictError, _conflict)
    app.add_middleware(Gate, keys=service.keys, limits=service.limits, metrics=metrics)
    app.openapi = lambda: openapi(app)  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    ledger = Ledger(service.ledger)
    runs = Runs(ledger, Threads(ledger), app.state.graphs, service.models, service.store, service.limits)
    app.state.runs = runs
    app.state.metrics.watch_runs(lambda: runs.under_way, runs.ended)
    runs.recover()
    warming = asyncio.create_task(asyncio.to_thread(warm))
    sweeping = asyncio.create_task(_sweep(ledger))
    try:
        yield
    finally:
        sweeping.cancel()
        await warming
        await app.state.mcp.stop()
        await runs.drain()
        await service.models.aclose()
        await asyncio.to_thread(ledger.close)


_NO_THREAD = "NOT EXISTS (SELECT 1 FROM threads AS t WHERE t.tenant = {0}.tenant AND t.id = {0}.thread)"


async def _sweep(ledger: Ledger) -> None:
    """Forget runs and threads whose time is over."""
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        now = time.time()
        await ledger.write(
            ("DELETE FROM runs WHERE expires < ?", (now,)),
            ("DELETE FROM threads WHERE expires < ?", (now,)),
            (f"DELETE FROM states WHERE {_NO_THREAD.format('states')}", ()),
            (f"DELETE FROM runs WHERE NOT stateless AND status NOT IN {OPEN} AND {_NO_THREAD.format('runs')}", ()),
            soon=True,
        )


def _refused(request: Request, error: Any) -> Response:
    return refusal(error.status, error.detail, error.headers)


def _bad_input(request: Request, error: Any) -> Response:
    return refusal(422, str(error))


def _conflict(request: Request, error: Any) -> Response:
    return refusal(409, "the item was changed meanwhile; read it again")


def _bad_parameter(request: Request, error: Any) -> Response:
    return refusal(422, told_of(error.errors()))
