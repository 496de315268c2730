"""What the memory tools do when they are called: each answer is for a model to read, refusals too."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from pydantic import BaseModel

from langmem_dspy.errors import ConflictError, InputError
from langmem_dspy.memories.known import Known, read_existing, read_value, to_value
from langmem_dspy.memories.recalled import marked
from langmem_dspy.memories.schemas import (
    Kind,
    Schemas,
    as_text,
    document_of,
    field_names,
    merged,
    text_field,
    validated,
)
from langmem_dspy.memories.search import FindStore, matching
from langmem_dspy.memories.writing import content_id
from langmem_dspy.messages import storable
from langmem_dspy.namespaces import checked_template, held_store, resolve_namespace
from langmem_dspy.records import Item, Namespace, PutOp, SearchItem, SearchMode, SearchOp, Store

Action: TypeAlias = Literal["create", "update", "delete"]
ACTIONS: tuple[Action, ...] = ("create", "update", "delete")
_DOUBLES_LOOKED_AT = 5
_ATTEMPTS = 5


class Managed(NamedTuple):
    """What a call of manage_memory came to. `what` was done to `id`, None for nothing; `said` is what a model reads."""

    said: str
    what: Literal["created", "updated", "deleted", "known"] | None = None
    id: str | None = None


class _InNamespace:
    def __init__(self, store: Store | None, namespace: str | Sequence[str], find_store: FindStore) -> None:
        self.store, self.namespace, self.find_store = held_store(store), checked_template(namespace), find_store

    def place(self) -> tuple[Store, Namespace]:
        return self.find_store(self.store), resolve_namespace(self.namespace)


class ManageMemory(_InNamespace):
    """Creates, updates and deletes memories of one schema. Each answer says what was done, or why nothing was."""

    def __init__(
        self,
        store: Store | None,
        namespace: str | Sequence[str],
        *,
        model: type[BaseModel],
        kind: Kind,
        actions: Sequence[Action],
        find_store: FindStore,
    ) -> None:
        super().__init__(store, namespace, find_store)
        self.model, self.kind, self.actions = model, kind, tuple(actions)

    def call(self, action: str = "", content: Any = None, id: str | None = None) -> str:
        return self.manage(action, content, id).said

    def manage(self, action: str = "", content: Any = None, id: str | None = None) -> Managed:
        action = action or ("create" if not id else "update")
        if action not in self.actions:
            return Managed(f"{action!r} is not permitted; use {' or '.join(self.actions)}.")
        store, namespace = self.place()
        identifier = self.model.__name__ if self.kind == "single" else (id or "").strip()
        if action == "create" and self.kind == "multi":
            return self._create(store, namespace, content)
        if not identifier:
            return Managed(f"To {action} a memory, give its id, as a search shows it.")
        for attempt in range(_ATTEMPTS):
            try:
                return self._change(store, namespace, identifier, None if action == "delete" else content, action)
            except ConflictError:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def _create(self, store: Store, namespace: Namespace, content: Any) -> Managed:
        try:
            new = Known("", self.model.__name__, self.model, self._read(content, None))
        except InputError as error:
            return Managed(f"Nothing was created: {error}")
        query = SearchOp(namespace, query=as_text(new.content), limit=_DOUBLES_LOOKED_AT)
        near = read_existing(store.batch([query])[0], Schemas([self.model]))
        if twin := next((known for known in near if known.says() == new.says()), None):
            return Managed(f"Already known as memory {twin.id}.", "known", twin.id)
        return self._write_new(store, namespace, new)

    def _write_new(self, store: Store, namespace: Namespace, new: Known) -> Managed:
        new.id = content_id(namespace, new)  # as the extraction does: two who learn the same at once write it once
        try:
            store.batch([PutOp(namespace, new.id, to_value(new), if_version=0)])
        except ConflictError:
            there = store.get(namespace, new.id)
            if there is not None and read_existing([there], Schemas([self.model]))[0].says() == new.says():
                return Managed(f"Already known as memory {new.id}.", "known", new.id)
            new.id = str(uuid.uuid4())  # what was there has since come to say something else
            store.put(namespace, new.id, to_value(new))
        return Managed(f"Created memory {new.id}.", "created", new.id)

    def _change(self, store: Store, namespace: Namespace, identifier: str, content: Any, action: str) -> Managed:
        """Update, delete, or create the only one, unless someone else writes at the same time (`ConflictError`)."""
        held = store.get(namespace, identifier)
        if held is None and (action == "delete" or self.kind == "multi"):
            return Managed(f"There is no memory {identifier}; nothing was done. Search for the right id.")
        value = None
        if action != "delete":
            try:
                whole = self._read(content, held)
            except InputError as error:
                return Managed(f"Nothing was changed: {error}")
            value = to_value(Known(identifier, self.model.__name__, self.model, whole))
        store.batch([PutOp(namespace, identifier, value, if_version=held.version if held is not None else 0)])
        if value is None:
            return Managed(f"Deleted memory {identifier}.", "deleted", identifier)
        if held is None:
            return Managed(f"Created memory {identifier}.", "created", identifier)
        return Managed(f"Updated memory {identifier}.", "updated", identifier)

    def _read(self, content: Any, held: Item | None) -> BaseModel:
        """What `content` asks for: text, a dict, JSON text or an object, merged into what is held."""
        if isinstance(content, BaseModel):
            content = document_of(content)
        only = text_field(self.model)
        if isinstance(content, str) and only is None:
            content = _from_json(content, self.model)
        if isinstance(content, str) and only is not None:
            if "\x00" in content:
                raise InputError("content holds a NUL character, which no store keeps; leave it out")
            content = {only: content.strip()}
        if not isinstance(content, Mapping) or not (content.get(only) if only else _says_anything(content)):
            raise InputError(f"content is needed: {'text' if only else 'an object with ' + shown_fields(self.model)}")
        names = field_names(self.model)
        if unknown := sorted(set(content) - names) if names is not None else []:
            raise InputError(f"content has no field {', '.join(unknown)}; its fields are {shown_fields(self.model)}")
        before = read_value(held.value)[1] if held is not None else {}
        return validated(self.model, merged(before if isinstance(before, Mapping) else {}, content))


class SearchMemory(_InNamespace):
    """Finds memories; the answer is compact: one JSON line for each with id, content and score."""

    def __init__(
        self,
        store: Store | None,
        namespace: str | Sequence[str],
        *,
        limit: int,
        min_score: float | None,
        filter: Mapping[str, Any] | None,
        mode: SearchMode,
        find_store: FindStore,
    ) -> None:
        super().__init__(store, namespace, find_store)
        self.limit, self.min_score, self.mode = limit, min_score, mode
        self.filter = dict(filter) if filter else None

    def call(self, query: str, limit: int | None = None, offset: int = 0) -> str:
        return said_of(self.find(query, limit, offset), query, offset)

    def find(self, query: str, limit: int | None = None, offset: int = 0) -> list[SearchItem]:
        store, namespace = self.place()
        query = storable(query)
        wanted = min(max(1, limit or self.limit), 100)
        op = SearchOp(
            namespace,
            filter=self.filter,
            limit=wanted,
            offset=max(0, offset),
            query=query.strip() or None,
            min_score=self.min_score,
            mode=self.mode,
        )
        found: list[SearchItem] = store.batch([op])[0]
        return matching(found) if self.min_score is None else found


def said_of(found: Sequence[SearchItem], query: str, offset: int = 0) -> str:
    """What was found, as a model reads it."""
    if not found:
        more = " further" if offset else ""
        return f"No{more} memories were found" + (f" for {query!r}." if query.strip() else ".")
    return marked("\n".join(json.dumps(shown(item), ensure_ascii=False, separators=(",", ":")) for item in found))


def shown(item: SearchItem) -> dict[str, Any]:
    """A found memory as a model is shown it."""
    line: dict[str, Any] = {"id": item.key, "content": read_value(item.value)[1]}
    if item.score is not None:
        line["score"] = round(item.score, 3)
    return line


def _from_json(text: str, model: type[BaseModel]) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"content must be a JSON object with the fields {shown_fields(model)}") from error


def _says_anything(content: Mapping[str, Any]) -> bool:
    return any(value is not None for value in content.values())


def shown_fields(model: type[BaseModel]) -> str:
    return ", ".join(info.alias or name for name, info in model.model_fields.items())
