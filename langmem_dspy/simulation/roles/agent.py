"""The agent: calls the tools it is offered when the request warrants it, then answers from their results.

It saves what the user says of themself, searches before it answers a question, and calls any other tool that the
request names. Recognized by tools: offered in the request, or described in a prompt that asks for the next one.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.parsing import find_rules
from langmem_dspy.simulation.profiles import Profile
from langmem_dspy.simulation.questions import Call, Question, Tool
from langmem_dspy.simulation.roles.statements import content_words, is_question, statements

_DESCRIBED = re.compile(
    r"^\(\d+\) (\w+)(?:, whose description is <desc>(.*?)</desc>)?\.\s+It takes arguments (\{.*\})\.$", re.M
)
_SAVES = re.compile(r"manage|save|store|remember|note|create|add|upsert", re.IGNORECASE)
_SEARCHES = re.compile(r"search|recall|find|retriev|look|query", re.IGNORECASE)
_CONTENT = re.compile(r'"content": ?("(?:[^"\\]|\\.)*")')
_NOTHING = re.compile(r"\s*(?:No (?:further )?memories\b|(?:nothing(?: (?:was )?found)?|none|\[\])?[.\s]*$)", re.I)
_MEMORY_LINE = re.compile(r"^- (.+)$", re.MULTILINE)
FINISH = "finish"


def plays(question: Question) -> bool:
    if question.form == "agent":
        return True
    wants = {wanted.name for wanted in question.wanted}
    if {"next_tool_name", "next_tool_args"} <= wants:
        return True
    texts = [wanted for wanted in question.wanted if wanted.kind == "string" and not wanted.options]
    informed = "trajectory" in question.inputs or "memories" in question.inputs
    return informed and len(texts) == len(question.wanted) and not find_rules(question.instructions)


def answer(question: Question, profile: Profile, chance: Chance) -> dict[str, Any]:
    calls = list(question.calls) if question.form == "agent" else _calls(question.inputs)
    asked = _request(question)
    if question.form == "agent":
        chosen = _next(asked, question.tools, calls)
        if chosen is not None:
            return {"tool": chosen[0], "arguments": chosen[1]}
        return {"reply": _reply(asked, calls, question.inputs)}
    if any(wanted.name == "next_tool_name" for wanted in question.wanted):
        tools = [Tool(n, d or "", ast.literal_eval(a)) for n, d, a in _DESCRIBED.findall(question.instructions)]
        name, arguments = _next(asked, tools, calls) or (FINISH, {})
        thought = "I have what I need." if name == FINISH else f"I call {name}."
        return {"next_thought": thought, "next_tool_name": name, "next_tool_args": arguments}
    said = _reply(asked, calls, question.inputs)
    return {w.name: "I go by what I know." if w.name == "reasoning" else said for w in question.wanted}


# --- what to do ---


def _next(asked: str, tools: Sequence[Tool], calls: Sequence[Call]) -> tuple[str, dict[str, Any]] | None:
    """The next call: tell the memory, then search it, then whatever else the request names; None when all is done."""
    save = next((t for t in tools if _SAVES.search(t.name) and "content" in t.arguments), None)
    if save is not None:
        told = "\n".join(call.arguments for call in calls if call.tool == save.name)
        for statement in statements(asked):
            if json.dumps(statement, ensure_ascii=False)[1:-1] not in told and statement not in told:
                options = save.arguments.get("action", {}).get("enum", ())
                return save.name, {**({"action": "create"} if "create" in options else {}), "content": statement}
    done = {call.tool for call in calls}
    search = next((t for t in tools if _SEARCHES.search(t.name) and t.name not in done), None)
    if search is not None and is_question(asked):
        return search.name, _filled(search, asked)
    asked_words = set(content_words(asked))
    for tool in tools:
        named = set(content_words(tool.name.replace("_", " ")))
        if tool.name not in {*done, FINISH} and tool not in (save, search) and named and named & asked_words:
            return tool.name, _filled(tool, asked)
    return None


def _filled(tool: Tool, asked: str) -> dict[str, Any]:
    """Each text the tool cannot do without: the request's own words, names before others."""
    names = re.findall(r"(?<=[\w,] )[A-Z][\w-]+", asked)
    words = " ".join(content_words(asked))
    texts = [
        key for key, schema in tool.arguments.items() if schema.get("type") == "string" and "default" not in schema
    ]
    return {key: words if "query" in key or not names else names[min(i, len(names) - 1)] for i, key in enumerate(texts)}


# --- what to say ---


def _reply(asked: str, calls: Sequence[Call], inputs: Mapping[str, str]) -> str:
    known = [text for call in calls for text in _contents(call.result)] + _MEMORY_LINE.findall(
        inputs.get("memories", "")
    )
    words = set(content_words(asked))
    best = sorted(known, key=lambda text: -len(words & set(content_words(text))))
    if is_question(asked):
        asked_for = [call.result for call in calls if not _SAVES.search(call.tool) and call.tool != FINISH]
        results = [result for result in asked_for if not _NOTHING.match(result)]
        found = best[:1] or [result for result in results if not _contents(result)][:1]
        if found:
            return f"As far as I know: {found[0].strip()}"
        return "I found nothing about that." if asked_for else "I do not know that."
    return "I will remember that." if statements(asked) else "Noted."


def _contents(result: str) -> list[str]:
    return [str(json.loads(found)) for found in _CONTENT.findall(result)]


# --- what was asked and done ---


def _request(question: Question) -> str:
    if question.form == "agent":
        return question.inputs.get("message", "")
    own = [
        name
        for name in question.inputs
        if not re.fullmatch(r"(?:trajectory|memories|(?:thought|tool_name|tool_args|observation)_\d+)", name)
    ]
    return "\n".join(question.inputs[name] for name in own)


def _calls(inputs: Mapping[str, str]) -> list[Call]:
    numbers = [name.rpartition("_")[2] for name in inputs if re.fullmatch(r"tool_name_\d+", name)]
    return [
        Call(inputs[f"tool_name_{n}"], inputs.get(f"tool_args_{n}", ""), inputs.get(f"observation_{n}", ""))
        for n in numbers
    ]
