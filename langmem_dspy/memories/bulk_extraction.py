"""A memory manager over many conversations: metered, in order where order matters, and gone on with after a kill."""

from __future__ import annotations

import copy
import hashlib
import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, TypeAlias

import dspy
from dspy.utils.exceptions import LMAuthError, LMBillingError, LMConfigurationError

from langmem_dspy.errors import BudgetExhausted, InputError, NamespaceError, ReplyError
from langmem_dspy.memories.bulk import Outcome, for_each_conversation
from langmem_dspy.memories.enrichment import MemoryStoreManager
from langmem_dspy.memories.group_commit import GroupCommit
from langmem_dspy.memories.schemas import Dropped, Operation, described
from langmem_dspy.messages import Message
from langmem_dspy.metered_lm import MeteredLM
from langmem_dspy.namespaces import current_variables, resolve_namespace, template_variables
from langmem_dspy.replies import as_lm
from langmem_dspy.usage import Budget, Meter

State: TypeAlias = Literal["extracted", "known", "failed", "left"]


@dataclass(frozen=True)
class Conversation:
    """One of many. `name` is what reports call it, and its thread unless `variables` hold a `thread_id`.

    `variables` fill the namespace; those given here win over the ones around.
    """

    name: str
    messages: Sequence[Message]
    variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Extracted:
    """What became of a conversation.

    `state`: "known" was worked through in an earlier run, "left" was not begun, or not ended, and waits for another.
    """

    conversation: Conversation
    state: State
    operations: Sequence[Operation] = ()
    dropped: Sequence[Dropped] = ()
    error: Exception | None = None


class BulkExtraction:
    """`manager` over many conversations. `stopped` says why some were left, None if none were.

    `num_threads`: requests to the model at once; half as many more conversations are searched for or written meanwhile.
    `in_order`: conversations of one namespace wait for each other, so that what was said last holds. None: only those
    that say themselves whose they are, by a variable of the namespace. `done` is the file that lets a run go on after a
    kill; see `run_name` for what to call it. After `give_up_after` failures in a row the rest is left, and at once
    where the model cannot be asked at all.
    """

    def __init__(
        self,
        manager: MemoryStoreManager,
        *,
        lm: dspy.BaseLM | None = None,
        num_threads: int = 16,
        budget: Budget | None = None,
        done: str | Path | None = None,
        in_order: bool | None = None,
        give_up_after: int = 10,
    ) -> None:
        for name, value in (("give_up_after", give_up_after), ("num_threads", num_threads)):
            if value < 1:
                raise InputError(f"{name} is at least 1, not {value!r}")
        self.meter, self.stopped = Meter(budget), _NOT_STOPPED
        self._lm = MeteredLM(as_lm(lm), self.meter, "task", whole=True, at_once=num_threads)
        self._manager = copy.copy(manager)
        self._manager.store = GroupCommit(manager.find_store(manager.store))
        self._manager.reads_back = False
        self._num_threads, self._done, self._in_order, self._patience = num_threads, done, in_order, give_up_after
        self._failed_in_a_row = 0

    def run(self, conversations: Iterable[Conversation]) -> Iterator[Extracted]:
        """What becomes of each conversation, as it comes to be known. An error is that of one conversation alone."""
        pieces = self._in_turn(conversations)
        at_once = self._num_threads + self._num_threads // 2
        for outcome in for_each_conversation(self._extract, iter(pieces), num_threads=at_once, done=self._done):
            piece = pieces[outcome.position]
            piece.ended.set()  # also where it was not worked on
            yield self._judged(piece.conversation, outcome)

    def _in_turn(self, conversations: Iterable[Conversation]) -> list[_Piece]:
        """The conversations, lanes taking turns, so that few have to wait for the one before in their lane."""
        lanes: dict[Any, list[_Piece]] = {}
        for position, conversation in enumerate(conversations):
            namespace = self._namespace(conversation)
            lane = lanes.setdefault(self._lane(conversation, namespace) or position, [])
            lane.append(_Piece(conversation, namespace, after=lane[-1].ended if lane else None))
        return [piece for turn in zip_longest(*lanes.values()) for piece in turn if piece is not None]

    def _lane(self, conversation: Conversation, namespace: str) -> str | None:
        own = template_variables(self._manager.namespace) & set(conversation.variables)
        return namespace if namespace and (self._in_order or (self._in_order is None and own)) else None

    def _namespace(self, conversation: Conversation) -> str:
        try:
            return json.dumps(resolve_namespace(self._manager.namespace, _variables(conversation)))
        except NamespaceError:
            return ""  # raised again, as its own error, when it is worked on

    def _extract(self, piece: _Piece) -> dspy.Prediction:
        if piece.after is not None:
            piece.after.wait()
        try:
            if self.stopped is not None:
                raise _Left
            with dspy.context(lm=self._lm, disable_history=True):
                result = self._manager(messages=piece.conversation.messages, **_variables(piece.conversation))
        finally:
            piece.ended.set()
        if unread := [dropped for dropped in result.dropped if dropped.op == "reply"]:
            raise ReplyError(unread[0].reason)
        return result

    def _judged(self, conversation: Conversation, outcome: Outcome) -> Extracted:
        error = outcome.error
        if outcome.skipped:
            return Extracted(conversation, "known")
        if isinstance(error, BudgetExhausted):
            self.stopped = self.stopped or str(error)
        if isinstance(error, BudgetExhausted | _Left):
            return Extracted(conversation, "left", error=error)
        if error is None:
            self._failed_in_a_row = 0
            return Extracted(conversation, "extracted", outcome.result.operations, outcome.result.dropped)
        if isinstance(error, LMConfigurationError | LMAuthError | LMBillingError) and self.stopped is None:
            self.stopped = str(error).partition("\n")[0]  # which is no better for the next one
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= self._patience and self.stopped is None:
            self.stopped = f"{self._failed_in_a_row} conversations in a row failed, at last with: {error}"
        return Extracted(conversation, "failed", error=error)


_NOT_STOPPED: str | None = None


class _Left(Exception):
    """The run has stopped before this conversation."""


@dataclass
class _Piece:
    """A conversation and its place: `after` is when the one before in its lane has ended."""

    conversation: Conversation
    namespace: str
    after: threading.Event | None
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def messages(self) -> list[Message]:
        """What it is known by among those done: the same words in another namespace are another conversation."""
        return [Message("system", self.namespace), *self.conversation.messages]


def _variables(conversation: Conversation) -> dict[str, Any]:
    return {"thread_id": conversation.name, **conversation.variables}


def run_name(manager: MemoryStoreManager, lm: dspy.BaseLM | None = None) -> str:
    """A name that is the same for runs of the same settings: what is done with these is not done with others."""
    managers = [manager.manager, *manager.phases]
    variables = current_variables()
    settings = [
        [[described(m.rules.schemas), m.rules.kind, m.rules.allowed(), m.instructions] for m in managers],
        [manager.namespace, {name: variables.get(name) for name in sorted(template_variables(manager.namespace))}],
        as_lm(lm).model,
    ]
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]
