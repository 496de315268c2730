"""/ok, /info and /metrics; and what LangGraph's clients may ask for and this server does not do."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from langmem_dspy._version import __version__
from langmem_dspy.services.models import SIMULATED
from langmem_dspy.services.wire import Refused, answer

router = APIRouter(tags=["system"])

_CRONS = "crons are not offered by this server; have a scheduler of yours call POST /runs"
_ASSISTANTS = "assistants cannot be made or changed: each graph has one; set its model and options with each run"
_NOT_OFFERED = (
    ("POST", "/runs/crons", _CRONS),
    ("POST", "/runs/crons/search", _CRONS),
    ("POST", "/runs/crons/count", _CRONS),
    ("PATCH", "/runs/crons/{cron_id}", _CRONS),
    ("DELETE", "/runs/crons/{cron_id}", _CRONS),
    ("POST", "/threads/{thread_id}/runs/crons", _CRONS),
    ("POST", "/assistants", _ASSISTANTS),
    ("PATCH", "/assistants/{assistant_id}", _ASSISTANTS),
    ("DELETE", "/assistants/{assistant_id}", _ASSISTANTS),
    ("POST", "/assistants/{assistant_id}/latest", _ASSISTANTS),
    ("GET", "/threads/{thread_id}/stream", "streams of whole threads are not offered; stream a run"),
    ("POST", "/threads/{thread_id}/stream", "the event protocol of threads is not offered; stream a run"),
    ("POST", "/a2a/{assistant_id}", "A2A is not offered by this server; use MCP at /mcp, or POST /runs"),
)


@router.head("/ok", include_in_schema=False)  # as balancers ask
@router.get("/ok")
async def ok(request: Request) -> Response:
    """Whether the server is up and its store answers."""
    request.app.state.store.list_namespaces(limit=1)
    return answer({"ok": True})


@router.get("/info")
async def info(request: Request) -> Response:
    """What this server is."""
    return answer(about(request))


def about(request: Request) -> dict[str, Any]:
    """What a server says of itself to everyone."""
    models = request.app.state.runs.models
    told: dict[str, Any] = {
        "name": "langmem-dspy",
        "version": __version__,
        "flags": {"assistants": False, "crons": False, "langsmith": False, "a2a": False},
        "graphs": list(request.app.state.graphs),
        "model": models.name,
        "allowed_models": models.allowed,
    }
    return {**told, "simulation": SIMULATED} if models.simulated else told


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Counts in Prometheus' form."""
    return Response(request.app.state.metrics.text(), media_type="text/plain; version=0.0.4")


def _refusing(reason: str) -> Any:
    async def refuse() -> Response:
        raise Refused(422, reason)

    return refuse


for _method, _path, _reason in _NOT_OFFERED:
    router.add_api_route(_path, _refusing(_reason), methods=[_method], include_in_schema=False)
