"""Enrichment: search what is known, extract, refine in phases, write. A memory manager that owns a store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, TypeGuard

import dspy

from langmem_dspy.awaiting import forwarded
from langmem_dspy.errors import InputError
from langmem_dspy.memories.extraction import MemoryManager
from langmem_dspy.memories.found import Found
from langmem_dspy.memories.known import Known, read_existing
from langmem_dspy.memories.recalled import without_recalled
from langmem_dspy.memories.reconcile import State
from langmem_dspy.memories.search import FindStore, MemorySearcher
from langmem_dspy.memories.writing import Destination, content_id
from langmem_dspy.messages import Message, read_messages
from langmem_dspy.namespaces import checked_template, current_store, current_variables, held_store, resolve_namespace
from langmem_dspy.records import GetOp, Index, Item, Namespace, Store
from langmem_dspy.replies import as_lm


class MemoryPhase(TypedDict, total=False):
    """A further look at the memories: with instructions of its own, and by default without the conversation."""

    instructions: str
    include_messages: bool
    enable_inserts: bool
    enable_updates: bool
    enable_deletes: bool


_PHASE_DEFAULTS: MemoryPhase = {
    "include_messages": False,
    "enable_inserts": True,
    "enable_updates": True,
    "enable_deletes": True,
}
DEFAULT_KEY = "default"


class MemoryStoreManager(dspy.Module):
    """`(messages=, **namespace_variables) -> Prediction(items=, operations=, dropped=)`, `items` being those written.

    Profiles (`kind="single"`) are kept under the name of their schema. `default` is the document to start from where
    nothing is known: text, a dict or an object, or a function of the namespace variables. `query_model` writes the
    search queries; None searches with the conversation itself. `index` and `ttl` (minutes) are those of each write.
    """

    def __init__(
        self,
        manager: MemoryManager | None = None,
        store: Store | None = None,
        *,
        namespace: str | Sequence[str] = ("memories",),
        query_model: str | dspy.BaseLM | None = None,
        query_limit: int = 5,
        phases: Sequence[MemoryPhase] | None = None,
        default: Any | Callable[[Mapping[str, Any]], Any] = None,
        index: Index = None,
        ttl: float | None = None,
        find_store: FindStore = current_store,
    ) -> None:
        super().__init__()
        if manager is not None and not isinstance(manager, MemoryManager):
            raise InputError(f"manager is a MemoryManager, got {type(manager).__name__} {manager!r}")
        self.manager = manager or MemoryManager()
        self.store, self.namespace, self.find_store = held_store(store), checked_template(namespace), find_store
        self.searcher = MemorySearcher(
            store, namespace=namespace, write_queries=query_model is not None, query_limit=query_limit
        )
        if self.searcher.write is not None:
            self.searcher.write.lm = as_lm(query_model)
        self.phases = [_phase_manager(self.manager, phase, i) for i, phase in enumerate(phases or ())]
        self.phases_with_messages = [bool(phase.get("include_messages")) for phase in phases or ()]
        self.default, self.index, self.ttl = default, index, ttl
        if ttl is not None and (isinstance(ttl, bool) or not isinstance(ttl, int | float) or ttl <= 0):
            raise InputError(f"ttl is a positive number of minutes or None, not {ttl!r}")
        if not _is_made(default):
            self._default({})  # what it cannot be is said now, not when a user comes of whom nothing is known
        self.reads_back = True  # off where no one looks at `items`

    def forward(self, messages: Any, max_steps: int = 1, **variables: Any) -> dspy.Prediction:
        namespace = resolve_namespace(self.namespace, variables)
        store = self.find_store(self.store)
        given = read_messages(messages)
        said = without_recalled(given)
        if not said:
            return Found(items=[], operations=[], dropped=[])
        state = self._known(store, namespace, said, variables)
        self.manager.work_through(state, said, max_steps)
        for phase, with_messages in zip(self.phases, self.phases_with_messages, strict=True):
            phase.work_through(state, said if with_messages else (), max_steps, without_messages=True)
        thread = {**current_variables(), **variables}.get("thread_id")
        thread = None if thread is None else str(thread)
        destination = Destination(store, namespace, self.index, self.ttl, thread, given)
        written = destination.write(state)
        items = destination.read_back(written) if self.reads_back else []
        return Found(items=items, operations=state.operations(), dropped=state.dropped)

    async def aforward(self, messages: Any, max_steps: int = 1, **variables: Any) -> dspy.Prediction:
        return await forwarded(self, messages, max_steps, **variables)

    def _known(
        self, store: Store, namespace: Namespace, said: Sequence[Message], variables: Mapping[str, Any]
    ) -> State:
        rules = self.manager.rules
        found: Sequence[Item]
        if rules.kind == "single":
            profiles = store.batch([GetOp(namespace, schema) for schema in rules.schemas])
            found = [item for item in profiles if item is not None]
        else:
            found = self.searcher.find(store, namespace, self.searcher.queries(said))
        known = read_existing(found, rules.schemas) or self._default(variables)
        if rules.kind == "single":
            return State(known, rules, new_id=lambda new: new.schema)
        taken = {one.id for one in known}

        def new_id(new: Known) -> str:
            return identifier if (identifier := content_id(namespace, new)) not in taken else f"{identifier}-2"

        return State(known, rules, new_id=new_id)

    def _default(self, variables: Mapping[str, Any]) -> list[Known]:
        default = self.default({**current_variables(), **variables}) if _is_made(self.default) else self.default
        if default is None:
            return []
        schemas = self.manager.rules.schemas
        known = read_existing([(DEFAULT_KEY, default)], schemas, "default")
        if known[0].schema not in schemas:
            raise InputError(f"default fits none of the schemas {', '.join(schemas)}: {default!r}")
        if self.manager.rules.kind == "single":
            known[0].id = known[0].schema
        return known


def _is_made(default: Any) -> TypeGuard[Callable[[Mapping[str, Any]], Any]]:
    return callable(default) and not isinstance(default, type)


def _phase_manager(manager: MemoryManager, phase: MemoryPhase, position: int) -> MemoryManager:
    where = f"phases[{position}]"
    if not isinstance(phase, Mapping):
        raise InputError(f"{where} is a dict such as {{'instructions': '...'}}, got {type(phase).__name__} {phase!r}")
    if unknown := sorted(set(phase) - set(MemoryPhase.__annotations__)):
        raise InputError(f"{where} has the unknown keys {unknown}; a phase has {sorted(MemoryPhase.__annotations__)}")
    options: dict[str, Any] = {**_PHASE_DEFAULTS, **phase}
    options.pop("include_messages")
    return MemoryManager(
        manager.rules.schemas,
        kind=manager.rules.kind,
        max_input_tokens=manager.max_input_tokens,
        max_known_tokens=manager.max_known_tokens,
        **{"instructions": manager.instructions, **options},
    )
