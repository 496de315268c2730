"""The extractor: takes what the user said of themself into memories of any schema, and what its prompt asks for.

It overlooks a statement now and then, as its profile says. What is known it leaves alone, and what is told otherwise
it updates.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.parsing import find_rules
from langmem_dspy.simulation.profiles import Profile
from langmem_dspy.simulation.questions import Question, Wanted
from langmem_dspy.simulation.roles.statements import (
    SENTENCE_END,
    content_words,
    statements,
    third_person,
    topic,
    user_turns,
)
from langmem_dspy.simulation.roles.worker import followed
from langmem_dspy.simulation.rules import mentions

_KNOWN = re.compile(r"^(m\d+)(?: (\w+))?: (.*(?:\n    .*)*)", re.MULTILINE)
_SCHEMA = re.compile(r"^(\w+):.*?(?:JSON object: (\{.*\})|Written as bare text\b.*\((\w+)\)\.)?$", re.MULTILINE)
_CONVERSATION = re.compile(r"\b(?:conversation|messages|thread|dialogue|transcript)\b")
_NOTHING = ("none", "[]", "n/a", "")


@dataclass(frozen=True)
class Held:
    """A memory the request shows."""

    handle: str
    schema: str
    text: str


def plays(question: Question) -> bool:
    return _conversation(question) is not None and (_operations(question) is not None or _thread(question) is not None)


def answer(question: Question, profile: Profile, chance: Chance) -> dict[str, Any]:
    conversation = _conversation(question) or ""
    operations, thread = _operations(question), _thread(question)
    values: dict[str, Any] = {}
    for wanted in question.wanted:
        if operations is not None and wanted.name == operations.name:
            values[wanted.name] = _extract(question, conversation, profile, chance)
        elif thread is not None and wanted.name == thread.name:
            values[wanted.name] = _described(thread.schema, conversation)
        else:
            values[wanted.name] = wanted.kind == "boolean" if wanted.kind == "boolean" else ""
    return values


def _conversation(question: Question) -> str | None:
    return next((text for name, text in question.inputs.items() if _CONVERSATION.search(name.replace("_", " "))), None)


def _operations(question: Question) -> Wanted | None:
    for wanted in question.wanted:
        items = wanted.schema.get("items") or {}
        if wanted.kind == "array" and {"op", "content"} <= set(items.get("properties") or {}):
            return wanted
    return None


def _thread(question: Question) -> Wanted | None:
    documents = [w for w in question.wanted if w.kind == "object" and w.schema.get("properties")]
    return documents[0] if documents and "document" in documents[0].name else None


# --- operations ---


def _extract(question: Question, conversation: str, profile: Profile, chance: Chance) -> list[dict[str, str]]:
    if question.inputs.get("rejected", "").strip() not in _NOTHING:
        return []  # it does not argue
    told = [*statements(conversation), *_asked_for(question, conversation, profile, chance)]
    said = [s for s in dict.fromkeys(told) if chance.happens(profile.notice, "notice", s)]
    shown = "\n".join(text for name, text in question.inputs.items() if "known" in name or "existing" in name)
    held = [Held(*(part or "" for part in match.groups())) for match in _KNOWN.finditer(shown)]
    allowed = question.inputs.get("allowed_operations", "insert, update")
    schemas = _schemas(question)
    if not schemas:
        return _texts(said, held, "", allowed)
    operations = []
    for name, schema in schemas.items():
        if _holds_any(schema):
            operations += _texts(said, held, name, allowed)
        else:
            operations += _documents(said, held, name, schema, allowed)
    return operations


def _holds_any(schema: Mapping[str, Any]) -> bool:
    """Whether it is one text that any statement fits."""
    fields = list(schema.get("properties", ()))
    return "text" in schema and "preference" not in fields[0] and bool(_SENTENCE_FIELDS.search(fields[0]))


def _asked_for(question: Question, conversation: str, profile: Profile, chance: Chance) -> list[str]:
    """Sentences of the user's that rules in its prompt want operations to mention, whoever they are about."""
    fields = {name.lower(): value for name, value in question.inputs.items()}
    rules = followed(find_rules(question.instructions), profile, chance)
    wanted = [r.value for r in rules if r.field == "operations" and r.effect == "mention" and r.fires(fields)]
    sentences = (s for turn in user_turns(conversation) for s in SENTENCE_END.split(turn)) if wanted else ()
    told = (s.strip().rstrip(".!") for s in sentences if not s.rstrip().endswith("?"))
    return [third_person(s) for s in told if any(mentions(s, value) for value in wanted)]


def _schemas(question: Question) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for name, text in question.inputs.items():
        if "schema" not in name:
            continue
        for match in _SCHEMA.finditer(text):
            name, document, text = match.groups()
            if text:
                found[name] = {"properties": {text: {"type": "string"}}, "required": [text], "text": True}
                continue
            try:
                found[name] = json.loads(document or "{}")
            except ValueError:
                found[name] = {}
    return found


def _texts(said: Sequence[str], held: Sequence[Held], schema: str, allowed: str) -> list[dict[str, str]]:
    latest: dict[str, str] = {}  # of one topic, what was said last
    for statement in said:
        about = topic(statement)
        earlier = [s for s in latest if about and (t := topic(s)) and t.same_as(about)]
        for one in earlier:
            del latest[one]
        latest[statement] = statement
    return [op for s in latest if (op := _operation(s, held, schema, allowed)) is not None]


def _operation(statement: str, held: Sequence[Held], schema: str, allowed: str) -> dict[str, str] | None:
    words, about = content_words(statement), topic(statement)
    for one in held:
        if set(words) <= set(content_words(one.text)):
            return None
        there = topic(one.text)
        if about is not None and there is not None and about.same_as(there) and "update" in allowed:
            return {"op": "update", "id": one.handle, "schema_name": schema, "content": statement}
    return {"op": "insert", "id": "", "schema_name": schema, "content": statement} if "insert" in allowed else None


def _documents(
    said: Sequence[str], held: Sequence[Held], name: str, schema: Mapping[str, Any], allowed: str
) -> list[dict[str, str]]:
    single = "one document" in allowed
    filled = [filled for statement in said if (filled := _filled(schema, statement))]
    if single:
        whole: dict[str, Any] = {}
        for one in filled:
            for key, value in one.items():
                whole[key] = [*whole.get(key, []), *value] if isinstance(value, list) else value
        filled = [whole] if whole else []
    mine = [one for one in held if one.schema in ("", name)]
    operations = []
    for document in filled:
        content = json.dumps(document, ensure_ascii=False)
        if any(all(json.dumps(v, ensure_ascii=False) in one.text for v in document.values()) for one in mine):
            continue
        target = mine[0].handle if single and mine else ""
        op = "update" if target else "insert"
        if op in allowed:
            operations.append({"op": op, "id": target, "schema_name": name, "content": content})
    return operations


# --- filling a schema ---

_SENTENCE_FIELDS = re.compile(r"content|text|fact|memory|note|summary|description|preference|statement|detail|event")
_AFTER = {
    "name": r"(?:name is|is called|is named) (?P<v>[A-Z][\w-]*(?: [A-Z][\w-]*)*)",
    "city": r"(?:lives? in|moved to|moves to|is from) (?P<v>[A-Z][\w-]*(?: [A-Z][\w-]*)*)",
    "job": r"(?:works? (?:as|at|for)|job is) (?:an? )?(?P<v>[\w -]+)",
    "age": r"(?P<v>\d+) years old",
}
_ALSO = {"location": "city", "home": "city", "place": "city", "town": "city", "profession": "job", "employer": "job"}
_LIKES = re.compile(r"\b(?:likes?|loves?|enjoys?|prefers?) (?P<v>.+)$", re.IGNORECASE)


def _filled(schema: Mapping[str, Any], statement: str) -> dict[str, Any]:
    """The fields of one document that the statement fills; {} if it fills none."""
    properties = schema.get("properties", {})
    values = {key: _value(key, part, statement) for key, part in properties.items() if isinstance(part, Mapping)}
    found = {key: value for key, value in values.items() if value not in (None, "", [])}
    missing = [key for key in schema.get("required", ()) if key not in found]
    return {} if missing else found


def _value(key: str, part: Mapping[str, Any], statement: str) -> Any:
    part = next((one for one in part.get("anyOf", ()) if one.get("type") != "null"), part)
    kind = part.get("type", "string" if "enum" in part else None)
    if part.get("enum"):
        words = set(content_words(statement))
        return next((one for one in part["enum"] if set(content_words(str(one))) & words), None)
    said = _said_of(key.lower(), statement)
    if kind in ("integer", "number"):
        number = re.search(r"\d+(?:\.\d+)?", said or "")
        return None if number is None else int(float(number.group())) if kind == "integer" else float(number.group())
    liked = _LIKES.search(statement)
    if kind == "array":
        return (
            [liked.group("v")] if liked and re.search(r"like|prefer|interest|favou?rite|taste", key.lower()) else None
        )
    if kind not in ("string", None):
        return None
    if said is None and "preference" in key.lower():
        return liked.group("v") if liked else None
    return statement if said is None and _SENTENCE_FIELDS.search(key.lower()) else said


def _said_of(key: str, statement: str) -> str | None:
    pattern = _AFTER.get(_ALSO.get(key, key))
    own = re.search(rf"\b{re.escape(key.replace('_', ' '))} (?:is|are) (?P<v>[\w .@'-]+)", statement, re.IGNORECASE)
    match = own or (re.search(pattern, statement) if pattern else None)
    return match.group("v").strip() if match else None


# --- a thread as one document ---


def _described(schema: Mapping[str, Any], conversation: str) -> dict[str, Any]:
    turns = user_turns(conversation)
    document: dict[str, Any] = {}
    for key, part in schema.get("properties", {}).items():
        kind = part.get("type", "string")
        if kind == "array":
            document[key] = content_words(" ".join(turns))[:5]
        elif kind == "string":
            document[key] = " ".join(turns[0].split()[:6]) if "title" in key and turns else " ".join(turns)[:400]
        else:
            document[key] = {"boolean": False, "integer": len(turns), "number": float(len(turns))}.get(kind, {})
    return document
