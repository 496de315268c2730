"""Frozen events that long work hands to `callbacks`; progress bars, the journal and tracking only listen.

A listener is any callable that takes one event. It runs in the thread that does the work, so it must be quick; one that
raises is reported once and left out from then on, and never ends the work it listens to.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """Something that happened in the run `run_id`. `at` is Unix time in seconds."""

    run_id: str
    at: float = field(default_factory=time.time, kw_only=True)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form, with the event's kind."""
        return {"event": type(self).__name__, **asdict(self)}


@dataclass(frozen=True)
class CompileStarted(Event):
    """A compile began. `settings` are the optimizer's own, `prompts` the student's by predictor, `dataset` sizes and
    digests: {"train": {"size": 20, "digest": "..."}, "val": {...}}.
    """

    optimizer: str
    settings: Mapping[str, Any]
    models: Mapping[str, str]
    simulated: bool
    prompts: Mapping[str, str]
    dataset: Mapping[str, Any]


@dataclass(frozen=True)
class CandidateEvaluated(Event):
    """A candidate's scores, per example, in [0, 1]; `ids` name the examples. `split`: "minibatch" or "valset"."""

    step: int
    candidate: int
    split: str
    score: float
    scores: tuple[float, ...]
    ids: tuple[str, ...]


@dataclass(frozen=True)
class CreditAssigned(Event):
    """`blame`: predictor name -> reason; `evidence`: predictor name -> ids of the trajectories it rests on."""

    step: int
    blame: Mapping[str, str]
    evidence: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class ContradictionFound(Event):
    """Two things that the feedback says and that cannot both be so, with the ids of the examples each was said of."""

    step: int
    first: str
    second: str
    first_examples: tuple[str, ...]
    second_examples: tuple[str, ...]


@dataclass(frozen=True)
class PromptRevised(Event):
    """One prompt's revision, or why there is none (`rejected`)."""

    step: int
    predictor: str
    before: str
    after: str | None
    rationale: str
    rejected: str | None = None


@dataclass(frozen=True)
class StepFinished(Event):
    """The end of one step: what was tried, what it scored, what has been spent so far."""

    step: int
    candidate: int | None
    parent: int
    accepted: bool
    reason: str
    train_before: float | None
    train_after: float | None
    candidate_score: float | None
    best_score: float | None
    credit: Mapping[str, float]
    lm_calls: int
    tokens: int
    cost: float


@dataclass(frozen=True)
class CompileFinished(Event):
    """The end of a run. `result` is `DetailedResults.to_dict()`; `error` is set when the run failed."""

    stop_reason: str
    result: Mapping[str, Any] | None
    error: str | None = None

    @property
    def why(self) -> str:
        """In words: the error that ended the run, else its stop reason."""
        return "interrupted" if self.error == "KeyboardInterrupt" else self.error or self.stop_reason


@dataclass(frozen=True)
class HeldOutEvaluated(Event):
    """Student and compiled program on examples no optimizer saw: means, and scores by example id, in [0, 1].

    Comes after the run's `CompileFinished`. `label` is the optimizer's name in the comparison.
    """

    label: str
    problem: str
    seed: int
    before: float
    after: float
    scores_before: Mapping[str, float]
    scores_after: Mapping[str, float]


@dataclass(frozen=True)
class PromptsVersioned(Event):
    """Online learning made a version of the prompts, or put one in use. `alias`: "champion" (in use) or "candidate".

    An alias points at one version; rolling back moves it to an earlier one. `before` and `after`: mean scores in [0, 1]
    on what the version was tried on, None where it was tried on nothing.
    """

    version: int
    alias: str
    prompts: Mapping[str, str]
    reason: str
    before: float | None = None
    after: float | None = None


Listener = Callable[[Any], None]

_subscribed: list[Listener] = []


def subscribe(listener: Listener) -> Callable[[], None]:
    """Hand the events of every run in this process to `listener`; returns what ends that."""
    _subscribed.append(listener)
    return lambda: _subscribed.remove(listener) if listener in _subscribed else None


class Announcer:
    """Hands each event to every listener, in order; a listener that fails is dropped with one warning."""

    def __init__(self, listeners: Iterable[Listener] = ()) -> None:
        self._listeners = [*listeners, *_subscribed]

    def __call__(self, event: Event) -> None:
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001 - a listener's fault must not end the work it listens to
                self._listeners.remove(listener)
                kind = type(event).__name__
                logger.warning("listener %r failed on %s and is left out from now on: %r", listener, kind, error)
