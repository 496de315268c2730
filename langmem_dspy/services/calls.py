"""Calls of a run to its model, which end at once when the run is cancelled.

A run works in a thread, where nothing can be interrupted; so its calls are awaited on the event loop of the server,
where they can: a cancelled call closes its connection.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import dspy
from dspy.clients.backend_selection import select_backend
from dspy.clients.engines.lm15_engine import AsyncLM15Engine, timeouts_for
from dspy.lm15 import Request, Response, RouterConfig, UnsupportedFeatureError

from langmem_dspy.errors import RunCancelled
from langmem_dspy.lm_engine import LMAsEngine
from langmem_dspy.simulation import is_simulated

_CURRENT: contextvars.ContextVar[Calls | None] = contextvars.ContextVar("calls", default=None)


class Calls:
    """The calls of one run. `reason` is why they were cancelled, None while they go on."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._under_way: set[concurrent.futures.Future[Any]] = set()

    def cancel(self, reason: str) -> None:
        """End the calls under way, and start no more."""
        with self._lock:
            self.reason = self.reason or reason
            under_way = list(self._under_way)
        for call in under_way:
            call.cancel()

    @contextlib.contextmanager
    def around(self) -> Iterator[None]:
        """What is called inside, in this context and in copies of it, are calls of this run."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    def result(self, reply: Callable[[Request], Coroutine[Any, Any, Response]], request: Request) -> Response:
        """What `reply` gives on the event loop, waited for in this thread. Raises `RunCancelled`."""
        with self._lock:
            self.check()
            call = asyncio.run_coroutine_threadsafe(reply(request), self._loop)
            self._under_way.add(call)
        try:
            response: Response = call.result()
            return response
        except (concurrent.futures.CancelledError, asyncio.CancelledError):
            raise RunCancelled(self.reason or "the server is stopping") from None
        finally:
            with self._lock:
                self._under_way.discard(call)

    def check(self) -> None:
        """Raise `RunCancelled` where the run was cancelled."""
        if self.reason is not None:
            raise RunCancelled(self.reason)


class CancellableEngine(LMAsEngine):
    """An LM as an engine for another one, whose calls belong to the run that they are made in."""

    def __init__(self, lm: dspy.BaseLM) -> None:
        # Without a cache, by which one tenant could see what another asked; and without retries, which the LM around
        # this makes one by one.
        super().__init__(lm.copy(cache=False, num_retries=0))
        # The simulation computes, and would hold up the event loop.
        self._awaited = not is_simulated(lm)
        self._native: tuple[asyncio.AbstractEventLoop, AsyncLM15Engine | None] | None = None

    def complete(self, request: Request) -> Response:
        calls = _CURRENT.get()
        if calls is None or not self._awaited:
            if calls is not None:
                calls.check()
            response: Response = self.lm(request, cache=False)
            return response
        return calls.result(self._reply, request)

    async def aclose(self) -> None:
        if self._native is not None and self._native[1] is not None:
            await self._native[1].aclose()
        if isinstance(self.lm, dspy.LM):
            await self.lm.aclose()

    async def _reply(self, request: Request) -> Response:
        """The reply, by DSPy's engine alone where it has one of its own for this model.

        The LM around it would look up a price that nobody reads: of a model it does not know, in all of its list, and
        the first time in the network.
        """
        loop = asyncio.get_running_loop()
        if self._native is None or self._native[0] is not loop:  # connections belong to one loop
            self._native = loop, _native(self.lm)
        if (engine := self._native[1]) is not None:
            try:
                return await engine.complete(request)
            except UnsupportedFeatureError:
                pass  # said before anything is sent; the LM knows another way
        response: Response = await self.lm.acall(request, cache=False)
        return response

    def __deepcopy__(self, memo: dict[int, Any]) -> CancellableEngine:
        return self


def cancellable(lm: dspy.BaseLM) -> dspy.LM:
    """`lm`, uncached, with calls that end when their run is cancelled."""
    engine = CancellableEngine(lm)
    return dspy.LM(lm.model, engine=engine, cache=False, num_retries=getattr(lm, "num_retries", 0), **_settings(lm))


def _native(lm: dspy.BaseLM) -> AsyncLM15Engine | None:
    """DSPy's own engine for `lm`, None where the LM is of another class or asks through another library."""
    if type(lm) is not dspy.LM or not isinstance(lm.engine, str):
        return None
    selection = select_backend(lm)
    if not selection.native or selection.resolution.declared:
        return None
    clients, provider = selection.clients, selection.resolution.provider
    address = clients.get("api_base") or clients.get("base_url")
    config = RouterConfig(
        api_keys={provider: clients["api_key"]} if "api_key" in clients else None,
        base_urls={provider: address} if address else None,
        timeouts=timeouts_for(clients.get("timeout")),
    )
    return AsyncLM15Engine(config, model_type=lm.model_type)


def _settings(lm: dspy.BaseLM) -> dict[str, Any]:
    kept = ("temperature", "max_tokens")
    return {name: lm.kwargs[name] for name in kept if lm.kwargs.get(name) is not None}
