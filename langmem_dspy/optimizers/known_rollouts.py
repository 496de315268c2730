"""A memory for rollouts: what was run and scored before is not run again, also not by two threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar

Pair = tuple[str, str]  # a version of the prompts, an example


class Scored(Protocol):
    @property
    def score(self) -> float | None: ...


R = TypeVar("R", bound=Scored)


class KnownRollouts(Generic[R]):
    """Scored rollouts, each made once, also where several threads ask for it at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[Pair, R] = {}
        self._under_way: dict[Pair, Future[None]] = {}

    def __contains__(self, pair: Pair) -> bool:
        return pair in self._made

    def __bool__(self) -> bool:
        return bool(self._made)

    def once(self, pair: Pair, make: Callable[[], R]) -> R:
        """The rollout of this pair. One without a score is not remembered: who waited for it makes it anew."""
        while True:
            with self._lock:
                if (known := self._made.get(pair)) is not None:
                    return known
                other = self._under_way.get(pair)
                if other is None:
                    mine = self._under_way[pair] = Future()
                    break
            other.result()
        try:
            made = make()
            if made.score is not None:
                with self._lock:
                    self._made[pair] = made
            return made
        finally:
            with self._lock:
                del self._under_way[pair]
            mine.set_result(None)

    def unasked(self, pairs: Iterable[Pair]) -> int:
        """How many of these neither are known nor are being made."""
        with self._lock:
            return sum(pair not in self._made and pair not in self._under_way for pair in pairs)

    def of(self, name: str) -> list[R]:
        """Those of an example, in an order that no thread decides."""
        with self._lock:
            return [self._made[pair] for pair in sorted(self._made) if pair[1] == name]

    def pairs(self) -> set[Pair]:
        with self._lock:
            return set(self._made)

    def keep(self, pairs: set[Pair]) -> None:
        """Forget all others."""
        with self._lock:
            self._made = {pair: rollout for pair, rollout in self._made.items() if pair in pairs}
