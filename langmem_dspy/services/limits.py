"""What one caller, one request and one run may take at most."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass

_CALLERS = 10_000


@dataclass(frozen=True)
class Limits:
    """Bounds of the server; a request beyond one is refused with the bound in the message.

    `rate` is requests a second and caller, with bursts of twice as many; 0 is no bound. `queue` bounds the runs that
    are waiting or at work, of all and of one tenant.
    """

    body_bytes: int = 16 * 2**20
    json_depth: int = 100
    rate: float = 1000.0
    queue: int = 1000
    queue_of_tenant: int = 500
    runs_at_once: int = 32
    run_seconds: float = 600.0
    drain_seconds: float = 30.0
    keep_seconds: float = 3600.0
    batch: int = 100


class RateLimiter:
    """A token bucket for each caller."""

    def __init__(self, rate: float) -> None:
        self.rate, self._burst = rate, 2 * rate
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, caller: str) -> float:
        """0 where the request may go on, else the seconds until it may."""
        if not self.rate:
            return 0.0
        now = time.monotonic()
        left, at = self._buckets.pop(caller, (self._burst, now))
        left = min(self._burst, left + (now - at) * self.rate)
        allowed = left >= 1
        self._buckets[caller] = (left - allowed, now)
        if len(self._buckets) > _CALLERS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self.rate
