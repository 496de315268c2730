"""A whole thread as one document: what it was about, or whatever a schema asks of it."""

from __future__ import annotations

from typing import Any

import dspy
from pydantic import BaseModel, Field

from langmem_dspy.awaiting import forwarded
from langmem_dspy.errors import InputError
from langmem_dspy.memories.recalled import without_recalled
from langmem_dspy.memories.schemas import Schemas, as_text
from langmem_dspy.messages import chunk, read_messages, render
from langmem_dspy.replies import Asking

THREAD_INSTRUCTIONS = "Sum up the conversation for someone who was not there: what it was about and how it ended."


class ThreadSummary(BaseModel):
    """What a conversation was about."""

    title: str = Field(description="a few words")
    summary: str = Field(description="what was said, decided and left open")


class ExtractThread(dspy.Signature):
    """Describe a conversation in one document, from what it says and nothing else.

    If a document of the part before is given, carry it on, so that it covers both."""

    guidelines: str = dspy.InputField(desc="what the document is for")
    part_before: str = dspy.InputField(desc="the document so far")
    conversation: str = dspy.InputField()


class ThreadExtractor(dspy.Module):
    """`(messages=) -> Prediction(thread=)`, an object of `schema`; None for a conversation without content.

    A conversation of more than `max_input_tokens` is described part by part. Raises `ReplyError` when the model gives
    no document of that form.
    """

    def __init__(
        self, schema: Any = None, *, instructions: str = THREAD_INSTRUCTIONS, max_input_tokens: int = 32_000
    ) -> None:
        super().__init__()
        schemas = Schemas(ThreadSummary if schema is None else schema)
        if len(schemas) != 1:
            raise InputError(f"a thread is described by one schema, got {sorted(schemas)}")
        self.instructions, self.max_input_tokens = instructions, max_input_tokens
        model = next(iter(schemas.values()))
        self.extract = dspy.Predict(ExtractThread.append("document", dspy.OutputField(), type_=model))

    def forward(self, messages: Any) -> dspy.Prediction:
        thread: BaseModel | None = None
        for part in chunk(without_recalled(read_messages(messages)), self.max_input_tokens):
            before = "none" if thread is None else as_text(thread)
            answer = Asking()(self.extract, guidelines=self.instructions, part_before=before, conversation=render(part))
            thread = answer.document
        return dspy.Prediction(thread=thread)

    async def aforward(self, messages: Any) -> dspy.Prediction:
        return await forwarded(self, messages)
