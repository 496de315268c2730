"""How noisy a metric is, by what it said of one and the same prediction; and scores that bear it.

A search meets the same prediction under many prompts, so repeats come by themselves. Only where they differ is a
prediction judged again on purpose: that asks no model, and takes no rollout.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from statistics import fmean

WANTED_ERROR = 0.03  # standard error of a score
MOST_REPEATS = 16  # of one prediction

Judged = tuple[str, str]  # example, and what the program said


class Scores:
    """Every score the metric gave, by example and prediction. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given: dict[Judged, list[float]] = {}
        self._differing = False  # whether any prediction ever got two scores
        self._noise: float | None = 0.0  # None: to be worked out again

    def add(self, key: Judged, score: float) -> None:
        with self._lock:
            given = self._given.setdefault(key, [])
            given.append(score)
            self._differing = self._differing or score != given[0]
            self._noise = None if self._differing else 0.0

    def mean(self, key: Judged) -> float:
        """The score of a prediction: the mean of all it was given."""
        with self._lock:
            return fmean(self._given[key])

    def noise(self) -> float:
        """The standard deviation of the metric on one and the same prediction, pooled; 0 where it never differed."""
        with self._lock:
            if self._noise is None:
                self._noise = _pooled([scores for scores in self._given.values() if len(scores) > 1])
            return self._noise

    def error(self, key: Judged) -> float:
        """The standard error of `mean(key)`."""
        noise = self.noise()
        with self._lock:
            return noise / math.sqrt(len(self._given[key]))

    def missing(self, key: Judged) -> int:
        """How many more judgements the score of a prediction needs."""
        wanted = min(MOST_REPEATS, math.ceil((self.noise() / WANTED_ERROR) ** 2))
        with self._lock:
            return max(0, wanted - len(self._given[key]))


def _pooled(repeated: Sequence[Sequence[float]]) -> float:
    means = [fmean(scores) for scores in repeated]
    squares = sum((score - mean) ** 2 for scores, mean in zip(repeated, means, strict=True) for score in scores)
    return math.sqrt(squares / sum(len(scores) - 1 for scores in repeated)) if squares > 1e-12 else 0.0
