"""What may change beside instructions: few-shot examples and descriptions of tools, as prompts of their own names.

"classify:demos" is one example a line, as JSON, beside those the predictor has already; "agent.react:tool:search" is
what `dspy.ReAct` tells of a tool. Off by default; lessons change them as they change instructions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import dspy

from langmem_dspy.errors import InputError

Change = Literal["instructions", "demos", "tools"]

DEMOS, TOOL = ":demos", ":tool:"


def checked_change(change: Sequence[str]) -> tuple[str, ...]:
    """The kinds of parts that may change. Raises `InputError` for one there is none of."""
    known = get_args(Change)
    if isinstance(change, str) or not change or not set(change) <= set(known):
        raise InputError(f"change is a tuple of {', '.join(known)}; got {change!r}")
    return tuple(change)


def predictor_of(name: str) -> str:
    """The predictor whose calls a prompt is part of."""
    return name.removesuffix(DEMOS).split(TOOL, 1)[0]


def read_parts(program: dspy.Module, change: Sequence[str]) -> dict[str, str]:
    """The texts of these kinds beside instructions, by name."""
    found: dict[str, str] = {}
    if "demos" in change:
        found |= {f"{name}{DEMOS}": "" for name, _ in program.named_predictors()}
    if "tools" in change:
        found |= {name: tool.desc or "" for name, _, tool in _tools(program)}
    return found


def write_parts(program: dspy.Module, texts: Mapping[str, str]) -> None:
    """Put these texts into a copy of a program that has its instructions already."""
    for name, predictor in program.named_predictors():
        lines = [line for line in texts.get(f"{name}{DEMOS}", "").split("\n") if line.strip()]
        predictor.demos = [*predictor.demos, *(dspy.Example(**json.loads(line)) for line in lines)]
    for name, agent, tool in _tools(program):
        if texts.get(name, tool.desc) != tool.desc:
            told = str(tool)
            tool.desc = texts[name]
            signature = agent.react.signature
            agent.react.signature = signature.with_instructions(signature.instructions.replace(told, str(tool)))


def demo_line(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> str | None:
    """One call of a predictor as an example; None for what JSON cannot hold."""
    try:
        return json.dumps({**inputs, **outputs}, ensure_ascii=False)
    except (TypeError, ValueError):
        return None


def _tools(program: dspy.Module) -> Iterator[tuple[str, dspy.ReAct, dspy.Tool]]:
    names = {id(predictor): name for name, predictor in program.named_predictors()}
    for _, module in program.named_sub_modules():
        if isinstance(module, dspy.ReAct) and id(module.react) in names:
            for tool in module.tools.values():
                if tool.name != "finish":  # DSPy's own
                    yield f"{names[id(module.react)]}{TOOL}{tool.name}", module, tool
