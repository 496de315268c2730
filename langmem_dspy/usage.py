"""Exact LM calls, tokens and cost over threads and async, and the budget that bounds them.

One call is one request that reached the engine, retries included; `metered_lm` makes the LMs that report here.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Protocol

from dspy.lm15 import Request, Response

from langmem_dspy.errors import BudgetExhausted, InputError

Role = Literal["task", "reflection"]
ROLES: tuple[Role, ...] = ("task", "reflection")

_AFTERWARDS = ("tokens", "cost", "seconds")  # limits on what is known only when a call has ended


@dataclass(frozen=True)
class Budget:
    """What a run may spend at most; None means unbounded.

    `lm_calls` and `metric_calls` are reserved before a call starts and never exceeded. `tokens`, `cost` (US dollars)
    and `seconds` (wall time) are known only afterwards, so they are exceeded by at most the calls in flight.
    """

    lm_calls: int | None = None
    metric_calls: int | None = None
    tokens: int | None = None
    cost: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if value is not None and (not number or value < 0):
                raise InputError(f"Budget({name}={value!r}): give a finite number of at least 0, or None for no limit")

    def limits(self) -> dict[str, float]:
        """What is bounded, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Usage:
    """What was spent. `cost` (US dollars) is a lower bound when `unpriced_calls` is above 0.

    `cache_hits` (DSPy's response cache) and `journal_hits` (replies of an earlier, interrupted run) cost nothing and
    are not part of `lm_calls`.
    """

    lm_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    unpriced_calls: int = 0
    failed_calls: int = 0
    cache_hits: int = 0
    journal_hits: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class UsageReport:
    """Usage of a run, the task model and the reflection model apart.

    `replayed` is what the journalled replies had cost when they were first asked for; `whole_run` includes it, and is
    the same however often the run was interrupted. `seconds` is the wall time of this process.
    """

    task: Usage = field(default_factory=Usage)
    reflection: Usage = field(default_factory=Usage)
    replayed: Usage = field(default_factory=Usage)
    metric_calls: int = 0
    seconds: float = 0.0

    @property
    def total(self) -> Usage:
        return self.task + self.reflection

    @property
    def whole_run(self) -> Usage:
        return self.total + self.replayed

    @property
    def lm_calls(self) -> int:
        return self.total.lm_calls

    @property
    def tokens(self) -> int:
        return self.total.tokens

    @property
    def cost(self) -> float:
        return self.total.cost


class ReplyLog(Protocol):
    """Where replies are kept so that an interrupted run need not ask again. Implemented by `optimizers.journal`."""

    def take(self, role: Role, request: Request) -> tuple[Response, float | None] | None:
        """The recorded reply to this request and its cost, each recording handed out once; None if there is none."""

    def put(self, role: Role, request: Request, response: Response, cost: float | None) -> None:
        """Record a reply durably."""

    def check(self) -> None:
        """Raise if a reply could not be recorded: the run must then not go on."""


class Meter:
    """Counts and bounds the calls of one run. Thread-safe; a deepcopy is the same meter."""

    def __init__(self, budget: Budget | None = None, *, replies: ReplyLog | None = None) -> None:
        self.budget = budget or Budget()
        self.replies = replies
        self._lock = threading.Lock()
        self._usage: dict[Role, Usage] = {role: Usage() for role in ROLES}
        self._reserved_calls = 0  # live, failed and journalled alike: a resumed run stops where the first would have
        self._replayed = Usage()
        self._metric_calls = 0
        self._started = time.monotonic()
        self._refused: str | None = None
        self._usable = 1.0  # the share of each limit that may be spent now

    def __deepcopy__(self, memo: dict[int, Any]) -> Meter:
        return self

    def report(self) -> UsageReport:
        with self._lock:
            seconds = time.monotonic() - self._started
            by_role = self._usage
            return UsageReport(
                by_role["task"], by_role["reflection"], self._replayed, self._metric_calls, round(seconds, 3)
            )

    @property
    def refused(self) -> str | None:
        """The limit at which a call was refused, or None while every call was let through."""
        return self._refused

    @contextmanager
    def holding_back(self, share: float) -> Iterator[None]:
        """Refuse what would take the last `share` (0 to 1) of any limit, so that it is left for afterwards."""
        self._usable = 1.0 - share
        try:
            yield
        finally:
            self._usable, self._refused = 1.0, None

    def spent(self) -> str | None:
        """The name of a limit that is used up, or None."""
        with self._lock:
            return next((name for name, _ in self._exhausted()), None)

    def reserve_call(self, *, answered: bool = False) -> None:
        """Take one LM call from the budget, or raise `BudgetExhausted`.

        `answered`: its reply is journalled already. Then only `lm_calls` can refuse it: the interrupted run let it
        through, when it had spent less than the resumed one, whose replies arrive at once.
        """
        with self._lock:
            self._check("lm_calls") if answered else self._check("lm_calls", *_AFTERWARDS)
            self._reserved_calls += 1

    def reserve_metric_call(self) -> None:
        """Take one metric call from the budget, or raise `BudgetExhausted`."""
        with self._lock:
            self._check("metric_calls", *_AFTERWARDS)
            self._metric_calls += 1

    def require_metric_calls(self, count: int) -> None:
        """Raise `BudgetExhausted` unless the budget still holds `count` metric calls; takes none of them."""
        allowed = self.budget.metric_calls
        with self._lock:
            if allowed is not None and self._metric_calls + count > allowed * self._usable:
                self._refused = "metric_calls"
                raise BudgetExhausted("metric_calls", allowed)

    def record(self, role: Role, spent: Usage, *, replayed: bool = False) -> None:
        with self._lock:
            if replayed:
                self._replayed += spent
                spent = Usage(journal_hits=1)
            self._usage[role] += spent

    def _check(self, *limits: str) -> None:
        for name, allowed in self._exhausted():
            if name in limits:
                self._refused = name
                raise BudgetExhausted(name, allowed)

    def _exhausted(self) -> Iterator[tuple[str, float]]:
        # Replayed replies count towards the limits: the resumed run must stop where the uninterrupted one would.
        total = self._usage["task"] + self._usage["reflection"] + self._replayed
        used = {
            "lm_calls": self._reserved_calls,
            "metric_calls": self._metric_calls,
            "tokens": total.tokens,
            "cost": total.cost,
            "seconds": time.monotonic() - self._started,
        }
        for name, value in used.items():
            allowed = getattr(self.budget, name)
            if allowed is not None and value >= allowed * self._usable:
                yield name, allowed
