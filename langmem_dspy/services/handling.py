"""What every route needs: whose request it is, what it works on, and how its body is told of in the OpenAPI schema."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, cast

from fastapi import Path, Query, Request
from pydantic import BaseModel

from langmem_dspy.services.auth import ScopedStore, Tenant
from langmem_dspy.services.registry import Graph, Graphs
from langmem_dspy.services.runs import Runs
from langmem_dspy.services.threads import Threads
from langmem_dspy.services.wire import Refused

BODIES: dict[str, type[BaseModel]] = {}

ThreadId = Annotated[uuid.UUID, Path()]
RunId = Annotated[uuid.UUID, Path()]
Select = Annotated[list[str] | None, Query()]


def takes(model: type[BaseModel], *, many: bool = False) -> dict[str, Any]:
    """`openapi_extra` of a route whose body it reads itself."""
    BODIES[model.__name__] = model
    schema: dict[str, Any] = {"$ref": f"#/components/schemas/{model.__name__}"}
    schema = {"type": "array", "items": schema} if many else schema
    return {"requestBody": {"content": {"application/json": {"schema": schema}}, "required": True}}


def tenant_of(request: Request) -> Tenant:
    return cast(Tenant, request.scope["tenant"])


def store_of(request: Request) -> ScopedStore:
    """The store as the caller sees it."""
    return ScopedStore(request.app.state.store, tenant_of(request).root)


def runs_of(request: Request) -> Runs:
    return cast(Runs, request.app.state.runs)


def threads_of(request: Request) -> Threads:
    return runs_of(request).threads


def graph_of(request: Request, assistant: str) -> Graph:
    """Raises `Refused` for a graph that is not served: 404 where that was an id, as LangGraph's clients expect."""
    graphs: Graphs = request.app.state.graphs
    graph = graphs.find(assistant)
    if graph is None:
        raise Refused(
            404 if _is_id(assistant) else 422,
            f"there is no assistant {assistant[:100]!r}; this server has {', '.join(graphs)}",
        )
    return graph


def _is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
