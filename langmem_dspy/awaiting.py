"""Blocking work, awaited: in threads of our own, since asyncio keeps only a handful for everything."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

THREADS = 64  # as many requests may wait for their models at once

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


async def awaited(work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """What `work` returns, run in a thread and in a copy of this context."""
    run = functools.partial(contextvars.copy_context().run, work, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_threads(), run)


async def forwarded(module: Any, /, *args: Any, **kwargs: Any) -> Any:
    """`module.forward`, awaited. Out of its class: DSPy logs a warning to whoever takes it from the module itself."""
    return await awaited(type(module).forward, module, *args, **kwargs)


def _threads() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(THREADS, thread_name_prefix="langmem-dspy-await")
        return _pool
