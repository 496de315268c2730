"""`langmem-dspy mcp`: the memory as an MCP server over stdio, started by the agent that uses it."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from langmem_dspy.cli.memories_options import NamespaceOptions, template, variables


def mcp(
    *,
    store: Path = Path("memories"),
    embedder: str | None = None,
    model: str | None = None,
    where: Annotated[NamespaceOptions, Parameter(name="*")] = NamespaceOptions("memories"),
) -> None:
    """Give an agent a memory: an MCP server over stdio, with tools to save, search and extract memories.

    An agent starts it by itself. In its configuration:
    {"mcpServers": {"memory": {"command": "langmem-dspy", "args": ["mcp", "--store", "/path/to/memories"]}}}

    Parameters
    ----------
    store
        Folder of the store; made if it is missing.
    embedder
        How texts are compared: offline, local, or a hosted model such as openai/text-embedding-3-small.
    model
        Model that extracts memories and improves prompts. Default: the offline simulation.
    """
    from langmem_dspy.integrations.extras import optional
    from langmem_dspy.namespaces import resolve_namespace
    from langmem_dspy.simulation import offline_lm
    from langmem_dspy.store.faiss_store import FaissStore

    optional("mcp", "mcp")
    from langmem_dspy.services.mcp_server import serve_stdio
    from langmem_dspy.services.mcp_tools import Offer

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)  # stdout is the agent's
    namespace = resolve_namespace(template(where.namespace), variables(where.var))
    if model is None:
        print(
            "no --model: the offline simulation extracts memories; it says nothing about real models", file=sys.stderr
        )
    with FaissStore(store, embedder=embedder) as opened:
        asyncio.run(serve_stdio(opened, Offer(namespace, offline_lm() if model is None else model)))
