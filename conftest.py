"""The README and the guides are run as they stand: their Python blocks are tests, block after block, file by file.

A model named in them ("openai/...") is answered by the package's simulation over loopback. Each file starts in an
empty folder of its own. Blocks may await, as in a notebook.
"""

from __future__ import annotations

import ast
import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import dspy
from sybil import Example, Sybil
from sybil.evaluators.python import pad
from sybil.parsers.markdown import CodeBlockParser, SkipParser

from langmem_dspy import simulation

_OPENAI = ("OPENAI_API_KEY", "OPENAI_API_BASE")


def _open_desk(namespace: dict[str, Any]) -> None:
    """An empty folder, the endpoint behind the model strings, and no settings left from elsewhere."""
    endpoint = simulation.serve("strong")
    folder = tempfile.TemporaryDirectory()
    here = Path.cwd()
    before = {name: os.environ.get(name) for name in _OPENAI}
    configured, cache = dspy.settings.config, dspy.cache
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    runner = asyncio.Runner()
    os.environ.update(OPENAI_API_KEY="none needed", OPENAI_API_BASE=endpoint.api_base)
    os.chdir(folder.name)

    def close() -> None:
        runner.close()
        os.chdir(here)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        dspy.configure(**configured)
        dspy.cache = cache
        endpoint.close()
        folder.cleanup()

    namespace.update(__close_desk__=close, __runner__=runner)


def _close_desk(namespace: dict[str, Any]) -> None:
    close: Callable[[], None] = namespace["__close_desk__"]
    close()


def _run(example: Example) -> None:
    """A block, which may await; all of a document share one event loop."""
    source = pad(example.parsed, example.line + example.parsed.line_offset)
    code = compile(source, example.path, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    awaited = eval(code, example.namespace)  # a coroutine where the block awaits
    if awaited is not None:
        runner: asyncio.Runner = example.namespace["__runner__"]
        runner.run(awaited)


pytest_collect_file = Sybil(
    parsers=[CodeBlockParser("python", _run), SkipParser()],
    patterns=["README.md", "docs/*.md", "docs/**/*.md"],
    setup=_open_desk,
    teardown=_close_desk,
).pytest()
