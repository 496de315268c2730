"""Threads: metadata, values, and every state that the values went through."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from sqlite3 import Row
from typing import Any

import orjson

from langmem_dspy.services.auth import Tenant
from langmem_dspy.services.bodies import CountThreads, CreateThread, SearchThreads, Ttl
from langmem_dspy.services.ledger import Ledger, Statement
from langmem_dspy.services.registry import Graph
from langmem_dspy.services.run import Run
from langmem_dspy.services.thread_views import checkpoint, view
from langmem_dspy.services.wire import Refused, dumps, uuid_text

_INSERT = (
    "INSERT INTO threads (tenant, id, created, updated, metadata, vals, status, expires) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_STATE = "INSERT INTO states (id, tenant, thread, created, vals, metadata, parent) VALUES (?, ?, ?, ?, ?, ?, ?)"
_THREADS = """
    SELECT *, CASE WHEN status = 'error' THEN (
        SELECT result FROM runs WHERE tenant = threads.tenant AND thread = threads.id AND status IN ('error', 'timeout')
        ORDER BY created DESC LIMIT 1
    ) END AS failure FROM threads WHERE tenant = ?"""
_NEWEST_FIRST = "FROM states WHERE tenant = ? AND thread = ? ORDER BY created DESC, id DESC"
_STATUS = {"success": "idle", "interrupted": "interrupted", "error": "error", "timeout": "error"}
_ORDERS = {"thread_id": "id", "created_at": "created", "status": "status"}


class Threads:
    """The threads of every tenant; each call names whose."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def find(self, tenant: Tenant, identifier: str) -> Row:
        """Raises `Refused`, also for one of another's."""
        row = self._row(tenant, identifier)
        if row is None:
            raise Refused(404, f"there is no thread {identifier} here")
        return row

    async def create(self, tenant: Tenant, body: CreateThread) -> dict[str, Any]:
        identifier = body.thread_id or str(uuid.uuid4())
        if (row := self._row(tenant, identifier)) is not None:
            if body.if_exists == "do_nothing":
                return view(row)
            raise Refused(409, f"there is a thread {identifier} already; if_exists='do_nothing' takes it")
        now = time.time()
        states = self._supersteps(tenant, identifier, body)
        values = states[-1][1][4] if states else None
        row_values = (tenant.path, identifier, now, now, _text(body.metadata or {}), values, "idle", _expires(body.ttl))
        await self.ledger.write((_INSERT, row_values), *states)
        return view(self._written(tenant, identifier))

    async def update(self, tenant: Tenant, identifier: str, metadata: Any, ttl: Ttl | None) -> dict[str, Any]:
        row = self.find(tenant, identifier)
        merged = {**orjson.loads(row["metadata"]), **(metadata or {})}
        expires = _expires(ttl) if ttl is not None else row["expires"]
        await self.ledger.write(
            (
                "UPDATE threads SET metadata = ?, updated = ?, expires = ? WHERE tenant = ? AND id = ?",
                (_text(merged), time.time(), expires, tenant.path, identifier),
            )
        )
        return view(self._written(tenant, identifier))

    def search(self, tenant: Tenant, body: SearchThreads) -> list[Row]:
        """All that are asked for, in order; which page of them is the caller's business."""
        order, way = _ORDERS.get(body.sort_by or "", "updated"), "ASC" if body.sort_order == "asc" else "DESC"
        found = self._matching(tenant, body, f"{order} {way}, id")
        if body.ids is not None:
            wanted = {uuid_text(one, "ids") for one in body.ids}
            found = [row for row in found if row["id"] in wanted]
        return found

    def count(self, tenant: Tenant, body: CountThreads) -> int:
        return len(self._matching(tenant, body, "id"))

    async def copy(self, tenant: Tenant, identifier: str) -> dict[str, Any]:
        row, new, now = self.find(tenant, identifier), str(uuid.uuid4()), time.time()
        statements: list[Statement] = [
            (_INSERT, (tenant.path, new, now, now, row["metadata"], row["vals"], "idle", row["expires"]))
        ]
        parent = None
        for state in reversed(self.states(tenant, identifier)):
            state_id = _state_id()
            values = (state_id, tenant.path, new, state["created"], state["vals"], state["metadata"], parent)
            statements.append((_STATE, values))
            parent = state_id
        await self.ledger.write(*statements)
        return view(self._written(tenant, new))

    async def delete(self, tenant: Tenant, identifiers: Sequence[str]) -> int:
        """How many there were."""
        there = [one for one in dict.fromkeys(identifiers) if self._row(tenant, one) is not None]
        tables = (("threads", "id"), ("runs", "thread"), ("states", "thread"))
        await self.ledger.write(
            *(
                (f"DELETE FROM {table} WHERE tenant = ? AND {column} = ?", (tenant.path, one))
                for one in there
                for table, column in tables
            )
        )
        return len(there)

    async def keep_latest(self, tenant: Tenant, identifiers: Sequence[str]) -> int:
        """Forget all but the last state of these threads; how many states that were."""
        sql = f"SELECT id {_NEWEST_FIRST} LIMIT -1 OFFSET 1"
        old = [row["id"] for one in dict.fromkeys(identifiers) for row in self.ledger.rows(sql, tenant.path, one)]
        await self.ledger.write(*(("DELETE FROM states WHERE id = ?", (one,)) for one in old))
        return len(old)

    # --- states ---

    def states(self, tenant: Tenant, identifier: str) -> list[Row]:
        """Newest first."""
        return self.ledger.rows(f"SELECT * {_NEWEST_FIRST}", tenant.path, identifier)

    def state(self, tenant: Tenant, identifier: str, checkpoint: str | None) -> Row | None:
        """The state that was reached there; the newest for None."""
        if checkpoint is None:
            return self.ledger.row(f"SELECT * {_NEWEST_FIRST} LIMIT 1", tenant.path, identifier)
        sql = "SELECT * FROM states WHERE tenant = ? AND thread = ? AND id = ?"
        return self.ledger.row(sql, tenant.path, identifier, checkpoint)

    def reached(self, tenant: Tenant, identifier: str, state: str) -> Row:
        """A state that a caller named. Raises `Refused`."""
        found = self.state(tenant, identifier, state)
        if found is None:
            raise Refused(404, "the thread has no such checkpoint")
        return found

    async def set_state(
        self, tenant: Tenant, identifier: str, values: Any, as_node: str | None, at: str | None = None
    ) -> dict[str, Any]:
        """Merge `values` into the thread's, or into those it had `at` a state; the checkpoint that comes of it."""
        before = self.find(tenant, identifier)["vals"]
        if at is not None:
            before = self.reached(tenant, identifier, at)["vals"]
        about = {"source": "update", "as_node": as_node}
        state, statements = self._new_state(tenant.path, identifier, _merged(before, values), about, parent=at)
        await self.ledger.write(*statements)
        return checkpoint(identifier, state)

    def values(self, run: Run) -> bytes:
        """What the thread of a run holds, as JSON."""
        row = self.ledger.row("SELECT vals FROM threads WHERE tenant = ? AND id = ?", run.tenant, run.thread)
        return b"{}" if row is None or row["vals"] is None else row["vals"].encode()

    def before_run(self, tenant: Tenant, identifier: str, graph: Graph, *, create: bool) -> list[Statement]:
        """What is written with a new run of a thread. Raises `Refused` where there is no such thread."""
        row, now = self._row(tenant, identifier), time.time()
        of = {"graph_id": graph.name, "assistant_id": graph.assistant_id}
        if row is None:
            if not create:
                raise Refused(404, f"there is no thread {identifier} here; if_not_exists='create' makes one")
            return [(_INSERT, (tenant.path, identifier, now, now, _text(of), None, "busy", None))]
        metadata = {**orjson.loads(row["metadata"]), **of}
        sql = "UPDATE threads SET status = 'busy', updated = ?, metadata = ? WHERE tenant = ? AND id = ?"
        return [(sql, (now, _text(metadata), tenant.path, identifier))]

    def after_run(self, run: Run, status: str, answer: Any, *, busy: bool) -> list[Statement]:
        """What is written with the end of a run."""
        now = time.time()
        sql = "UPDATE threads SET status = ?, updated = ? WHERE tenant = ? AND id = ?"
        shown = "busy" if busy else _STATUS[status]
        statements: list[Statement] = [(sql, (shown, now, run.tenant, run.thread))]
        row = self.ledger.row("SELECT vals FROM threads WHERE tenant = ? AND id = ?", run.tenant, run.thread)
        if status == "success" and row is not None:
            about = {"source": "loop", "run_id": run.id, "graph_id": run.graph}
            values = _merged(row["vals"], answer)
            statements += self._new_state(run.tenant, run.thread, values, about, identifier=run.id)[1]
        return statements

    def _new_state(
        self, tenant: str, thread: str, values: Any, about: dict[str, Any], *, identifier: str = "", parent: Any = None
    ) -> tuple[str, list[Statement]]:
        """The id of a new state after `parent`, None for the newest; and what is written."""
        last = self.ledger.row(f"SELECT id, metadata {_NEWEST_FIRST} LIMIT 1", tenant, thread)
        step = orjson.loads(last["metadata"]).get("step", 0) + 1 if last else 0
        state, now, text = identifier or _state_id(), time.time(), _text(values)
        about = {**about, "step": step, "parents": {}}
        row = (state, tenant, thread, now, text, _text(about), parent or (last["id"] if last else None))
        sql = "UPDATE threads SET vals = ?, updated = ? WHERE tenant = ? AND id = ?"
        return state, [(_STATE, row), (sql, (text, now, tenant, thread))]

    def _supersteps(self, tenant: Tenant, identifier: str, body: CreateThread) -> list[Statement]:
        statements: list[Statement] = []
        values, parent = None, None
        for i, update in enumerate(update for step in body.supersteps or () for update in step.updates):
            if update.command is not None:
                raise Refused(422, "commands in supersteps are not offered; send values")
            values, state = _text(_merged(values, update.values)), _state_id()
            about = _text({"source": "update", "step": i, "as_node": update.as_node, "parents": {}})
            statements.append((_STATE, (state, tenant.path, identifier, time.time(), values, about, parent)))
            parent = state
        return statements

    def _written(self, tenant: Tenant, identifier: str) -> Row:
        """A thread just written, also one that lives so short that it is over already."""
        row = self.ledger.row(f"{_THREADS} AND id = ?", tenant.path, identifier)
        return row if row is not None else self.find(tenant, identifier)

    def _row(self, tenant: Tenant, identifier: str) -> Row | None:
        sql = f"{_THREADS} AND id = ? AND (expires IS NULL OR expires > ?)"
        return self.ledger.row(sql, tenant.path, identifier, time.time())

    def _matching(self, tenant: Tenant, body: CountThreads, order: str) -> list[Row]:
        sql = f"{_THREADS} AND (expires IS NULL OR expires > ?) ORDER BY {order}"
        return [row for row in self.ledger.rows(sql, tenant.path, time.time()) if _matches(row, body)]


def _merged(before: str | None, values: Any) -> Any:
    merged = orjson.loads(before) if before else {}
    for update in values if isinstance(values, list) else [values]:
        if isinstance(update, Mapping):
            merged.update(update)
    return merged


def _matches(row: Row, body: CountThreads) -> bool:
    if body.status is not None and row["status"] != body.status:
        return False
    return _holds(row["metadata"], body.metadata) and _holds(row["vals"], body.values)


def _holds(text: str | None, wanted: Mapping[str, Any] | None) -> bool:
    """Whether a document has the fields wanted, with these values."""
    if not wanted:
        return True
    document = orjson.loads(text) if text else {}
    return all(name in document and document[name] == value for name, value in wanted.items())


def _expires(ttl: Ttl | None) -> float | None:
    return None if ttl is None else time.time() + ttl.ttl * 60


def _text(value: Any) -> str:
    return dumps(value).decode()


def _state_id() -> str:
    # In the order of their making, as LangGraph's are: states of one moment keep their order.
    return str(uuid.UUID(int=(time.time_ns() << 64) | (uuid.uuid4().int & (2**64 - 1))))
