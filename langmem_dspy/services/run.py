"""One run: what was asked, how it stands, and how clients see it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from sqlite3 import Row
from typing import Any

import orjson

from langmem_dspy.records import Namespace
from langmem_dspy.services.calls import Calls
from langmem_dspy.services.wire import dumps, time_text

OPEN = ("pending", "running")
FAILED = ("error", "timeout", "interrupted")

INSERT = (
    "INSERT INTO runs (id, tenant, thread, graph, status, created, updated, due, request, metadata, multitask, "
    "stateless, attempts) VALUES (?, ?, ?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?, ?)"
)


@dataclass(eq=False)
class Run:
    """`root` is its tenant's. `result` is the JSON of its answer, set before `done` is.

    `attempts` counts how often it was begun; `started` is set when it was, or never will be. `synced` is done once the
    run is on disk; None for one that was read from there.
    """

    id: str
    root: Namespace
    thread: str
    graph: str
    request: Mapping[str, Any]
    metadata: Mapping[str, Any]
    multitask: str
    stateless: bool
    created: float
    due: float
    status: str = "pending"
    updated: float = 0.0
    attempts: int = 0
    result: bytes | None = None
    rolled_back: bool = False
    told_to_end: bool = False
    after: Run | None = None
    calls: Calls | None = None
    task: asyncio.Task[None] | None = None
    synced: asyncio.Future[None] | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def tenant(self) -> str:
        return "/".join(self.root)

    @property
    def modes(self) -> list[str]:
        """What its caller wanted streamed."""
        modes = self.request.get("stream_mode") or ["values"]
        return [modes] if isinstance(modes, str) else list(modes)

    @property
    def error(self) -> Any:
        """What went wrong, as clients are told; None where nothing did."""
        return error_in(self.result) if self.status in FAILED else None

    def inserted(self) -> tuple[str, Sequence[Any]]:
        """The statement that keeps it."""
        request = dumps({**self.request, "root": self.root}).decode()
        return INSERT, (
            self.id, self.tenant, self.thread, self.graph, self.created, self.created, self.due, request,
            dumps(self.metadata).decode(), self.multitask, int(self.stateless), self.attempts,
        )  # fmt: skip

    @staticmethod
    def read(row: Row) -> Run:
        """The run of a row of the ledger."""
        request = orjson.loads(row["request"])
        run = Run(
            row["id"], tuple(request.pop("root")), row["thread"], row["graph"], request, orjson.loads(row["metadata"]),
            row["multitask"], bool(row["stateless"]), row["created"], row["due"], row["status"], row["updated"],
            row["attempts"], row["result"],
        )  # fmt: skip
        if run.status not in OPEN:
            run.started.set()
            run.done.set()
        return run

    def view(self, assistant_id: str) -> dict[str, Any]:
        return {
            "run_id": self.id,
            "thread_id": self.thread,
            "assistant_id": assistant_id,
            "created_at": time_text(self.created),
            "updated_at": time_text(self.updated or self.created),
            "status": self.status,
            "metadata": dict(self.metadata),
            "kwargs": {
                "input": self.request.get("input"),
                "command": None,
                "config": self.request.get("config") or {},
                "context": self.request.get("context") or {},
                "stream_mode": self.modes,
            },
            "multitask_strategy": self.multitask,
        }


def error_in(result: bytes | None) -> Any:
    """What went wrong, by the answer of a run that failed; None where the answer does not say."""
    answer = orjson.loads(result) if result else None
    return answer.get("__error__") if isinstance(answer, dict) else None
