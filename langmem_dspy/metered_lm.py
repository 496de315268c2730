"""An LM that reports to a meter: counted at DSPy's engine waist, `complete(Request) -> Response`.

It behaves as the LM it was made from, except that each request is first reserved with the meter, and each reply is
recorded before anyone acts on it.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import dspy

# The one place that needs lm15's JSON form; DSPy keys its own cache with the same function.
from dspy._vendor.lm15.serde import request_to_dict
from dspy.lm15 import LM15Error, Request, Response, request_from_openai_chat
from dspy.utils.exceptions import LMUnsupportedFeatureError

from langmem_dspy.errors import InputError, TruncatedReply
from langmem_dspy.lm_engine import LMAsEngine
from langmem_dspy.memo import Memo
from langmem_dspy.usage import Meter, Role, Usage


class MeteredLM(dspy.LM):
    """An LM whose every request is reserved with, and recorded by, a meter. A deepcopy is the same LM.

    `whole`: a reply that was cut off at max_tokens raises `TruncatedReply` instead of being taken for an answer.

    `memo`: a request that was answered before in this run is not sent again; it counts as a cache hit. Repeats within
    one rollout (`counting_repeats`), and other `rollout_id`s, ask for another sample, and are sent.
    DSPy's cache and retries stay around it as the wrapped LM has them; with a reply log the cache is off, since a
    cached reply would not be seen by the log and a resumed run could then stop elsewhere.

    `at_once`: as many requests are under way at most, others wait; None for any number.
    """

    def __init__(
        self,
        lm: dspy.BaseLM,
        meter: Meter,
        role: Role,
        *,
        whole: bool = False,
        memo: bool = False,
        at_once: int | None = None,
    ) -> None:
        from dspy.clients.backend_selection import CLIENT_KEYS

        if not isinstance(lm, dspy.BaseLM):
            raise InputError(f"expected a dspy.LM, got {type(lm).__name__} {lm!r}; wrap a model string in dspy.LM(...)")
        settings = {key: value for key, value in lm.kwargs.items() if key not in CLIENT_KEYS}
        extensions = _extensions(settings)
        engine = _MeteredEngine(lm, meter, role, whole, extensions, at_once)
        engine.memo = Memo() if memo else None
        # The cache's key would not hold the extensions, so that models that differ in them would share replies.
        cached = lm.cache and getattr(lm, "_cache_responses", True) and meter.replies is None and not extensions
        super().__init__(
            lm.model,
            model_type=lm.model_type,
            cache=cached,
            num_retries=getattr(lm, "num_retries", 0),
            callbacks=lm.callbacks,
            use_developer_role=getattr(lm, "use_developer_role", False),
            engine=engine,
            async_engine=_AsyncMeteredEngine(engine),
        )
        self.kwargs = {key: value for key, value in settings.items() if key not in (*extensions, "extra_body")}
        self.history = lm.history  # `lm.inspect_history()` keeps working for the LM the user holds
        self._meter, self._role, self._metered_engine = meter, role, engine
        self._at_once = at_once
        self._others: dict[int, MeteredLM] = {}  # each holds the LM it is of, so that ids stay theirs

    def __deepcopy__(self, memo: dict[int, Any]) -> MeteredLM:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self._cache_hits_counted(kwargs):
            return super().__call__(*args, **kwargs)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        with self._cache_hits_counted(kwargs):
            return await super().acall(*args, **kwargs)

    def beside(self, lm: dspy.BaseLM) -> MeteredLM:
        """Another LM that reports where this one does."""
        if isinstance(lm, MeteredLM):
            return lm
        known = self._others.get(id(lm))
        if known is None:
            options: dict[str, Any] = {"whole": self._metered_engine.whole, "at_once": self._at_once}
            known = self._others[id(lm)] = MeteredLM(lm, self._meter, self._role, **options)
        return known

    def forget(self) -> None:
        """Forget what was answered before; the same requests are sent again."""
        if self._metered_engine.memo is not None:
            self._metered_engine.memo = Memo()

    @contextmanager
    def _cache_hits_counted(self, kwargs: Mapping[str, Any]) -> Iterator[None]:
        call = _Call(kwargs.get("rollout_id", self.kwargs.get("rollout_id")))
        token = _CALL.set(call)
        try:
            yield
            if not call.reached_engine:
                self._meter.record(self._role, Usage(cache_hits=1))
        finally:
            _CALL.reset(token)


# Settings that DSPy takes out of a request itself.
_DSPYS_OWN = ("n", "num_generations", "rollout_id", "prompt_cache", "response_format")


@dataclass
class _Call:
    """The LM call under way: what DSPy takes out of its request, and whether it got past DSPy's cache."""

    rollout_id: Any = None
    reached_engine: bool = False


_CALL: contextvars.ContextVar[_Call | None] = contextvars.ContextVar("call", default=None)


# Of the request under way, the list that takes what it cost.
_COSTS: contextvars.ContextVar[list[float | None] | None] = contextvars.ContextVar("costs", default=None)


def _note_cost(entry: Mapping[str, Any]) -> None:
    if (costs := _COSTS.get()) is not None:
        costs.append(entry.get("cost"))


class _MeteredEngine(LMAsEngine):
    memo: Memo[Response] | None = None

    def __init__(
        self, lm: dspy.BaseLM, meter: Meter, role: Role, whole: bool, extensions: Mapping[str, Any], at_once: int | None
    ) -> None:
        super().__init__(lm)
        self.turns = nullcontext() if at_once is None else threading.BoundedSemaphore(at_once)
        self.meter, self.role, self.whole = meter, role, whole
        self.extensions = dict(extensions)
        # A copy of DSPy's own LM makes single attempts, so that its retries pass through the meter one by one. Other
        # classes of LM are called as they are: a copy would lose the state they keep, and DSPy never retries them.
        self.copied = isinstance(lm, dspy.LM) and type(lm).forward is dspy.LM.forward
        self.single: Any = lm
        if self.copied:
            self.single = lm.copy(num_retries=0)
            self.single.callbacks = []
            self.single.update_history = _note_cost  # where DSPy says what a call cost

    def complete(self, request: Request) -> Response:
        request = self.extended(request)
        if self.memo is None:
            return self.checked(self.asked(request))
        call = _CALL.get() or _Call()
        question = f"{request_text(request)} {call.rollout_id}"
        question = f"{question} {_nth(question)}"
        response, known = self.memo.get(question, lambda: self.asked(request))
        call.reached_engine = call.reached_engine or not known
        return self.checked(response)

    def asked(self, request: Request) -> Response:
        with self.turns:
            if (response := self.replayed(request)) is None:
                with self.single_attempt() as (lm, costs):
                    response = lm(request, cache=False)
                self.settle(request, response, costs)
        return response

    def extended(self, request: Request) -> Request:
        if not self.extensions:
            return request
        extensions = {**self.extensions, **(request.config.extensions or {})}
        return replace(request, config=replace(request.config, extensions=extensions))

    def replayed(self, request: Request) -> Response | None:
        if (call := _CALL.get()) is not None:
            call.reached_engine = True
        known = self.meter.replies.take(self.role, request) if self.meter.replies else None
        self.meter.reserve_call(answered=known is not None)
        if known is None:
            return None
        self.meter.record(self.role, _spent(*known), replayed=True)
        return known[0]

    @contextmanager
    def single_attempt(self) -> Iterator[tuple[Any, list[float | None]]]:
        """The LM to ask once, and a list that will hold what the call cost (US dollars, None if unknown)."""
        costs: list[float | None] = []
        token = _COSTS.set(costs)
        try:
            # The metered LM around us already reports this call to callbacks, trackers and history.
            with dspy.context(callbacks=[], usage_tracker=None, send_stream=None, disable_history=not self.copied):
                yield self.single, costs
        except BaseException:
            self.meter.record(self.role, Usage(lm_calls=1, failed_calls=1))
            raise
        finally:
            _COSTS.reset(token)

    def settle(self, request: Request, response: Response, costs: list[float | None]) -> None:
        cost = costs[0] if costs else None
        self.meter.record(self.role, _spent(response, cost))
        if self.meter.replies:
            self.meter.replies.put(self.role, request, response, cost)

    def checked(self, response: Response) -> Response:
        if self.whole and response.finish_reason == "length":
            raise TruncatedReply(f"{self.lm.model} was cut off at max_tokens; raise dspy.LM(max_tokens=...)")
        return response


_REPEATS: contextvars.ContextVar[Counter[str] | None] = contextvars.ContextVar("repeats", default=None)


@contextmanager
def counting_repeats() -> Iterator[None]:
    """One rollout: the same request made again inside asks for another reply, not for the remembered one."""
    token = _REPEATS.set(Counter())
    try:
        yield
    finally:
        _REPEATS.reset(token)


def _nth(question: str) -> int:
    if (repeats := _REPEATS.get()) is None:
        return 0
    repeats[question] += 1
    return repeats[question]


def request_text(request: Request) -> str:
    """A canonical text of a request: equal for equal requests, of this and of any other process."""
    return json.dumps(request_to_dict(request), sort_keys=True, ensure_ascii=False)


class _AsyncMeteredEngine:
    def __init__(self, sync: _MeteredEngine) -> None:
        self.sync = sync

    async def complete(self, request: Request) -> Response:
        engine = self.sync
        if engine.memo is not None or not isinstance(engine.turns, nullcontext):  # others may be waited for
            return await asyncio.to_thread(engine.complete, request)
        request = engine.extended(request)
        if (response := await asyncio.to_thread(engine.replayed, request)) is None:
            with engine.single_attempt() as (lm, costs):
                response = await _acall(lm, request, threaded=not engine.copied)
            await asyncio.to_thread(engine.settle, request, response, costs)
        return engine.checked(response)


async def _acall(lm: dspy.BaseLM, request: Request, *, threaded: bool) -> Response:
    if not threaded:
        try:
            return await lm.acall(request, cache=False)
        except LMUnsupportedFeatureError:
            pass  # raised before any request: the LM has a sync engine only
    return await asyncio.to_thread(lm, request, cache=False)


def _spent(response: Response, cost: float | None) -> Usage:
    usage = response.usage
    return Usage(
        lm_calls=1,
        prompt_tokens=usage.input_tokens or 0,
        completion_tokens=usage.output_tokens or 0,
        cost=cost or 0.0,
        unpriced_calls=int(cost is None),
    )


def _extensions(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an LM that only its provider knows: DSPy has no place for them in a Request but `extensions`."""
    found = {key: value for key, value in settings.items() if key not in _DSPYS_OWN and not _has_place(key, value)}
    return {**found.pop("extra_body", {}), **found}


def _has_place(key: str, value: Any) -> bool:
    if value is None:  # not set: most settings of an LM, and nothing to ask for
        return True
    try:
        request_from_openai_chat({"model": "any", "messages": [{"role": "user", "content": "any"}], key: value})
    except (LM15Error, TypeError, ValueError):
        return False
    return True
