"""Search: a conversation becomes queries, and those find items. One batch, however many queries there are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_args

import dspy

from langmem_dspy.awaiting import forwarded
from langmem_dspy.errors import InputError, ReplyError
from langmem_dspy.memories.found import Found
from langmem_dspy.memories.recalled import without_recalled
from langmem_dspy.messages import Message, chunk, read_messages, render, storable
from langmem_dspy.namespaces import checked_template, current_store, held_store, resolve_namespace
from langmem_dspy.records import Namespace, SearchItem, SearchMode, SearchOp, Store
from langmem_dspy.replies import Asking

logger = logging.getLogger(__name__)

WINDOW_TOKENS = 256
FindStore = Callable[[Store | None], Store]


class WriteQueries(dspy.Signature):
    """Write search queries that find, in a memory of earlier conversations, what helps to go on with this one.

    Name the people, things and topics themselves, in the words a memory of them would use; one need, one query. No
    queries is a good answer where nothing of the past could help."""

    conversation: str = dspy.InputField()
    queries: list[str] = dspy.OutputField(desc="short, the most helpful first")


class MemorySearcher(dspy.Module):
    """`(messages=, **namespace_variables) -> Prediction(queries=, items=)`, the items best first, each once.

    Items that have nothing to do with the queries are left out; `min_score` draws the line elsewhere.

    Without a model, the queries are the conversation itself in windows of about `window_tokens`, so that all of it
    counts; `write_queries=True` lets a model write them. `limit` bounds the items, `query_limit` those of one query.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        namespace: str | Sequence[str] = ("memories",),
        write_queries: bool = False,
        query_limit: int = 5,
        limit: int | None = None,
        min_score: float | None = None,
        filter: Mapping[str, Any] | None = None,
        mode: SearchMode = "hybrid",
        window_tokens: int = WINDOW_TOKENS,
        max_input_tokens: int = 32_000,
        find_store: FindStore = current_store,
    ) -> None:
        super().__init__()
        if query_limit < 1 or (limit is not None and limit < 1):
            raise InputError(f"query_limit and limit are at least 1, got {query_limit} and {limit}")
        self.store, self.namespace, self.find_store = held_store(store), checked_template(namespace), find_store
        self.query_limit, self.limit, self.min_score, self.mode = query_limit, limit, min_score, mode
        if mode not in get_args(SearchMode):
            raise InputError(f"mode is one of {', '.join(get_args(SearchMode))}, not {mode!r}")
        self.filter = dict(filter) if filter else None
        self.window_tokens, self.max_input_tokens = window_tokens, max_input_tokens
        self.write = dspy.Predict(WriteQueries) if write_queries else None

    def forward(self, messages: Any, **variables: Any) -> dspy.Prediction:
        said = without_recalled(read_messages(messages))
        namespace = resolve_namespace(self.namespace, variables)
        queries = self.queries(said)
        found = self.find(self.find_store(self.store), namespace, queries)
        return Found(queries=queries, items=matching(found) if self.min_score is None else found)

    async def aforward(self, messages: Any, **variables: Any) -> dspy.Prediction:
        return await forwarded(self, messages, **variables)

    def queries(self, messages: Sequence[Message]) -> list[str]:
        """What to search for; every one once."""
        if self.write is None:
            return windows(messages, self.window_tokens)
        queries: list[str] = []
        for part in chunk(messages, self.max_input_tokens):
            try:
                queries += Asking()(self.write, conversation=render(part)).queries or []
            except ReplyError as error:
                logger.warning("no queries could be read from the model, so the conversation itself is one: %s", error)
                queries += windows(part, self.window_tokens)
        return list(dict.fromkeys(query.strip() for query in queries if query.strip()))

    def find(self, store: Store, namespace: Namespace, queries: Iterable[str]) -> list[SearchItem]:
        """The items of all queries, searched in one batch."""
        ops = [
            SearchOp(
                namespace,
                filter=self.filter,
                limit=self.query_limit,
                query=storable(query),
                min_score=self.min_score,
                mode=self.mode,
            )
            for query in queries
        ]
        found = store.batch(ops) if ops else []
        return best_first(found)[: self.limit]


def windows(messages: Sequence[Message], tokens: int) -> list[str]:
    """The conversation as texts of about `tokens` each, without its roles, which are no content."""
    parts = ("\n".join(message.content for message in part) for part in chunk(messages, tokens))
    return list(dict.fromkeys(text for part in parts if (text := part.strip())))


def best_first(results: Iterable[Sequence[SearchItem]]) -> list[SearchItem]:
    """All items found, each once with its best score; those without a score last, ties by namespace and key."""
    best: dict[tuple[Namespace, str], SearchItem] = {}
    for item in (item for result in results for item in result):
        known = best.get((item.namespace, item.key))
        if known is None or _score(item) > _score(known):
            best[item.namespace, item.key] = item
    return sorted(best.values(), key=lambda item: (-_score(item), item.namespace, item.key))


def matching(items: Iterable[SearchItem]) -> list[SearchItem]:
    """Those that have to do with the query at all: a store fills up to its limit with others, at a score of 0."""
    return [item for item in items if item.score is None or item.score > 0]


def _score(item: SearchItem) -> float:
    return float("-inf") if item.score is None else item.score
