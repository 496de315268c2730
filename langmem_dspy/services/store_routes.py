"""/store: items by namespace and key, and found by meaning."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from langmem_dspy.records import Item, ListNamespacesOp, MatchCondition, PutOp, SearchItem, SearchOp
from langmem_dspy.services.bodies import DeleteItem, ListNamespaces, PutItem, SearchItems
from langmem_dspy.services.handling import store_of, takes
from langmem_dspy.services.wire import answer, read

router = APIRouter(prefix="/store", tags=["store"])


@router.put("/items", status_code=204, openapi_extra=takes(PutItem))
async def put_item(request: Request) -> Response:
    """Write an item; it is durable when this is answered."""
    body = await read(request, PutItem)
    await store_of(request).abatch([PutOp(tuple(body.namespace), body.key, body.value, body.index, body.ttl)])
    return Response(status_code=204)


@router.get("/items")
async def get_item(
    request: Request,
    key: Annotated[str, Query()],
    namespace: Annotated[str, Query(description="labels joined by dots")] = "",
    refresh_ttl: Annotated[bool, Query()] = True,
) -> Response:
    """An item, or null."""
    item = await store_of(request).aget(tuple(namespace.split(".")), key, refresh_ttl=refresh_ttl)
    return answer(None if item is None else _view(item))


@router.delete("/items", status_code=204, openapi_extra=takes(DeleteItem))
async def delete_item(request: Request) -> Response:
    """Delete an item; one that is not there is deleted already."""
    body = await read(request, DeleteItem)
    await store_of(request).abatch([PutOp(tuple(body.namespace), body.key, None)])
    return Response(status_code=204)


@router.post("/items/search", openapi_extra=takes(SearchItems))
async def search_items(request: Request) -> Response:
    """Find items in a namespace and below it, best first."""
    body = await read(request, SearchItems)
    op = SearchOp(
        tuple(body.namespace_prefix), body.filter, body.limit, body.offset, body.query, body.refresh_ttl is not False,
        explain=body.explain,
    )  # fmt: skip
    found: list[SearchItem] = (await store_of(request).abatch([op]))[0]
    return answer({"items": [_found(item) for item in found]})


@router.post("/namespaces", openapi_extra=takes(ListNamespaces))
async def list_namespaces(request: Request) -> Response:
    """The namespaces that hold items."""
    body = await read(request, ListNamespaces)
    wanted = (("prefix", body.prefix), ("suffix", body.suffix))
    conditions = tuple(MatchCondition(kind, tuple(path)) for kind, path in wanted if path)  # type: ignore[arg-type]
    op = ListNamespacesOp(conditions, body.max_depth, body.limit, body.offset)
    return answer({"namespaces": (await store_of(request).abatch([op]))[0]})


def _found(item: SearchItem) -> dict[str, Any]:
    told = {**_view(item), "score": item.score}
    return told if item.explanation is None else {**told, "explanation": item.explanation}


def _view(item: Item) -> dict[str, Any]:
    return {
        "namespace": item.namespace,
        "key": item.key,
        "value": item.value,
        "created_at": item.created_at,
        "updated_at": item.updated_at,
    }
