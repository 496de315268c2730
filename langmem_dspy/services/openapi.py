"""The OpenAPI schema: FastAPI's, with the bodies that routes read themselves, answers, refusals and examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from langmem_dspy.services.gate import OPEN_PATHS
from langmem_dspy.services.handling import BODIES
from langmem_dspy.services.openapi_operations import DESCRIPTION, OPERATIONS, TAGS, Told
from langmem_dspy.services.views import Refusal

_REFERENCE = "#/components/schemas/{model}"
_UNTOLD = Told()  # of routes that the schema leaves out, and of new ones, which a test finds
_REFUSALS = {
    "401": "No key, or one that is not good; `/ok` and `/info` need none.",
    "404": "There is no such thing here; what belongs to another tenant is not here either.",
    "409": "It is there already, or busy.",
    "413": "The body is too large.",
    "415": "The body is packed; send it as it is.",
    "422": "The request cannot be done as it is: `detail` names the field and what it takes.",
    "429": "Too many requests, or too many runs waiting: come back after `Retry-After` seconds.",
    "503": "The server is stopping: come back after `Retry-After` seconds.",
}


def operation_id(route: APIRoute) -> str:
    """The function's name, and where it stands at two paths, which of them."""
    path = route.path_format
    if "{namespace}" in path:
        return f"{route.name}_in_namespace"
    told = OPERATIONS.get(route.name, _UNTOLD)
    return f"{route.name}_in_thread" if told.runs and path.startswith("/threads/") else route.name


def openapi(app: FastAPI) -> dict[str, Any]:
    """The schema of `app`, made once."""
    if app.openapi_schema is None:
        schema = FastAPI.openapi(app)
        schema["info"]["description"] = DESCRIPTION
        schema["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
        # A server without keys asks for none.
        schema["security"] = [{"key": []}, {"bearer": []}, {}]
        schema["components"] = _components()
        for path, method, operation in _operations(schema):
            _tell(path, method, operation)
        app.openapi_schema = schema
    return app.openapi_schema


def _components() -> dict[str, Any]:
    views = {view.__name__: view for told in OPERATIONS.values() if (view := told.model) is not None}
    models: list[type[BaseModel]] = [*BODIES.values(), *views.values(), Refusal]
    _, schemas = models_json_schema([(one, "validation") for one in models], ref_template=_REFERENCE)
    refusal = {"application/json": {"schema": {"$ref": _REFERENCE.format(model="Refusal")}}}
    return {
        "schemas": schemas["$defs"],
        "responses": {status: {"description": text, "content": refusal} for status, text in _REFUSALS.items()},
        "securitySchemes": {
            "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        },
    }


def _operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _tell(path: str, method: str, operation: dict[str, Any]) -> None:
    told = OPERATIONS.get(operation["operationId"].removesuffix("_in_thread").removesuffix("_in_namespace"), _UNTOLD)
    if told.bodies:
        content = operation["requestBody"]["content"]["application/json"]
        content["examples"] = {name: {"value": value} for name, value in told.bodies.items()}
    if told.runs and "{thread_id}" not in path:  # the same function serves the path with the thread in it
        operation.pop("parameters", None)
    answers = operation["responses"]
    success = next(iter(answers))
    answers[success] = _answer(told, answers[success])
    answers.pop("422", None)
    answers |= {str(status): {"description": text} for status, text in told.others.items()}
    if path in OPEN_PATHS:
        operation["security"] = []
    answers |= {status: {"$ref": f"#/components/responses/{status}"} for status in _refusals(path, method, told)}


def _refusals(path: str, method: str, told: Told) -> list[str]:
    if path in OPEN_PATHS:
        return ["429"]
    takes_body = method in ("post", "put", "patch", "delete")
    chosen = {
        "401": True,
        "404": "{" in path or told.runs,
        "409": told.conflicts or told.runs,
        "413": takes_body,
        "415": takes_body,
    }
    return [status for status in _REFUSALS if chosen.get(status, status != "503" or told.runs)]


def _answer(told: Told, given: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": told.description or given["description"]}
    if told.kind is not None:
        example = {} if told.example is None else {"example": told.example}
        answer["content"] = {told.kind: {"schema": told.schema(_REFERENCE), **example}}
    if told.runs:
        where = {"schema": {"type": "string"}}
        answer["headers"] = {
            "Location": {"description": "where a client that lost the connection gets the answer", **where},
            "Content-Location": {"description": "where the run is", **where},
        }
    return answer
