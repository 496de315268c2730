"""Is the candidate better? Scores of the same examples, before and after, are compared example by example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Scores = Mapping[str, float]


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate may go on, and why, in words for a table."""

    accepted: bool
    reason: str


@dataclass(frozen=True)
class MeanImproves:
    """Accepts what raises the mean by more than `margin` (in score, [0, 1]) over the examples both were scored on.

    The comparison is paired: an example that failed to be scored on one side says nothing on the other.
    """

    margin: float = 0.0

    def __call__(self, before: Scores, after: Scores, split: str) -> Verdict:
        shared = before.keys() & after.keys()
        if not shared:
            return Verdict(False, f"no {split} example was scored both before and after")
        gain = sum(after[i] - before[i] for i in shared) / len(shared)
        old = sum(before[i] for i in shared) / len(shared)
        # Means of the same few numbers differ by rounding; that is no improvement.
        accepted = gain > self.margin + 1e-9
        word = "better" if accepted else ("worse" if gain < -1e-9 else "not better")
        return Verdict(accepted, f"{word} on the {split}: {old:.3f} -> {old + gain:.3f}")
