"""Changed memories into a store: one batch, and no other writer's change is lost."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langmem_dspy.errors import ConflictError, InputError
from langmem_dspy.memories.known import Known, read_existing, read_value, to_value
from langmem_dspy.memories.likeness import shared_words, words
from langmem_dspy.memories.reconcile import State
from langmem_dspy.memories.schemas import Dropped, Schemas, merged, validated
from langmem_dspy.messages import Message
from langmem_dspy.records import GetOp, Index, Item, Namespace, Provenance, PutOp, Store

_ATTEMPTS = 5
_SEED = uuid.UUID("6b1c1f0e-6a35-4d0c-9a53-0d6f5f0a2c11")


def content_id(namespace: Namespace, known: Known) -> str:
    """An id for a new memory that follows from what it says: two writers who learn the same at once write it once."""
    return str(uuid.uuid5(_SEED, json.dumps([namespace, known.says()], default=repr)))


@dataclass(frozen=True)
class Destination:
    """Where memories are written, and how."""

    store: Store
    namespace: Namespace
    index: Index = None
    ttl: float | None = None
    thread: str | None = None
    messages: Sequence[Message] = ()

    def write(self, state: State) -> list[PutOp]:
        """Write what changed; what was written at last."""
        changed = [known for known in state.known if _is_to_write(known)]
        said = [frozenset(words(message.content)) for message in self.messages] if self.thread else []
        for attempt in range(_ATTEMPTS):
            ops = [self._put(known, said) for known in changed]
            try:
                if ops:
                    self.store.batch(ops)
                break
            except ConflictError:
                if attempt == _ATTEMPTS - 1:
                    raise
                changed = self._caught_up(changed, state)
        return ops

    def read_back(self, written: Sequence[PutOp]) -> list[Item]:
        """The items as the store now holds them; deleted ones are absent."""
        wanted = [GetOp(op.namespace, op.key, False) for op in written if op.value is not None]
        return [item for item in (self.store.batch(wanted) if wanted else []) if item is not None]

    def _put(self, known: Known, said: Sequence[frozenset[str]]) -> PutOp:
        source = known.source
        namespace = source.namespace if source is not None else self.namespace
        version = source.version if source is not None else 0
        if known.deleted:
            return PutOp(namespace, known.id, None, if_version=version)
        value = to_value(known)
        provenance = Provenance(self.thread, _positions(value, said), "langmem_dspy")
        return PutOp(
            namespace, known.id, value, self.index, self.ttl, provenance if self.thread else None, if_version=version
        )

    def _caught_up(self, changed: list[Known], state: State) -> list[Known]:
        """The same changes on top of what other writers have done in the meantime."""
        where = [(known.source.namespace if known.source else self.namespace, known.id) for known in changed]
        now = self.store.batch([GetOp(namespace, key, False) for namespace, key in where])
        return [known for known, item in zip(changed, now, strict=True) if _rebased(known, item, state)]


def _is_to_write(known: Known) -> bool:
    # What is known without being in the store is a default document: kept from now on, changed or not.
    return not known.deleted if known.source is None else known.changed


def _rebased(known: Known, item: Item | None, state: State) -> bool:
    """Whether there is still something to write for `known` once it has taken over what the store holds now."""
    before = known.source
    if item is not None and before is not None and item.version == before.version:
        return True
    if before is None:
        return item is None or _insert_beside(known, item, state)
    if item is None or known.deleted:
        reason = "it was deleted meanwhile" if item is None else "it was changed meanwhile"
        _give_up(known, "delete" if known.deleted else "update", reason, state)
        return False
    _, content = read_value(item.value)
    held = dict(content) if isinstance(content, Mapping) else None
    try:
        if held is not None:
            kept = {key: value for key, value in held.items() if key not in known.cleared}
            known.content = validated(known.model, merged(kept, known.changes))
    except InputError as error:
        _give_up(known, "update", f"it was changed meanwhile, and does not fit any more: {error}", state)
        return False
    known.source = item
    return True


def _insert_beside(known: Known, item: Item, state: State) -> bool:
    there = read_existing([item], Schemas([known.model]))[0]
    if there.says() == known.says():
        _give_up(known, "insert", f"already known as {item.key}", state, needless=True)
        return False
    known.id = str(uuid.uuid4())  # the id is taken by a memory that has since come to say something else
    return True


def _give_up(known: Known, op: str, reason: str, state: State, *, needless: bool = False) -> None:
    content = json.dumps(known.document, ensure_ascii=False)
    state.dropped.append(Dropped(op, reason, known.id, known.schema, content, needless))
    state.known[:] = [one for one in state.known if one is not known]


def _positions(value: Mapping[str, Any], said: Sequence[frozenset[str]]) -> tuple[int, ...]:
    """The message that shares most words with a memory, as far as words can tell."""
    text = json.dumps(value["content"], ensure_ascii=False)
    shared = [shared_words(text, message) for message in said]
    return (shared.index(max(shared)),) if shared and max(shared) > 1 else ()
