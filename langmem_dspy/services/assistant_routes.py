"""/assistants: the graphs that are served, each by one assistant that cannot be changed."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from langmem_dspy.services.bodies import CountAssistants, ListVersions, SearchAssistants
from langmem_dspy.services.handling import graph_of, takes
from langmem_dspy.services.registry import Graph
from langmem_dspy.services.wire import answer, only, paged, read

router = APIRouter(prefix="/assistants", tags=["assistants"])

_METADATA = {"created_by": "system"}


@router.post("/search", openapi_extra=takes(SearchAssistants))
async def search_assistants(request: Request) -> Response:
    """The assistants of this server."""
    body = await read(request, SearchAssistants)
    found = [_view(request, graph) for graph in _matching(request, body)]
    if (field := body.sort_by) is not None:
        found.sort(key=lambda one: str(one[field]), reverse=body.sort_order == "desc")
    page, headers = paged(found, body.limit, body.offset)
    return answer([only(one, body.select) for one in page], 200, headers)


@router.post("/count", openapi_extra=takes(CountAssistants))
async def count_assistants(request: Request) -> Response:
    """How many assistants there are."""
    return answer(len(_matching(request, await read(request, CountAssistants))))


@router.get("/{assistant_id}")
async def get_assistant(request: Request, assistant_id: str) -> Response:
    """An assistant, by its id or the name of its graph."""
    return answer(_view(request, graph_of(request, assistant_id)))


@router.get("/{assistant_id}/graph")
async def get_graph(request: Request, assistant_id: str, xray: str = "") -> Response:
    """The nodes and edges of a graph."""
    name = graph_of(request, assistant_id).name
    nodes = [{"id": one, "type": "runnable", "data": {"name": one}} for one in ("__start__", name, "__end__")]
    edges = [{"source": "__start__", "target": name}, {"source": name, "target": "__end__"}]
    return answer({"nodes": nodes, "edges": edges})


@router.get("/{assistant_id}/schemas")
async def get_schemas(request: Request, assistant_id: str) -> Response:
    """What a graph takes and gives, as JSON schemas."""
    graph = graph_of(request, assistant_id)
    return answer(
        {
            "graph_id": graph.name,
            "input_schema": graph.input_schema,
            "output_schema": graph.output_schema,
            "state_schema": graph.output_schema,
            "config_schema": graph.config_schema,
            "context_schema": graph.config_schema,
        }
    )


@router.get("/{assistant_id}/subgraphs")
@router.get("/{assistant_id}/subgraphs/{namespace}")
async def get_subgraphs(
    request: Request, assistant_id: str, namespace: str = "", recurse: Annotated[bool, Query()] = False
) -> Response:
    """The graphs inside a graph: none."""
    graph_of(request, assistant_id)
    return answer({})


@router.post("/{assistant_id}/versions", openapi_extra=takes(ListVersions))
async def list_versions(request: Request, assistant_id: str) -> Response:
    """The versions of an assistant: one."""
    await read(request, ListVersions)
    return answer([_view(request, graph_of(request, assistant_id))])


def _matching(request: Request, body: CountAssistants) -> list[Graph]:
    graphs: list[Graph] = list(request.app.state.graphs.values())
    if any(_METADATA.get(name) != value for name, value in (body.metadata or {}).items()):
        return []
    named = [one for one in graphs if body.graph_id in (None, one.name)]
    return [one for one in named if (body.name or "").lower() in one.name]


def _view(request: Request, graph: Graph) -> dict[str, Any]:
    began = request.app.state.began
    return {
        "assistant_id": graph.assistant_id,
        "graph_id": graph.name,
        "name": graph.name,
        "description": graph.description,
        "config": {},
        "context": {},
        "metadata": _METADATA,
        "version": 1,
        "created_at": began,
        "updated_at": began,
    }
