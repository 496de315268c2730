"""("memories", "{user_id}") + variables -> ("memories", "ann"), and where store and variables come from.

Order: what the caller passes, `memory_context`, LangGraph's context if the call runs inside one, and for the store
at last one in-memory store of the process.
"""

from __future__ import annotations

import importlib
import string
import sys
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dspy.dsp.utils.settings import thread_local_overrides

from langmem_dspy.errors import InputError, NamespaceError

Namespace: TypeAlias = tuple[str, ...]

# "." joins labels on LangGraph's wire, "/" in our command line, "*" is any label in list_namespaces: a value that holds
# one of them would read as another namespace somewhere.
_UNSAFE_IN_VALUES = "./*{}"
_SETTING = "langmem_dspy_memory_context"


@dataclass(frozen=True)
class _Context:
    store: Any = None
    variables: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def memory_context(*, store: Any = None, **variables: Any) -> Iterator[None]:
    """Set the store and the namespace variables of everything called inside; an inner context adds to an outer one.

    It is kept among DSPy's context-local settings: `dspy.Parallel`, `dspy.Evaluate` and `dspy.asyncify` hand those to
    their threads, `asyncio` and `contextvars.copy_context()` to theirs, and no other context variable survives both.
    """
    outer = _current()
    inner = _Context(outer.store if store is None else store, {**outer.variables, **variables})
    overrides = thread_local_overrides.get()
    # Not dspy.context(): it would also freeze every global setting for the length of the block.
    token = thread_local_overrides.set(type(overrides)({**overrides, _SETTING: inner}))
    try:
        yield
    finally:
        thread_local_overrides.reset(token)


def context_store() -> Any:
    """The store that `memory_context` set here, or None."""
    return _current().store


def current_variables() -> dict[str, Any]:
    """The namespace variables in force here: LangGraph's and LangChain's `configurable`, below `memory_context`'s."""
    return {**_langgraph_configurable(), **_current().variables}


def configurable(config: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """What LangChain's `config` sets for one call; empty where there is none."""
    return (config or {}).get("configurable") or {}


def current_store(store: Any = None, *, default: Callable[[], Any] | None = None) -> Any:
    """The store to use: `store`, else the one of `memory_context`, of LangGraph, or of the process.

    `default` makes the store of the process, once, with a warning. One of LangGraph's is adapted.
    """
    found = store if store is not None else _current().store
    if found is None:
        found = _langgraph_store()
    if found is not None:
        return adapted(found)
    if default is None:
        raise NamespaceError("no store: pass store=..., or call this inside `with memory_context(store=...)`")
    return _of_process(default)


def adapted(store: Any) -> Any:
    """`store`, as one of ours where it is LangGraph's."""
    if not is_langgraph_store(store):
        return store
    # By its name: the bridge stands floors above this one, and is needed by those alone who have LangGraph.
    return importlib.import_module("langmem_dspy.integrations.langgraph").from_langgraph(store)


def held_store(store: Any) -> Any:
    """`store` as a module keeps it: None, or one of ours; `InputError` for what is no store at all.

    It is held adapted: a copied program then shares it, where LangGraph's own would be copied too.
    """
    if store is not None and (isinstance(store, type) or not callable(getattr(store, "batch", None))):
        raise InputError(f"store is a Store such as FaissStore('folder'), got {type(store).__name__} {store!r}")
    return adapted(store)


def is_langgraph_store(store: Any) -> bool:
    """Whether `store` is LangGraph's `BaseStore`, which is not imported to find out."""
    base = sys.modules.get("langgraph.store.base")
    return base is not None and isinstance(store, base.BaseStore)


def resolve_namespace(template: str | Sequence[str], variables: Mapping[str, Any] | None = None) -> Namespace:
    """Fill the template's `{variables}`: those given first, then `current_variables()`.

    Raises `NamespaceError` for a missing variable, or a value that could lead out of the namespace.
    """
    labels = _labels(template)
    given = {**current_variables(), **(variables or {})}
    return check_namespace(tuple(_fill(label, given, labels) for label in labels))


def template_variables(template: str | Sequence[str]) -> set[str]:
    """The names of the variables in a template."""
    labels = _labels(template)
    return {name for label in labels for _, name in _parse(label) if name is not None}


def checked_template(template: str | Sequence[str]) -> str | Sequence[str]:
    """`template`, if its variables can be filled at all, else `NamespaceError`."""
    if not _labels(template) or not all(_labels(template)):
        raise NamespaceError(f"a namespace template needs labels that are not empty, got {template!r}")
    template_variables(template)
    return template


def check_namespace(namespace: Any, *, may_be_empty: bool = False) -> Namespace:
    """`namespace` as a tuple of labels any store takes, else `NamespaceError`."""
    if isinstance(namespace, str) or not isinstance(namespace, tuple | list):
        raise NamespaceError(f"a namespace is a tuple of strings such as ('memories', 'ann'), not {namespace!r}")
    if not namespace and not may_be_empty:
        raise NamespaceError("a namespace needs at least one label; () is only for searching everything")
    for label in namespace:
        if not isinstance(label, str) or not label:
            raise NamespaceError(f"namespace {namespace!r}: label {label!r} is not a non-empty string")
        # isprintable is the fast path; spaces that are not ASCII fail it and are fine.
        if not label.isprintable() and any(c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in label):
            raise NamespaceError(f"namespace {namespace!r}: label {label!r} has a control character or lone surrogate")
    return tuple(namespace)


def _current() -> _Context:
    context: _Context = thread_local_overrides.get().get(_SETTING) or _Context()
    return context


def _labels(template: Any) -> Namespace:
    if isinstance(template, str):
        return (template,)
    if not isinstance(template, Sequence):
        raise NamespaceError(f"a namespace template is a tuple such as ('memories', '{{user_id}}'), not {template!r}")
    return tuple(template)


def _parse(label: Any) -> list[tuple[str, str | None]]:
    if not isinstance(label, str):
        raise NamespaceError(f"a label of a namespace template is a string, not {label!r}")
    try:
        parts = [(literal, name) for literal, name, _, _ in string.Formatter().parse(label)]
    except ValueError as error:
        raise NamespaceError(f"namespace template {label!r}: {error}; write {{{{ for a literal brace") from error
    for _, name in parts:
        if name is not None and not name.isidentifier():
            raise NamespaceError(f"namespace template {label!r}: {{{name}}} is not the name of a variable")
    return parts


def _fill(label: str, given: Mapping[str, Any], template: Namespace) -> str:
    filled = []
    for literal, name in _parse(label):
        filled.append(literal)
        if name is None:
            continue
        if name not in given:
            raise NamespaceError(
                f"the namespace {template!r} needs the variable {name!r}: pass {name}=..., or call this inside "
                f"`with memory_context({name}=...)`; given: {sorted(given) or 'none'}"
            )
        filled.append(_checked_value(name, given[name]))
    return "".join(filled)


def _checked_value(name: str, value: Any) -> str:
    text = str(value) if isinstance(value, int | uuid.UUID) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text.strip():
        raise NamespaceError(f"namespace variable {name!r} must be a non-empty string or an integer, not {value!r}")
    if bad := sorted(set(text) & set(_UNSAFE_IN_VALUES)):
        raise NamespaceError(
            f"namespace variable {name}={text!r} holds {' '.join(bad)}, which could lead out of its namespace; "
            "encode it, for example with urllib.parse.quote(value, safe='').replace('.', '%2E')"
        )
    return text


def _langgraph_store() -> Any:
    config = sys.modules.get("langgraph.config")
    if config is None:
        return None
    try:
        return config.get_store()
    except (RuntimeError, KeyError, AttributeError):  # outside of a graph, or a graph without a store
        return None


def _langgraph_configurable() -> dict[str, Any]:
    # Where LangGraph keeps it too: so it is found in a LangChain tool outside of a graph.
    runnables = sys.modules.get("langchain_core.runnables.config")
    config = runnables.var_child_runnable_config.get() if runnables is not None else None
    return {name: value for name, value in configurable(config).items() if name.isidentifier()}


_process_lock = threading.Lock()
_process_store: Any = None


def _of_process(make: Callable[[], Any]) -> Any:
    global _process_store
    with _process_lock:
        if _process_store is None:
            warnings.warn(
                "no store was given: memories go to one in-memory store of this process and end with it; "
                "pass store=FaissStore('folder') or use memory_context(store=...) to keep them",
                stacklevel=4,
            )
            _process_store = make()
        return _process_store
