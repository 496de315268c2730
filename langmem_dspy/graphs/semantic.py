"""`extract_memories`: conversations become memories in a store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langmem_dspy.errors import InputError
from langmem_dspy.graphs.settings import Config, Input, read_input, read_settings
from langmem_dspy.memories.functions import StoreEnrich
from langmem_dspy.memory_factories import create_memory_store_enricher
from langmem_dspy.messages import Message
from langmem_dspy.namespaces import template_variables
from langmem_dspy.optimizers.trajectories import Trajectory, read_trajectories
from langmem_dspy.records import Item, Namespace, Store

OPTIONS = (
    "instructions", "query_limit", "max_steps", "ttl", "index", "enable_inserts", "enable_updates", "enable_deletes",
)  # fmt: skip


async def semantic(input: Input, config: Config = None, *, store: Store | None = None) -> dict[str, Any]:
    """{"messages", "schemas", "namespace"} -> {"updated_memories": [item as a dict, ...]}, those written.

    `messages`: the messages of a conversation, or (messages, feedback) pairs; what was said of a conversation is read
    with it. `schemas`: JSON schemas, one or several, or None for plain text. `namespace` is ("memories",) where none
    is given, and may hold variables, which `config["configurable"]` fills in. There stand also `model`, `kind`
    ("multi" or "single") and `options` (see `OPTIONS`). `store` None is the one that `memory_context` has.
    """
    given = read_input(input, "messages", ("schemas", "namespace"))
    settings = read_settings(config)
    options = dict(settings.options)
    if unknown := sorted(set(options) - set(OPTIONS)):
        raise InputError(f"options of extract_memories are {', '.join(OPTIONS)}; got also {', '.join(unknown)}")
    max_steps = options.pop("max_steps", 1)
    enricher: StoreEnrich = create_memory_store_enricher(
        settings.model,
        schemas=given.get("schemas"),
        store=store,
        namespace=given.get("namespace") or ("memories",),
        kind=settings.kind or "multi",  # type: ignore[arg-type]
        **options,
    )
    wanted = template_variables(enricher.namespace) | {"thread_id"}
    variables = {name: value for name, value in settings.variables.items() if name in wanted}
    written: dict[tuple[Namespace, str], Item] = {}
    for trajectory in read_trajectories(given["messages"]):  # in turn: a later one sees what an earlier one taught
        for item in await enricher.acall(list(_messages(trajectory)), max_steps=max_steps, **variables):
            written[item.namespace, item.key] = item
    return {"updated_memories": [item.dict() for item in written.values()]}


def _messages(trajectory: Trajectory) -> Iterator[Message]:
    yield from trajectory.messages
    if trajectory.feedback.strip():
        yield Message("user", trajectory.feedback, name="feedback")
