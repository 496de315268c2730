"""Threads and their states as clients see them."""

from __future__ import annotations

import time
from sqlite3 import Row
from typing import Any

import orjson

from langmem_dspy.services.run import error_in
from langmem_dspy.services.wire import time_text


def view(row: Row) -> dict[str, Any]:
    """A thread as clients see it."""
    return {
        "thread_id": row["id"],
        "created_at": time_text(row["created"]),
        "updated_at": time_text(row["updated"]),
        "state_updated_at": time_text(row["updated"]),
        "metadata": orjson.loads(row["metadata"]),
        "config": {},
        "context": {},
        "status": row["status"],
        "values": None if row["vals"] is None else orjson.loads(row["vals"]),
        "error": error_in(row["failure"]),
        "interrupts": {},
    }


def ttl_view(row: Row) -> dict[str, Any] | None:
    """When a thread will be forgotten, `ttl_minutes` from now; None where it is kept."""
    if row["expires"] is None:
        return None
    left = max(0.0, row["expires"] - time.time()) / 60
    return {"strategy": "delete", "ttl_minutes": round(left, 2), "expires_at": time_text(row["expires"])}


def state_view(identifier: str, state: Row | None) -> dict[str, Any]:
    """A state as clients see it; None is that of a thread that has none yet."""
    parent = state["parent"] if state else None
    return {
        "values": orjson.loads(state["vals"]) if state else {},
        "next": [],
        "tasks": [],
        "interrupts": [],
        "metadata": orjson.loads(state["metadata"]) if state else {},
        "created_at": time_text(state["created"]) if state else None,
        "checkpoint": checkpoint(identifier, state["id"] if state else None),
        "parent_checkpoint": checkpoint(identifier, parent) if parent else None,
        "checkpoint_id": state["id"] if state else None,
        "parent_checkpoint_id": parent,
    }


def checkpoint(identifier: str, state: str | None) -> dict[str, Any]:
    return {"thread_id": identifier, "checkpoint_ns": "", "checkpoint_id": state, "checkpoint_map": None}
