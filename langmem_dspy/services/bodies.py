"""What callers send, as LangGraph's clients send it. Fields we do not know are ignored: clients grow faster."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Labels = list[str]
Count = Annotated[int, Field(ge=0, le=2**31)]
Page = Annotated[int, Field(ge=1, le=1000)]
Document = dict[str, Any]
Status = Literal["pending", "running", "error", "success", "timeout", "interrupted"]
ThreadStatus = Literal["idle", "busy", "interrupted", "error"]


class Body(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class PutItem(Body):
    namespace: Labels
    key: str
    value: Document
    index: Literal[False] | list[str] | None = Field(
        None,
        description="what is searched by meaning: null is `content`, else all text; false nothing; a list those paths",
    )
    ttl: float | None = Field(None, description="minutes it lives")


class DeleteItem(Body):
    namespace: Labels
    key: str


class SearchItems(Body):
    namespace_prefix: Labels = Field([], description="search here and below; [] is everything the caller sees")
    filter: Document | None = Field(None, description='by fields of the value: {"kind": "a", "n": {"$gte": 1}}')
    limit: Page = 10
    offset: Count = 0
    query: str | None = Field(None, description="by meaning and words; null gives the newest first")
    refresh_ttl: bool | None = Field(None, description="begin the ttl of what is found anew; false does not")
    explain: bool = Field(False, description="tell the parts of each score, under `explanation`")


class ListNamespaces(Body):
    prefix: Labels | None = Field(None, description='"*" stands for any one label')
    suffix: Labels | None = Field(None, description='"*" stands for any one label')
    max_depth: Annotated[int, Field(ge=1, le=1000)] | None = Field(None, description="cut to so many labels")
    limit: Page = 100
    offset: Count = 0


class CreateRun(Body):
    """A run of a graph. What this server does not do is refused, not ignored."""

    assistant_id: str = Field(description="the name of a graph, or the id of its assistant")
    input: Any = Field(None, description="what the graph takes; see /assistants/{name}/schemas")
    config: Document | None = Field(None, description='{"configurable": {"model", "kind", "options", ...}}')
    context: Document | None = Field(None, description="the same as config.configurable, by its newer name")
    metadata: Document | None = None
    stream_mode: str | list[str] | None = Field(None, description="values, updates and others; null is values")
    stream_subgraphs: bool | None = None
    stream_resumable: bool | None = None
    if_not_exists: Literal["create", "reject"] | None = Field(None, description="of the thread; null rejects")
    multitask_strategy: Literal["reject", "interrupt", "rollback", "enqueue"] | None = Field(
        None, description="what happens while the thread has another run; null is enqueue"
    )
    on_disconnect: Literal["cancel", "continue"] | None = Field(None, description="of who waits; null continues")
    on_completion: Literal["delete", "keep"] | None = None
    after_seconds: Annotated[float, Field(ge=0, le=31_536_000)] | None = Field(None, description="begin so much later")
    durability: Literal["sync", "async", "exit"] | None = None
    webhook: Any = None
    command: Any = None
    checkpoint: Any = None
    checkpoint_id: Any = None
    interrupt_before: Any = None
    interrupt_after: Any = None
    feedback_keys: Any = None


class CancelRuns(Body):
    thread_id: str | None = None
    run_ids: list[str] | None = None
    status: Literal["pending", "running", "all"] | None = None


class Ttl(Body):
    ttl: Annotated[float, Field(gt=0, le=1e9, description="minutes")]
    strategy: Literal["delete"] = "delete"


class Update(Body):
    values: Document | list[Document] | None = None
    as_node: str | None = None
    command: Any = None


class Superstep(Body):
    updates: list[Update]


class CreateThread(Body):
    thread_id: str | None = None
    metadata: Document | None = None
    if_exists: Literal["raise", "do_nothing"] | None = None
    ttl: Ttl | None = None
    supersteps: list[Superstep] | None = None


class UpdateThread(Body):
    metadata: Document | None = None
    ttl: Ttl | None = None


class CountThreads(Body):
    metadata: Document | None = None
    values: Document | None = None
    status: ThreadStatus | None = None


class SearchThreads(CountThreads):
    ids: list[str] | None = None
    limit: Page = 10
    offset: Count = 0
    sort_by: Literal["thread_id", "status", "created_at", "updated_at", "state_updated_at"] | None = None
    sort_order: Literal["asc", "desc"] | None = None
    select: list[str] | None = None
    extract: Annotated[dict[str, str], Field(max_length=10)] | None = Field(
        None, description='parts of each thread, under `extracted`: {"last": "values.messages[-1]"}'
    )


class PruneThreads(Body):
    thread_ids: list[str]
    strategy: Literal["delete", "keep_latest"] = "delete"


class UpdateState(Update):
    checkpoint: Document | None = None
    checkpoint_id: str | None = None


class ReadState(Body):
    checkpoint: Document
    subgraphs: bool | None = None
    select: list[str] | None = None


class ReadHistory(Body):
    limit: Page = 10
    before: str | Document | None = None
    metadata: Document | None = None
    checkpoint: Document | None = None
    select: list[str] | None = None


class CountAssistants(Body):
    metadata: Document | None = None
    graph_id: str | None = None
    name: str | None = None


class SearchAssistants(CountAssistants):
    limit: Page = 10
    offset: Count = 0
    sort_by: Literal["assistant_id", "graph_id", "name", "created_at", "updated_at"] | None = None
    sort_order: Literal["asc", "desc"] | None = None
    select: list[str] | None = None


class ListVersions(Body):
    metadata: Document | None = None
    limit: Page = 10
    offset: Count = 0
