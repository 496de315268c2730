"""The status page of a server at /status, and what it shows of one tenant."""

from __future__ import annotations

import asyncio
import time
from sqlite3 import Row
from typing import Annotated, Any
from urllib.parse import urlsplit

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from langmem_dspy.errors import InputError
from langmem_dspy.records import SupportsCounts
from langmem_dspy.services.auth import Tenant
from langmem_dspy.services.handling import runs_of, store_of, tenant_of
from langmem_dspy.services.run import FAILED, OPEN, Run, error_in
from langmem_dspy.services.runs import Runs
from langmem_dspy.services.system_routes import about
from langmem_dspy.services.wire import answer, time_text

router = APIRouter(tags=["system"])

_NAMESPACES = 200
_RECENT = (
    "SELECT id, graph, status, created, updated, metadata, "
    f"CASE WHEN status IN ({', '.join(repr(one) for one in FAILED)}) THEN result END AS result "
    "FROM runs WHERE tenant = ? ORDER BY created DESC LIMIT ?"
)


@router.get("/", include_in_schema=False)
async def root() -> Response:
    # Relative, so that it also holds behind a proxy that serves this under a path.
    return RedirectResponse("status")


@router.get("/status/data")
async def status(request: Request, runs: Annotated[int, Query(ge=1, le=200)] = 25) -> Response:
    """What the caller's part of this server holds and does: items by namespace, and the newest runs."""
    tenant, of = tenant_of(request), runs_of(request)
    store = await asyncio.to_thread(_store, request)
    under_way = [run.status for run in of.open_of(tenant)]
    return answer(
        {
            **about(request),
            "began": request.app.state.began,
            "tenant": {"name": tenant.name, "root": tenant.root} if tenant.root else None,
            "mlflow": request.app.state.mlflow,
            "store": store,
            "runs": {
                **{status: under_way.count(status) for status in OPEN},
                "recent": await asyncio.to_thread(_recent, of, tenant, runs),
            },
        }
    )


def page_url(url: str | None) -> str | None:
    """`url` as a link for pages, without a password in it; None for one of no web page. Raises `InputError`."""
    try:
        parts = urlsplit(url or "")
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        raise InputError("the URL of MLflow cannot be read; give one such as http://127.0.0.1:5000") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return parts._replace(netloc=f"{host}{port}").geturl()


def _store(request: Request) -> dict[str, Any]:
    """What there is in the caller's view. Sizes of files tell of all tenants, so only who sees all is told them."""
    view = store_of(request)
    counts = view.counts()
    if counts is None:
        namespaces = view.list_namespaces(limit=_NAMESPACES)
        return {"items": None, "namespaces": None, "largest": [{"namespace": one, "items": None} for one in namespaces]}
    largest = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:_NAMESPACES]
    told: dict[str, Any] = {
        "items": sum(counts.values()),
        "namespaces": len(counts),
        "largest": [{"namespace": namespace, "items": number} for namespace, number in largest],
    }
    if not view.root and isinstance(view.store, SupportsCounts):
        sizes = view.store.stats()
        told |= {name: sizes[name] for name in ("bytes", "revisions", "embedder")}
    return told


def _recent(runs: Runs, tenant: Tenant, limit: int) -> list[dict[str, Any]]:
    """The newest runs, without what was asked and answered."""
    return [_view(row, runs.live.get(row["id"])) for row in runs.ledger.rows(_RECENT, tenant.path, limit)]


def _view(row: Row, live: Run | None) -> dict[str, Any]:
    """`seconds` are from the request to the end, or to now."""
    status = row["status"] if live is None else live.status
    ended = time.time() if status in OPEN else (row["updated"] if live is None else live.updated)
    error = error_in(row["result"]) if live is None else live.error
    return {
        "run_id": row["id"],
        "graph": row["graph"],
        "status": status,
        "created_at": time_text(row["created"]),
        "seconds": round(max(0.0, ended - row["created"]), 3),
        "model": orjson.loads(row["metadata"]).get("model"),
        "error": error,
    }
