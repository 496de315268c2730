"""The two graphs as LangGraph graphs, as `langgraph.json` names them; the extra `langgraph`.

LangGraph's server then runs them, over whatever store it has: its own, or ours by `memory_store`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal, NotRequired

import dspy
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict  # whose schema pydantic reads on Python 3.11 too

from langmem_dspy.graphs.prompts import prompts
from langmem_dspy.graphs.semantic import semantic
from langmem_dspy.integrations.langgraph import as_base_store
from langmem_dspy.integrations.langgraph_base_store import AsBaseStore
from langmem_dspy.simulation import offline_lm
from langmem_dspy.store.faiss_store import FaissStore

logger = logging.getLogger(__name__)

STORE, MODEL = "LANGMEM_DSPY_STORE", "LANGMEM_DSPY_MODEL"


class Configurable(TypedDict, total=False):
    """`config["configurable"]` of both graphs. All that stands there beside these may fill in a namespace."""

    model: str
    kind: Literal["multi", "single", "gradient", "metaprompt", "prompt_memory"]
    options: dict[str, Any]


class ExtractInput(TypedDict):
    messages: list[Any]
    schemas: NotRequired[list[dict[str, Any]] | dict[str, Any] | None]
    namespace: NotRequired[list[str] | None]


class ExtractOutput(TypedDict):
    updated_memories: list[dict[str, Any]]


class OptimizeInput(TypedDict):
    prompts: list[dict[str, Any]] | str
    threads: NotRequired[list[Any]]


class OptimizeOutput(TypedDict):
    optimized_prompts: list[dict[str, Any]]
    updated_prompts: list[dict[str, Any]]


class _Extract(ExtractInput, ExtractOutput):
    pass


class _Optimize(OptimizeInput, OptimizeOutput):
    pass


async def _extract(state: ExtractInput, config: RunnableConfig) -> dict[str, Any]:
    return await semantic(_given(state, ExtractInput), _with_model(config))


async def _optimize(state: OptimizeInput, config: RunnableConfig) -> dict[str, Any]:
    return await prompts(_given(state, OptimizeInput), _with_model(config))


def _with_model(config: RunnableConfig) -> dict[str, Any]:
    """`config` with the model of the caller, else of the environment, else DSPy's, else the offline simulation."""
    configurable = config.get("configurable") or {}
    model = configurable.get("model") or os.environ.get(MODEL) or dspy.settings.lm
    if model is None:
        logger.warning("no model: the offline simulation answers, which says nothing about real models; set %s", MODEL)
        model = offline_lm()
    return {**config, "configurable": {**configurable, "model": model}}


def _given(state: Any, schema: Any) -> dict[str, Any]:
    return {name: state[name] for name in schema.__annotations__ if name in state}


def _graph(name: str, node: Any, state: Any, input_schema: Any, output_schema: Any) -> Any:
    builder = StateGraph(state, context_schema=Configurable, input_schema=input_schema, output_schema=output_schema)
    builder.add_node(name, node)
    builder.add_edge(START, name)
    builder.add_edge(name, END)
    return builder.compile(name=name)


extract_memories = _graph("extract_memories", _extract, _Extract, ExtractInput, ExtractOutput)
optimize_prompts = _graph("optimize_prompts", _optimize, _Optimize, OptimizeInput, OptimizeOutput)


@asynccontextmanager
async def memory_store() -> AsyncIterator[AsBaseStore]:
    """Our store for LangGraph's server, in the folder that `LANGMEM_DSPY_STORE` names ("memories" without)."""
    with FaissStore(os.environ.get(STORE, "memories")) as store, as_base_store(store) as shown:
        yield shown
