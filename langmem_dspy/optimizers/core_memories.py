"""Memories beside the evidence, and core memories: what is always on stands in a block of the prompt that is ours.

No model writes that block. While a prompt is revised, a `{variable}` stands in its place, which a revision has to keep
as every other one; so the block stays where it is, whatever becomes of the rest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from langmem_dspy.errors import PromptError
from langmem_dspy.messages import escape, estimated_tokens, packed, split_text
from langmem_dspy.optimizers.prompts import kept_verbatim, variables

_BLOCK = re.compile(r"<core_memories>\n?(.*?)\n?</core_memories>", re.DOTALL)
_TAG = re.compile(r"</?core_memories>")
_VARIABLE = "core_memories"
_HEADER = "What is known from earlier conversations:"


@dataclass(frozen=True)
class SetAside:
    """A prompt for revision: its `text` with `variable` where `block` belongs; `block` is None if there is none.

    `held`: what the block says, memory by memory.
    """

    text: str
    variable: str
    block: str | None
    held: tuple[str, ...] = ()

    def back_in(self, revised: str) -> str:
        """`revised` with the block in its place, or at the end if that was lost; what a model made of one is gone."""
        text = _TAG.sub("", _BLOCK.sub("", revised))
        if self.block is None:
            return text
        before, place, after = text.partition(self.variable)
        if not place:
            return _appended(text, self.block)
        return before + self.block + after.replace(self.variable, "")

    def note(self) -> str:
        """What a model is told about the variable."""
        if self.block is None:
            return ""
        return (
            f"{self.variable} stands for the memories, which the prompt shows there: do not write them into it again."
        )


def set_aside(prompt: str, memories: Sequence[str] | None) -> SetAside:
    """`prompt` with its block of core memories set aside: rewritten to hold `memories`, or as it is if that is None.

    A prompt without a block gets one at its end, unless there is nothing to remember. Raises `PromptError` for a
    block that is not closed, or not the only one.
    """
    blocks = list(_BLOCK.finditer(prompt))
    if len(blocks) > 1 or len(_TAG.findall(prompt)) != 2 * len(blocks):
        raise PromptError(
            "a prompt has one block <core_memories> ... </core_memories>, or none; got "
            f"{_TAG.findall(prompt)}: remove all but one pair of tags"
        )
    rest = _BLOCK.sub("", prompt)
    variable = _free_variable(rest)
    if not blocks and not memories:
        return SetAside(prompt, variable, None)
    block = blocks[0].group(0) if memories is None else _written(memories, rest)
    text = _BLOCK.sub(lambda _: variable, prompt) if blocks else _appended(prompt, variable)
    held = _lines(blocks[0].group(1)) if memories is None else memories
    return SetAside(text, variable, block, tuple(held))


def sections(memories: Sequence[str], max_tokens: int) -> list[str]:
    """The memories as evidence: as few sections of at most about `max_tokens` as hold them all."""
    room = max_tokens - estimated_tokens(_HEADER) - 8
    lines = [_line(escape(piece)) for memory in memories for piece in split_text(memory, room)]
    runs = packed(lines, lambda line: estimated_tokens(line) + 1, room)
    return ["\n".join(["<memories>", _HEADER, *run, "</memories>"]) for run in runs]


def _written(memories: Sequence[str], rest: str) -> str:
    lines = [_line(escape(memory)) for memory in memories]
    # Where the prompt is a template, or a memory would make it one, the memories are literal text in it.
    if kept_verbatim(rest) or any(variables(line) for line in lines):
        lines = [line.replace("{", "{{").replace("}", "}}") for line in lines]
    return "\n".join(["<core_memories>", *lines, "</core_memories>"])


def _line(memory: str) -> str:
    # Continuation lines are indented, so that no memory can pretend to be another one.
    return "- " + memory.replace("\n", "\n  ")


def _lines(block: str) -> list[str]:
    return [line.replace("\n  ", "\n").strip() for line in re.split(r"^- ", block, flags=re.MULTILINE) if line.strip()]


def _appended(text: str, block: str) -> str:
    return f"{text.rstrip()}\n\n{block}" if text.strip() else block


def _free_variable(text: str) -> str:
    number = 1
    while (name := f"{{{_VARIABLE}}}" if number == 1 else f"{{{_VARIABLE}_{number}}}") in text:
        number += 1
    return name
