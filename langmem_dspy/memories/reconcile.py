"""What a model proposes, carried out on the known memories as far as it is allowed, valid and new.

Nothing proposed is lost without a word: each operation is done, or handed back to be corrected, or dropped, the last
two with the reason.
"""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, model_validator

from langmem_dspy.errors import InputError
from langmem_dspy.memories.known import Known, Shown
from langmem_dspy.memories.schemas import (
    Delete,
    Dropped,
    ExtractedMemory,
    Insert,
    Kind,
    Operation,
    Schemas,
    Update,
    as_text,
    field_names,
    merged,
    text_field,
    validated,
)
from langmem_dspy.messages import escape


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _texts(value: Any) -> list[str]:
    return [_text(one) for one in (value if isinstance(value, list | tuple) else [value] if value else [])]


_Text = Annotated[str, BeforeValidator(_text)]


class Proposed(BaseModel):
    """One operation on the memory."""

    # Flat, and read leniently: with unions or open objects, structured outputs come back empty, and with strict types
    # one slip would sink the whole reply. What it says is judged below, operation by operation.
    op: _Text = ""
    id: _Text = ""
    schema_name: _Text = ""
    content: _Text = ""
    clear: Annotated[list[str], BeforeValidator(_texts)] = []

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        # What models are shown: shorter than pydantic's own, and not derived anew for each request. A copy, since
        # DSPy closes schemas in place for structured outputs.
        return copy.deepcopy(_SHOWN)

    @model_validator(mode="before")
    @classmethod
    def _unreadable_stays_visible(cls, value: Any) -> Any:
        return value if isinstance(value, Mapping) else {"content": value}


_SHOWN: dict[str, Any] = {
    "type": "object",
    "properties": {
        "op": {"type": "string", "enum": ["insert", "update", "delete"]},
        "id": {"type": "string", "description": "the known memory to update or delete, such as m3; empty for insert"},
        "schema_name": {"type": "string"},
        "content": {"type": "string", "description": "bare text, or a JSON object; empty for delete"},
        "clear": {
            "type": "array",
            "items": {"type": "string"},
            "description": "fields of a document that no longer hold anything",
        },
    },
    "required": ["op"],
}

_OPS = {
    "insert": "insert", "create": "insert", "add": "insert",
    "update": "update", "patch": "update", "edit": "update", "supersede": "update",
    "delete": "delete", "remove": "delete",
    "none": "none", "noop": "none", "no-op": "none", "keep": "none",
}  # fmt: skip


@dataclass(frozen=True)
class Rules:
    """What may be done to the memories, and what form they have."""

    schemas: Schemas
    kind: Kind = "multi"
    enable_inserts: bool = True
    enable_updates: bool = True
    enable_deletes: bool = False

    def allowed(self) -> list[str]:
        flags = {"insert": self.enable_inserts, "update": self.enable_updates, "delete": self.enable_deletes}
        return [op for op, enabled in flags.items() if enabled]


class _Refused(Exception):
    """An operation that is not done as it stands. `mendable` when the model could put it right."""

    def __init__(self, reason: str, *, mendable: bool = False, needless: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.mendable, self.needless = reason, mendable, needless


@dataclass
class State:
    """The memories while a conversation is worked through, and what could not be done to them.

    `new_id` names a new memory, given with its content and no id yet.
    """

    known: list[Known]
    rules: Rules
    dropped: list[Dropped] = field(default_factory=list)
    new_id: Callable[[Known], str] = lambda known: str(uuid.uuid4())

    def apply(self, proposals: Iterable[Proposed], shown: Shown) -> list[tuple[Proposed, str]]:
        """Carry out what can be done; what the model could put right comes back with the reason."""
        rejected: list[tuple[Proposed, str]] = []
        touched: dict[Known, set[str]] = {}
        for proposed in proposals:
            try:
                self._apply(proposed, shown, touched)
            except _Refused as refused:
                if refused.mendable:
                    rejected.append((proposed, refused.reason))
                else:
                    self.drop(proposed, shown, refused.reason, needless=refused.needless)
        return rejected

    def drop(
        self, proposed: Proposed, shown: Shown, reason: str, content: str | None = None, *, needless: bool = False
    ) -> None:
        """Note that `proposed`, or the part of it given as `content`, was not done."""
        target = shown.handles.get(_handle(proposed.id))
        identifier = target.id if target is not None else (proposed.id.strip() or None)
        said = proposed.content if content is None else content
        self.dropped.append(Dropped(proposed.op, reason, identifier, proposed.schema_name or None, said, needless))

    def _apply(self, proposed: Proposed, shown: Shown, touched: dict[Known, set[str]]) -> None:
        op = _OPS.get(proposed.op.strip().lower())
        if op == "none":
            return
        if op is None:
            raise _Refused(f"{proposed.op!r} is no operation; use {', '.join(self.rules.allowed())}", mendable=True)
        target = shown.handles.get(_handle(proposed.id)) if op != "insert" else None
        if self.rules.kind == "single" and target is None:
            # Which of the two it is, is told by the profile being there, whatever the model calls it.
            target = self._profile(proposed.schema_name)
            op = op if op == "delete" else "insert" if target is None else "update"
        if op not in self.rules.allowed():
            raise _Refused(f"{op}s are not enabled")
        if op == "insert":
            self._insert(proposed, shown, touched)
            return
        if target is None:
            raise _Refused(f"there is no memory {proposed.id!r} to {op}", mendable=True)
        if target.deleted:
            raise _Refused(f"{_handle(proposed.id)} was deleted before")
        if op == "delete":
            target.deleted = True
        else:
            self._update(proposed, target, shown, touched)

    def _insert(self, proposed: Proposed, shown: Shown, touched: dict[Known, set[str]]) -> None:
        model = self.rules.schemas.find(proposed.schema_name)
        if model is None:
            names = ", ".join(self.rules.schemas)
            raise _Refused(f"schema_name must be one of {names}, not {proposed.schema_name!r}", mendable=True)
        document = self._fitting(_content(proposed, model), model, proposed, shown)
        new = Known("", model.__name__, model, _valid(model, document))
        twin = next((one for one in self.present() if one.says() == new.says()), None)
        if twin is not None:
            same = f"{shown.handle(twin)} ({twin.id})" if twin.original else twin.id
            raise _Refused(f"already known as {same}", needless=True)
        new.id = self.new_id(new)
        self.known.append(new)
        touched[new] = set(document)

    def _profile(self, schema_name: str) -> Known | None:
        model = self.rules.schemas.find(schema_name)
        return next((one for one in self.present() if model is not None and one.schema == model.__name__), None)

    def _update(self, proposed: Proposed, target: Known, shown: Shown, touched: dict[Known, set[str]]) -> None:
        changes = self._fitting(_content(proposed, target.model), target.model, proposed, shown)
        cleared = {name.strip() for name in proposed.clear if name.strip()}
        if unknown := sorted(cleared - set(target.document)):
            raise _Refused(f"{', '.join(unknown)} is no field to clear", mendable=True)
        before = {key: value for key, value in target.document.items() if key not in cleared}
        whole = merged(before, changes)
        if clash := sorted(k for k in touched.get(target, ()) if whole.get(k) != target.document.get(k)):
            raise _Refused(
                f"another operation already set {', '.join(clash)} of {shown.handle(target)}; say both in one",
                mendable=True,
            )
        if whole == target.document:
            raise _Refused(f"changes nothing in {shown.handle(target)}", needless=True)
        target.content = _valid(target.model, whole)
        self._take_back_what_is_said_by(target)
        target.changes = merged(target.changes, changes)
        target.cleared = tuple(sorted({*target.cleared, *cleared} - set(changes)))
        touched.setdefault(target, set()).update({*changes, *cleared})

    def _take_back_what_is_said_by(self, updated: Known) -> None:
        """A new memory is a second copy once another one has been updated to say the same."""
        for one in self.present():
            if one.original is None and one is not updated and one.says() == updated.says():
                self.known.remove(one)
                reason = f"already known as {updated.id}"
                self.dropped.append(Dropped("insert", reason, None, one.schema, as_text(one.content), needless=True))

    def _fitting(
        self, content: dict[str, Any], model: type[BaseModel], proposed: Proposed, shown: Shown
    ) -> dict[str, Any]:
        """`content` without fields the schema does not have; those are noted, as pydantic would swallow them."""
        names = field_names(model)
        extra = {} if names is None else {key: value for key, value in content.items() if key not in names}
        if extra and len(extra) == len(content):
            raise _Refused(f"{model.__name__} has no field {', '.join(sorted(extra))}", mendable=True)
        if extra:
            reason = f"{model.__name__} has no field {', '.join(sorted(extra))}; the rest was taken"
            self.drop(proposed, shown, reason, json.dumps(extra, ensure_ascii=False))
        return {key: value for key, value in content.items() if key not in extra}

    # --- what came of it ---

    def present(self) -> list[Known]:
        return [one for one in self.known if not one.deleted]

    def memories(self) -> list[ExtractedMemory]:
        return [ExtractedMemory(one.id, one.content) for one in self.present()]

    def operations(self) -> list[Operation]:
        """The net change: one operation for each memory that is not as it was."""
        return [operation for one in self.known if (operation := _operation(one)) is not None]


def _operation(known: Known) -> Operation | None:
    if known.original is None:
        return None if known.deleted else Insert(known.id, known.content)
    if known.deleted:
        return Delete(known.id, known.original)
    return Update(known.id, known.content, known.original, known.changes, known.cleared) if known.changed else None


def rejection(rejected: Sequence[tuple[Proposed, str]]) -> list[str]:
    """Rejected operations as the model sees them again."""
    return [escape(f"{p.model_dump_json(exclude_defaults=True)} was rejected: {reason}") for p, reason in rejected]


def _handle(identifier: str) -> str:
    return identifier.strip().strip("[]()<>:.#").lower()


def _valid(model: type[BaseModel], document: Mapping[str, Any]) -> BaseModel:
    try:
        return validated(model, document)
    except InputError as error:
        raise _Refused(f"invalid {model.__name__}: {error}", mendable=True) from error


def _content(proposed: Proposed, model: type[BaseModel]) -> dict[str, Any]:
    text = proposed.content.replace("\x00", "").strip()
    only = text_field(model)
    if not text and not (proposed.clear and not only):
        raise _Refused("its content is empty", mendable=True)
    try:
        read = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        read = None
    if only is not None:
        if isinstance(read, Mapping) and isinstance(read.get(only), str) and read[only].strip():
            return dict(read)  # as a document; what else it holds is noted where it is fitted
        return {only: read if isinstance(read, str) and read.strip() else text}
    if not isinstance(read, Mapping):
        raise _Refused(f"content must be a JSON object with the fields of {model.__name__}", mendable=True)
    return {key: value for key, value in read.items() if value is not None}
