"""What a request asks: its instructions, inputs and wanted outputs, whatever structure they come in.

Read from the request alone: DSPy's chat, JSON and XML adapters, a native JSON schema, a tool to call, and plain chat.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dspy.lm15 import FunctionTool, Message, Request

Form = Literal["chat", "json", "xml", "schema", "tool", "agent", "plain"]


@dataclass(frozen=True)
class Wanted:
    """One output asked for. `schema` is its JSON schema, as far as the request tells it."""

    name: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    description: str = ""

    @property
    def kind(self) -> str:
        """Its JSON type: string, boolean, integer, number, array or object."""
        return str(self.schema.get("type", "string"))

    @property
    def options(self) -> tuple[str, ...]:
        """What it must be one of; empty if anything will do."""
        return tuple(map(str, self.schema.get("enum", ())))


@dataclass(frozen=True)
class Tool:
    """A tool that may be called. `arguments`: name -> JSON schema."""

    name: str
    description: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Call:
    """A call already made for the request at hand, and what came back."""

    tool: str
    arguments: str
    result: str


@dataclass(frozen=True)
class Question:
    """A request as the model understands it. `text` is all of it, in the order it stands there.

    `tool` is the one it must answer with; `tools` those it may call, `calls` what it called since the user last spoke.
    """

    form: Form
    instructions: str
    inputs: Mapping[str, str]
    wanted: tuple[Wanted, ...]
    text: str
    tool: str | None = None
    tools: tuple[Tool, ...] = ()
    calls: tuple[Call, ...] = ()


def read(request: Request) -> Question:
    """The question in `request`."""
    system = _system_of(request)
    messages = [(message.role, _text_of(message)) for message in request.messages]
    text = "\n".join(filter(None, [system, *(said for _, said in messages)]))
    tool = _tool_of(request)
    if ("Your output fields are:" in system and "[[ ##" in system) or _XML_TAIL.search(messages[-1][1]):
        return _read_fields(request, system, messages[-1][1], text)
    if tools := _at_will(request):
        inputs = _plain_inputs(system, messages)
        return Question("agent", system, inputs, (Wanted("reply"),), text, tools=tools, calls=_calls(request))
    if tool is not None:
        return Question("tool", system, _plain_inputs(system, messages), _properties(tool.parameters), text, tool.name)
    schema = (request.config.response_format or {}).get("schema")
    if isinstance(schema, Mapping):
        return Question("schema", system, _plain_inputs(system, messages), _properties(schema), text)
    return Question("plain", system or text, _plain_inputs(system, messages), (Wanted("reply"),), text)


def request_text(request: Request) -> str:
    """Everything in `request` that may decide the reply; not its model's name nor its limit of tokens."""
    parts = [_system_of(request)]
    parts += [f"{message.role}: {_text_of(message)}" for message in request.messages]
    parts += [f"tool {tool.name}" for tool in request.tools]
    config = request.config
    parts.append(f"{config.temperature} {config.seed} {json.dumps(config.response_format)}")
    return "\0".join(parts)


def tokens(text: str) -> int:
    """The simulation's tokens: one for every four bytes of UTF-8, begun ones counted."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


def prompt_tokens(request: Request) -> int:
    """The tokens of a request: those of its system text and of each message."""
    return tokens(_system_of(request)) + sum(tokens(_text_of(message)) for message in request.messages)


# --- DSPy's adapters ---

_HEADER = re.compile(r"^\[\[ ## (\w+) ## \]\]", re.MULTILINE)
_DECLARED = re.compile(r"^\d+\. `(\w+)` \((.*?)\):(?: (.*))?$", re.MULTILINE)
_NOTE = re.compile(r"\{(\w+)\}\s+# note: the value you produce must (.*)")
_XML_TAIL = re.compile(r"output fields wrapped in XML tags `<\w+>`")
_OBJECTIVE = "your objective is:"
_CHAT_TAIL = "Respond with the corresponding output fields, starting with the field "
_JSON_TAIL = "Respond with a JSON object in the following order of fields: "


def _read_fields(request: Request, system: str, user: str, text: str) -> Question:
    xml = _XML_TAIL.search(user) is not None
    is_json = not xml and "[[ ## completed ## ]]" not in system
    structure, _, objective = system.partition(_OBJECTIVE)
    instructions = "\n".join(line.removeprefix(" " * 8) for line in objective.strip("\n ").splitlines()).strip()
    _, _, declared = structure.partition("Your output fields are:")
    notes = _json_notes(structure) if is_json else dict(_NOTE.findall(structure))
    nested = user.partition("nested XML structure: ")[2] if xml else ""
    wanted = tuple(
        Wanted(name, _schema(annotation, notes.get(name, ""), name, nested), description or "")
        for name, annotation, description in _DECLARED.findall(declared.partition("All interactions")[0])
    )
    body = _before_tail(user)
    inputs = dict(_xml_inputs(structure, body) if xml else _header_inputs(body))
    return Question("xml" if xml else "json" if is_json else "chat", instructions, inputs, wanted, text)


def _before_tail(user: str) -> str:
    for tail in (_CHAT_TAIL, _JSON_TAIL, "Respond with the corresponding output fields wrapped in XML"):
        if (at := user.rfind(f"\n\n{tail}")) >= 0:
            return user[:at]
    return user


def _header_inputs(body: str) -> Iterator[tuple[str, str]]:
    pieces = _HEADER.split(body)
    for name, value in zip(pieces[1::2], pieces[2::2], strict=True):
        yield name, value.strip()


def _xml_inputs(structure: str, body: str) -> Iterator[tuple[str, str]]:
    declared, _, _ = structure.partition("Your output fields are:")
    for name, _, _ in _DECLARED.findall(declared):
        if match := re.search(rf"<{name}>(.*)</{name}>", body, re.DOTALL):
            yield name, html.unescape(match.group(1)).strip()


def _json_notes(structure: str) -> dict[str, str]:
    _, _, tail = structure.partition("Outputs will be a JSON object with the following fields.")
    try:
        found, _ = json.JSONDecoder(strict=False).raw_decode(tail.strip())
    except ValueError:
        return {}
    return {name: match.group(2) for name, note in found.items() if (match := _NOTE.match(str(note)))}


_SIMPLE = {"str": "string", "bool": "boolean", "int": "integer", "float": "number", "dict": "object"}


def _schema(annotation: str, note: str, name: str, nested: str) -> Mapping[str, Any]:
    if "JSON schema: " in note:
        try:
            schema = json.loads(note.partition("JSON schema: ")[2])
            return _resolved(schema, schema.get("$defs", {}))
        except ValueError:
            pass
    if "one of: " in note:
        return {"type": "string", "enum": note.partition("one of: ")[2].strip().split("; ")}
    if match := re.search(rf"<{name}><item>(.*?)</item></{name}>", nested):
        properties = {child: {"type": "string"} for child in re.findall(r"<(\w+)>(?:\.\.\.|<item>)", match.group(1))}
        properties.pop("item", None)
        for child in re.findall(r"<(\w+)><item>", match.group(1)):
            properties[child] = {"type": "array", "items": {"type": "string"}}  # type: ignore[dict-item]
        return {"type": "array", "items": {"type": "object", "properties": properties} if properties else {}}
    base = annotation.partition("[")[0].strip()
    if base in ("list", "tuple", "set"):
        return {"type": "array", "items": {"type": "string"}}
    return {"type": _SIMPLE.get(base, "string")}


# --- JSON schemas and tools ---


def _tool_of(request: Request) -> FunctionTool | None:
    """The tool to answer with: the one that must be called, or the only one there is."""
    tools = [tool for tool in request.tools if isinstance(tool, FunctionTool)]
    choice = request.config.tool_choice
    if not tools or (choice is not None and choice.mode == "none"):
        return None
    if choice is not None and choice.allowed:
        tools = [tool for tool in tools if tool.name in choice.allowed]
    forced = choice is not None and choice.mode == "required"
    # Among several it takes the one that asks for most: a conclusion rather than a thought.
    return max(tools, key=lambda tool: len(tool.parameters.get("properties", {}))) if forced or tools else None


# Tools that do something, told from those that are but a form to answer in ("think", "recommend").
_ACTS = re.compile(r"memor|search|recall|find|look|fetch|get|save|store|send|list|read|write|calc", re.IGNORECASE)


def _at_will(request: Request) -> tuple[Tool, ...]:
    """The tools it may call or leave alone."""
    choice = request.config.tool_choice
    offered = [tool for tool in request.tools if isinstance(tool, FunctionTool)]
    if (choice is not None and choice.mode != "auto") or not any(_ACTS.search(tool.name) for tool in offered):
        return ()
    return tuple(Tool(t.name, t.description or "", t.parameters.get("properties", {})) for t in offered)


def _calls(request: Request) -> tuple[Call, ...]:
    """The calls since the user last spoke, with their results."""
    asked: dict[str, Any] = {}
    results: dict[str, str] = {}
    for message in request.messages:
        if message.role == "user":
            asked, results = {}, {}
        for part in message.parts:
            if part.type == "tool_call":
                asked[part.id] = part
            elif part.type == "tool_result":
                results[part.id] = _result_text(part)
    return tuple(
        Call(part.name, json.dumps(part.input, ensure_ascii=False), results.get(name, ""))
        for name, part in asked.items()
    )


def _properties(schema: Mapping[str, Any]) -> tuple[Wanted, ...]:
    resolved = _resolved(schema, schema.get("$defs", {}))
    return tuple(
        Wanted(name, part, str(part.get("description", ""))) for name, part in resolved.get("properties", {}).items()
    )


def _resolved(schema: Any, definitions: Mapping[str, Any], depth: int = 0) -> Any:
    """`schema` with its references put in place, and the first meaning of each choice that is not null."""
    if not isinstance(schema, Mapping) or depth > 8:
        return schema
    if isinstance(reference := schema.get("$ref"), str):
        return _resolved(definitions.get(reference.rsplit("/", 1)[-1], {}), definitions, depth + 1)
    if choices := schema.get("anyOf"):
        chosen = next((choice for choice in choices if choice.get("type") != "null"), choices[0])
        return {**_resolved(chosen, definitions, depth + 1), "description": schema.get("description", "")}
    resolved = {key: value for key, value in schema.items() if key != "$defs"}
    if isinstance(items := schema.get("items"), Mapping):
        resolved["items"] = _resolved(items, definitions, depth + 1)
    if isinstance(properties := schema.get("properties"), Mapping):
        resolved["properties"] = {k: _resolved(v, definitions, depth + 1) for k, v in properties.items()}
    return resolved


# --- plain chat ---


def _plain_inputs(system: str, messages: list[tuple[str, str]]) -> dict[str, str]:
    said = [text for role, text in messages if role == "user"]
    inputs = {"message": said[-1] if said else ""}
    if len(messages) > 1:
        inputs["conversation"] = "\n".join(f"{role}: {text}" for role, text in messages)
    return inputs


def _system_of(request: Request) -> str:
    if request.system is None or isinstance(request.system, str):
        return request.system or ""
    return "\n".join(getattr(part, "text", "") for part in request.system)


def _text_of(message: Message) -> str:
    said = (_result_text(part) if part.type == "tool_result" else getattr(part, "text", None) for part in message.parts)
    return "\n".join(text for text in said if isinstance(text, str))


def _result_text(part: Any) -> str:
    return "\n".join(text for one in part.content if isinstance(text := getattr(one, "text", None), str))
