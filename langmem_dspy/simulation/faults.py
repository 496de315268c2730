"""Faults on purpose: what a model's service does wrong, by a fixed script or by rates, and never by accident."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from dspy import lm15

from langmem_dspy.errors import InputError
from langmem_dspy.simulation.chance import Chance
from langmem_dspy.simulation.questions import tokens

Fault = Literal["rate_limit", "server_error", "timeout", "truncated", "malformed", "empty"]
FAULTS: tuple[Fault, ...] = ("rate_limit", "server_error", "timeout", "truncated", "malformed", "empty")


@dataclass(frozen=True)
class Faults:
    """How often each fault happens, as rates in [0, 1] that sum up to at most 1.

    By rate, a fault is decided by the seed, the request and how often that request came before. `first` is a script
    instead: the faults of the first attempts of every request, in order. `retry_after` (seconds) goes with a
    rate_limit. `stall` (seconds): over HTTP, a timeout is a connection held that long and closed; None: status 504.
    """

    rate_limit: float = 0.0
    server_error: float = 0.0
    timeout: float = 0.0
    truncated: float = 0.0
    malformed: float = 0.0
    empty: float = 0.0
    first: tuple[Fault, ...] = ()
    retry_after: float | None = None
    stall: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "first", tuple(self.first))
        rates = [getattr(self, name) for name in FAULTS]
        if any(not 0 <= rate <= 1 for rate in rates) or sum(rates) > 1:
            raise InputError(f"rates of faults lie in [0, 1] and sum up to at most 1, got {self!r}")
        if unknown := [name for name in self.first if name not in FAULTS]:
            raise InputError(f"no faults are named {unknown}; there are {', '.join(FAULTS)}")

    def __bool__(self) -> bool:
        return bool(self.first) or any(getattr(self, name) for name in FAULTS)

    def attempts(self) -> Attempts:
        return Attempts(self)


class Attempts:
    """Counts how often each request came, to decide what goes wrong with the next attempt. Thread-safe."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._lock = threading.Lock()
        self._seen: Counter[bytes] = Counter()

    def next(self, asked: str, seed: int) -> Fault | None:
        """The fault of this attempt at `asked`, or None. Counts nothing while there are no faults."""
        if not self._faults:
            return None
        key = hashlib.blake2b(asked.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        with self._lock:
            attempt = self._seen[key]
            self._seen[key] += 1
        if attempt < len(self._faults.first):
            return self._faults.first[attempt]
        luck = Chance(seed, asked).number("fault", attempt)
        for name in FAULTS:
            if (luck := luck - getattr(self._faults, name)) < 0:
                return name
        return None


def raise_for(fault: Fault | None, faults: Faults) -> None:
    """Raise the error that is this fault, if it is one."""
    if fault == "rate_limit":
        raise lm15.RateLimitError("simulated: too many requests", status=429, retry_after=faults.retry_after)
    if fault == "server_error":
        raise lm15.ServerError("simulated: internal error", status=500)
    if fault == "timeout":
        raise lm15.TimeoutError("simulated: the request timed out", status=504)


def spoiled(fault: Fault | None, text: str, max_tokens: int | None) -> tuple[str, Literal["stop", "length"]]:
    """The text as it arrives, and why it ended: "stop", or "length" where it was cut off."""
    if fault == "empty":
        return "", "stop"
    if fault == "malformed":
        return f"Sure! {text[len(text) // 3 :][::-1]}", "stop"
    if fault == "truncated":
        return text[: len(text) // 2], "length"
    if max_tokens is not None and tokens(text) > max_tokens:
        return text.encode("utf-8", "replace")[: 4 * max_tokens].decode("utf-8", "ignore"), "length"
    return text, "stop"
