"""What the server answers, for the OpenAPI schema. A test holds the answers themselves to it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from langmem_dspy.services.bodies import Document, Labels, Status, ThreadStatus


def _all_optional(schema: dict[str, Any]) -> None:
    schema.pop("required", None)


class Selectable(BaseModel):
    """Callers may select fields of it, and then get no others."""

    model_config = ConfigDict(json_schema_extra=_all_optional)


class Refusal(BaseModel):
    """Why a request was not done. It quotes neither contents nor what went wrong inside."""

    detail: str


class StoredItem(BaseModel):
    """A document in the store."""

    namespace: Labels
    key: str
    value: Document
    created_at: datetime
    updated_at: datetime


class FoundItem(StoredItem):
    """A document found by a search."""

    score: float | None = Field(description="null where it was not compared: no query, or it is not indexed")
    explanation: dict[str, Any] = Field({}, description="the parts of the score, where `explain` was asked for")


class FoundItems(BaseModel):
    items: list[FoundItem]


class Namespaces(BaseModel):
    namespaces: list[Labels]


class RunView(Selectable):
    """A run."""

    run_id: str
    thread_id: str
    assistant_id: str
    created_at: datetime
    updated_at: datetime
    status: Status
    metadata: Document = Field(description="the caller's, and the graph, the model, and `simulation` where it answers")
    kwargs: Document
    multitask_strategy: str


class ThreadView(Selectable):
    """A thread: what belongs together over several runs."""

    thread_id: str
    created_at: datetime
    updated_at: datetime
    state_updated_at: datetime
    metadata: Document
    config: Document
    context: Document
    status: ThreadStatus
    values: Document | None
    error: Document | None = Field(description="of its last run, where that failed")
    interrupts: Document


class FoundThread(ThreadView):
    """A thread found by a search."""

    extracted: Document = Field({}, description="only where `extract` was asked for")


class Checkpoint(BaseModel):
    """Which state of which thread; `checkpoint_id` is null before the first."""

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str | None
    checkpoint_map: Document | None


class State(Selectable):
    """A state of a thread."""

    values: Any
    next: list[str]
    tasks: list[Any]
    interrupts: list[Any]
    metadata: Document
    created_at: datetime | None
    checkpoint: Checkpoint
    parent_checkpoint: Checkpoint | None
    checkpoint_id: str | None
    parent_checkpoint_id: str | None


class StateUpdate(BaseModel):
    """The state that an update made."""

    checkpoint: Checkpoint
    configurable: Checkpoint
    checkpoint_id: str


class Assistant(Selectable):
    """A graph that is served."""

    assistant_id: str
    graph_id: str
    name: str
    description: str
    config: Document
    context: Document
    metadata: Document
    version: int
    created_at: datetime
    updated_at: datetime


class Schemas(BaseModel):
    """What a graph takes and gives, as JSON schemas."""

    graph_id: str
    input_schema: Document
    output_schema: Document
    state_schema: Document
    config_schema: Document
    context_schema: Document


class Drawing(BaseModel):
    """A graph as nodes and edges."""

    nodes: list[Document]
    edges: list[Document]


class Pruned(BaseModel):
    pruned_count: int


class Up(BaseModel):
    ok: bool


class Info(BaseModel):
    """What a server is."""

    name: str
    version: str
    flags: dict[str, bool]
    graphs: list[str]
    model: str
    allowed_models: list[str]
    simulation: str = Field("", description="only where the offline simulation stands in for a model")
