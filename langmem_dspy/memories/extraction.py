"""Extraction: a conversation and the known memories become typed operations. No store.

After LangMem's memory manager. One request for each run of messages that fits a request, and at most one more to put
right what could not be done.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import dspy

from langmem_dspy.awaiting import forwarded
from langmem_dspy.errors import InputError, ReplyError
from langmem_dspy.memories.found import Remembered
from langmem_dspy.memories.known import Shown, read_existing, show
from langmem_dspy.memories.recalled import without_recalled
from langmem_dspy.memories.reconcile import Proposed, Rules, State, rejection
from langmem_dspy.memories.schemas import KINDS, Dropped, Kind, Schemas, described
from langmem_dspy.messages import Message, chunk, escape, read_messages, render
from langmem_dspy.replies import Asking

logger = logging.getLogger(__name__)

DEFAULT_INSTRUCTIONS = (
    "Remember what will matter in later conversations: facts about the people and things talked of, preferences, "
    "plans, decisions, corrections, what worked and what failed. Leave out small talk, what holds only for the moment, "
    "and what the assistant only suggested."
)


class ExtractMemories(dspy.Signature):
    """Keep a memory up to date with a conversation: say what to insert, update or delete.

    Take up only what the conversation itself says; guess nothing, and never insert what a known memory already says.
    Write each memory so that it can be understood alone: names instead of pronouns, dates instead of "yesterday" where
    they are known; one fact, one memory. When the conversation adds to a known memory, corrects or contradicts it,
    update it by its id, so that only what holds now remains: give the whole new text, or for a document only the
    fields that change. If operations were rejected, answer with corrected versions of those alone, and leave out what
    cannot be corrected. No operations is a good answer when nothing new was said."""

    worth_remembering: str = dspy.InputField()
    schemas: str = dspy.InputField(desc="what a memory may look like")
    allowed_operations: str = dspy.InputField()
    known_memories: str = dspy.InputField(desc="id: content")
    conversation: str = dspy.InputField()
    rejected: list[str] = dspy.InputField(desc="operations that could not be done, and why")
    operations: list[Proposed] = dspy.OutputField()
    # Last, so that a reply that was cut off lacks it: repaired JSON would pass for a whole list.
    finished: bool = dspy.OutputField(desc="False if there is more to say than was said here")


class MemoryManager(dspy.Module):
    """`(messages=, existing=) -> Prediction(memories=, operations=, dropped=)`.

    `memories` is the new state: what is unchanged, updated and new, existing ids kept, deleted ones absent;
    `operations` what changed it, one for each memory; `dropped` what the model asked for that was not done.

    `schemas`: pydantic models or JSON schemas, None for plain text. `kind="single"` keeps one document for each
    schema. At most `max_input_tokens` of conversation and `max_known_tokens` of known memories go into one request;
    a longer conversation takes several, and of more memories those that share most words with it are shown.
    """

    def __init__(
        self,
        schemas: Any = None,
        *,
        instructions: str = DEFAULT_INSTRUCTIONS,
        kind: Kind = "multi",
        enable_inserts: bool = True,
        enable_updates: bool = True,
        enable_deletes: bool = False,
        max_input_tokens: int = 32_000,
        max_known_tokens: int = 32_000,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise InputError(f"kind is 'multi' (many memories) or 'single' (one document, updated), not {kind!r}")
        if not isinstance(instructions, str) or not instructions.strip():
            raise InputError(f"instructions say what is worth remembering, as text; got {instructions!r}")
        for name, value in (("max_input_tokens", max_input_tokens), ("max_known_tokens", max_known_tokens)):
            if not isinstance(value, int) or value < 100:
                raise InputError(f"{name} is a number of tokens of at least 100, not {value!r}")
        self.rules = Rules(Schemas(schemas), kind, enable_inserts, enable_updates, enable_deletes)
        if not self.rules.allowed():
            raise InputError("inserts, updates and deletes are all off: there is nothing a memory manager could do")
        self.instructions, self.shown_schemas = instructions, escape(described(self.rules.schemas))
        self.max_input_tokens, self.max_known_tokens = max_input_tokens, max_known_tokens
        self.extract = dspy.Predict(ExtractMemories)

    def forward(self, messages: Any, existing: Any = None, max_steps: int = 1) -> dspy.Prediction:
        """`max_steps` above 1 lets the model go on while it says that it is not finished."""
        state = State(read_existing(existing, self.rules.schemas), self.rules)
        self.work_through(state, read_messages(messages), max_steps)
        return Remembered(memories=state.memories(), operations=state.operations(), dropped=state.dropped)

    async def aforward(self, messages: Any, existing: Any = None, max_steps: int = 1) -> dspy.Prediction:
        return await forwarded(self, messages, existing, max_steps)

    def work_through(
        self, state: State, messages: Sequence[Message], max_steps: int = 1, *, without_messages: bool = False
    ) -> None:
        """Bring `state` up to date with a conversation; with none, do nothing unless `without_messages`."""
        if not isinstance(max_steps, int) or isinstance(max_steps, bool) or max_steps < 1:
            raise InputError(f"max_steps is a number of requests of at least 1, not {max_steps!r}")
        state.rules = self.rules
        said = without_recalled(messages)
        pieces: list[Sequence[Message]] = list(chunk(said, self.max_input_tokens))
        if not pieces and without_messages and state.present():
            pieces = [()]
        for i, piece in enumerate(pieces):
            where = f"part {i + 1} of {len(pieces)} of the conversation" if len(pieces) > 1 else "the conversation"
            for _ in range(max_steps):
                if self._step(state, piece, where):
                    break
            else:
                reason = f"the model was not finished with {where} after {max_steps} requests; raise max_steps"
                state.dropped.append(Dropped("more", reason))

    def _step(self, state: State, messages: Iterable[Message], where: str) -> bool:
        """One request, and at most one to put right what came of it. Whether the model is finished."""
        conversation = render(messages) or "none"
        known = state.present()
        several = len(state.rules.schemas) > 1 or len({*state.rules.schemas, *(one.schema for one in known)}) > 1
        shown = show(known, conversation, self.max_known_tokens, name_schemas=several)
        asking = Asking()
        inputs = {
            "worth_remembering": self.instructions,
            "schemas": self.shown_schemas,
            "allowed_operations": _allowed(state.rules),
            "known_memories": shown.text,
            "conversation": conversation,
        }
        try:
            answer = asking(self.extract, **inputs, rejected=[])
        except ReplyError as error:
            state.dropped.append(_unread(where, error))
            return True
        rejected = state.apply(answer.operations or [], shown)
        if rejected and asking.may_repair():
            try:
                mended = asking(self.extract, **inputs, rejected=rejection(rejected))
            except ReplyError as error:
                logger.warning("the corrections could not be read: %s", error)
            else:
                rejected = self._mended(state, rejected, mended.operations or [], shown)
        for proposed, reason in rejected:
            state.drop(proposed, shown, reason)
        return bool(answer.finished) or not answer.operations

    def _mended(
        self, state: State, rejected: list[tuple[Proposed, str]], corrections: Sequence[Proposed], shown: Shown
    ) -> list[tuple[Proposed, str]]:
        """Carry out corrections. What is still wrong, and what was left out, comes back with its reason."""
        left_out = list(rejected)
        for correction in corrections:
            if left_out:
                left_out.remove(max(left_out, key=lambda one: _likeness(correction, one[0])))
        return [*state.apply(corrections, shown), *left_out]


def _likeness(correction: Proposed, rejected: Proposed) -> int:
    return sum(getattr(correction, name) == getattr(rejected, name) for name in Proposed.model_fields)


def _allowed(rules: Rules) -> str:
    allowed = ", ".join(rules.allowed())
    return f"{allowed}; one document for each schema" if rules.kind == "single" else allowed


def _unread(where: str, error: ReplyError) -> Dropped:
    logger.warning("no memories were taken from %s: %s", where, error)
    return Dropped("reply", f"no memories were taken from {where}: {error}")
