"""A program with a memory: recalled before it runs, reflected on afterwards."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dspy
from pydantic import BaseModel

from langmem_dspy.awaiting import forwarded
from langmem_dspy.errors import BudgetExhausted, InputError
from langmem_dspy.memories.background import ReflectionExecutor
from langmem_dspy.memories.enrichment import MemoryStoreManager
from langmem_dspy.memories.extraction import MemoryManager
from langmem_dspy.memories.known import read_value
from langmem_dspy.memories.recalled import marked
from langmem_dspy.memories.recalling import recalling
from langmem_dspy.memories.schemas import Schemas
from langmem_dspy.memories.search import FindStore, MemorySearcher
from langmem_dspy.messages import Message, is_message, read_messages
from langmem_dspy.namespaces import checked_template, current_store, held_store, resolve_namespace, template_variables
from langmem_dspy.records import GetOp, Item, Namespace, Store

logger = logging.getLogger(__name__)

_NO_ANSWER = ("reasoning", "trajectory")


class WithMemory(dspy.Module):
    """`program` with what it should know in front of every request, and a look back at each conversation.

    `always`: what is always on. A text is a core rule; a schema is a profile, shown whole and kept up to date.
    `search`: whether memories are recalled by what is said, or the `MemorySearcher` that does it. `reflect=False`
    only recalls; a `ReflectionExecutor` does it in the background with its own reflector, debounced per `thread_id`.

    It is called as the program is. Inputs named as variables of the `namespace` fill it and are not passed on; so does
    `thread_id`. What is recalled stands in an input field `memories` of each request of the program.
    """

    def __init__(
        self,
        program: dspy.Module,
        store: Store | None = None,
        *,
        always: str | Sequence[Any] = (),
        search: bool | MemorySearcher = True,
        reflect: bool | ReflectionExecutor = True,
        namespace: str | Sequence[str] = ("memories",),
        manager: MemoryManager | None = None,
        query_limit: int = 5,
        find_store: FindStore = current_store,
    ) -> None:
        super().__init__()
        if not isinstance(program, dspy.Module):
            raise InputError(f"program is a dspy.Module, got {type(program).__name__} {program!r}")
        for name, value, kind in (("search", search, MemorySearcher), ("reflect", reflect, ReflectionExecutor)):
            if not isinstance(value, bool | kind):
                raise InputError(f"{name} is True, False or a {kind.__name__}, got {type(value).__name__} {value!r}")
        store = held_store(store)
        if isinstance(reflect, ReflectionExecutor):
            _check_same_place(reflect, store, namespace)
        self.program, self.store, self.find_store = program, store, find_store
        self.namespace = checked_template(namespace)
        self.rules, profiles = _split([always] if isinstance(always, str) else always)
        options: dict[str, Any] = {"namespace": namespace, "find_store": find_store}
        self.searcher = search if isinstance(search, MemorySearcher) else None
        if search is True:
            self.searcher = MemorySearcher(store, query_limit=query_limit, limit=query_limit * 2, **options)
        self.profiles = [MemoryStoreManager(MemoryManager(p, kind="single"), store, **options) for p in profiles]
        self.managers = list(self.profiles)
        if search or manager is not None or not profiles:
            self.managers.append(MemoryStoreManager(manager, store, **options))
        self.reflect = reflect

    def forward(self, **inputs: Any) -> Any:
        wanted = template_variables(self.namespace) | {"thread_id"}
        variables = {name: inputs.pop(name) for name in sorted(wanted & set(inputs))}
        namespace = resolve_namespace(self.namespace, variables)
        said = _said(inputs)
        with recalling(self._recalled(namespace, said, variables)):
            prediction = self.program(**inputs)
        if self.reflect:
            self._look_back([*said, *_answer(prediction)], variables)
        return prediction

    async def aforward(self, **inputs: Any) -> Any:
        return await forwarded(self, **inputs)

    def _recalled(self, namespace: Namespace, said: Sequence[Message], variables: Mapping[str, Any]) -> str:
        """What is always on, then what the conversation calls to mind; "" if that is nothing at all."""
        store = self.find_store(self.store)
        schemas = [name for profile in self.profiles for name in profile.manager.rules.schemas]
        shown = [item for item in store.batch([GetOp(namespace, name) for name in schemas]) if item] if schemas else []
        lines = [*self.rules, *(_line(item) for item in shown)]
        if self.searcher is not None:
            found = self.searcher(messages=said, **variables)["items"]
            seen = {(item.namespace, item.key) for item in shown}
            lines += [_line(item) for item in found if (item.namespace, item.key) not in seen]
        return marked("\n".join(f"- {line}" for line in lines)) if lines else ""

    def _look_back(self, conversation: Sequence[Message], variables: Mapping[str, Any]) -> None:
        executor = self.reflect if isinstance(self.reflect, ReflectionExecutor) else None
        # A copy for a rollout holds another store than the executor's; its memories must stay in there.
        if executor is not None and executor.store is self.store:
            executor.submit(conversation, **variables)
            return
        for manager in self.managers:
            try:
                manager(messages=conversation, **variables)
            except BudgetExhausted:
                raise
            except dspy.LMError as error:
                # The program has answered; its answer must not be lost with the memory of it.
                logger.error("the conversation could not be reflected on, nothing of it is remembered: %s", error)


def _check_same_place(reflect: ReflectionExecutor, store: Store | None, namespace: str | Sequence[str]) -> None:
    if reflect.store is not store:
        raise InputError(
            f"the executor's reflector writes to {reflect.store!r}, but memories are recalled from {store!r}; give "
            "both the same store"
        )
    written, recalled = (
        tuple([place] if isinstance(place, str) else place) for place in (reflect.namespace, namespace)
    )
    if written[: len(recalled)] != recalled:
        raise InputError(
            f"the executor writes below {written!r}, but memories are recalled from {recalled!r}, where none of them "
            "would be found; give both the same namespace"
        )


def _split(always: Iterable[Any]) -> tuple[list[str], list[Schemas]]:
    rules, schemas = [], []
    for one in always:
        if isinstance(one, str) and one.strip():
            rules.append(one.strip())
        elif isinstance(one, Mapping) or (isinstance(one, type) and issubclass(one, BaseModel)):
            schemas.append(Schemas(one))
        else:
            raise InputError(f"always holds texts (rules) and schemas (profiles), got {type(one).__name__} {one!r}")
    names = [name for schema in schemas for name in schema]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"always holds two profiles named {', '.join(twice)}, which would be kept as one")
    return rules, schemas


def _line(item: Item) -> str:
    kind, content = read_value(item.value)
    text = content if isinstance(content, str) else f"{kind or ''} {json.dumps(content, ensure_ascii=False)}".strip()
    return text.replace("\n", "\n  ")


def _said(inputs: Mapping[str, Any]) -> list[Message]:
    """What came in, as messages: conversations among the inputs first, then the other texts as the user's turn."""
    earlier: list[Message] = []
    texts: dict[str, str] = {}
    for name, value in inputs.items():
        if isinstance(value, str):
            texts[name] = value
        elif isinstance(value, list | tuple) and value and all(is_message(one) for one in value):
            earlier += read_messages(value)
        elif isinstance(value, dspy.History) or value is None:
            continue  # earlier turns were reflected on when they were new
        else:
            texts[name] = json.dumps(value, ensure_ascii=False, default=str)
    return [*earlier, *_turn("user", texts)]


def _answer(prediction: Any) -> list[Message]:
    if not isinstance(prediction, dspy.Prediction):
        return _turn("assistant", {"answer": str(prediction)})
    fields = {name: value for name, value in prediction.toDict().items() if name not in _NO_ANSWER}
    shown = {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False, default=str) for k, v in fields.items()}
    return _turn("assistant", shown)


def _turn(role: str, texts: Mapping[str, str]) -> list[Message]:
    texts = {name: text for name, text in texts.items() if text.strip()}
    if not texts:
        return []
    alone = next(iter(texts.values())) if len(texts) == 1 else None
    content = alone if alone is not None else "\n".join(f"{name}: {text}" for name, text in texts.items())
    return [replace(Message(role, ""), content=content)]
