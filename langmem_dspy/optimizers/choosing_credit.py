"""The ways to assign credit by name, and the choice among them by what they cost and how often they tell.

"trace": what feedback and fields say outright, for no calls. "model": a model asked about the rest; published figures
have models name the guilty step about half of the time. "counterfactual": the rest by correcting one answer and running
again what follows. "auto": the trace, and for the rest whichever of the other two tells more for a call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import dspy

from langmem_dspy.errors import InputError
from langmem_dspy.optimizers.counterfactual import CounterfactualCredit
from langmem_dspy.optimizers.credit import Blame, Credit, CreditAssigner, TraceCredit, blame_by_trace, merged
from langmem_dspy.optimizers.interventions import Interventions
from langmem_dspy.optimizers.prompts import as_prompts
from langmem_dspy.optimizers.trajectories import read_trajectories

CreditKind = Literal["trace", "model", "counterfactual", "auto"]

MODELS_CONFIDENCE = 0.5  # how far what a model names is believed beside what a replay shows


def credit_by(kind: CreditKind | Callable[..., dspy.Prediction]) -> Callable[..., dspy.Prediction]:
    """The way of this name; a callable is one already. Raises `InputError` for a name there is none of."""
    if callable(kind):
        return kind
    if kind not in get_args(CreditKind):
        raise InputError(f"credit is one of {', '.join(get_args(CreditKind))} or a module, got {kind!r}")
    made: dict[str, Callable[[], Callable[..., dspy.Prediction]]] = {
        "trace": TraceCredit,
        "model": CreditAssigner,
        "counterfactual": CounterfactualCredit,
        "auto": ChosenCredit,
    }
    return made[kind]()


@dataclass
class _Way:
    """One way, with what it has cost and told so far. `told`: trajectories it narrowed down, by its confidence."""

    assign: dspy.Module
    confidence: float
    calls: int = 0
    asked: int = 0
    told: float = 0.0

    @property
    def worth(self) -> float:
        """Trajectories told for a call; a way that was not tried yet is worth a try."""
        return self.told / (self.calls + 1) if self.asked else float("inf")


class ChosenCredit(dspy.Module):
    """The trace where it tells; for the rest, the way that has told most for a call so far, each tried once first."""

    def __init__(self) -> None:
        super().__init__()
        self.replays, self.model = CounterfactualCredit(by_trace=False), CreditAssigner(by_trace=False)
        self._ways = [_Way(self.replays, 1.0), _Way(self.model, MODELS_CONFIDENCE)]

    def forward(
        self,
        prompts: Sequence[Any],
        trajectories: Any,
        outline: str = "",
        interventions: Interventions | None = None,
    ) -> dspy.Prediction:
        """Prediction(blame=[Blame], dropped=[str]), in the order of `prompts`."""
        names = [prompt["name"] for prompt in as_prompts(prompts)]
        read = read_trajectories(trajectories, names)
        traced, unclear = blame_by_trace(read, names)
        if not unclear or interventions is None:
            rest = TraceCredit()(prompts=prompts, trajectories=unclear)
            return Credit(blame=merged([*traced, *rest.blame], read, names), dropped=[])
        way = max(self._ways, key=lambda known: known.worth)
        before = interventions.lm_calls()
        given = {"outline": outline} if way.assign is self.model else {"interventions": interventions}
        answer = way.assign(prompts=prompts, trajectories=unclear, **given)
        blame = cast(list[Blame], answer.blame)
        way.calls += interventions.lm_calls() - before
        way.asked += len(unclear)
        way.told += way.confidence * sum(0 < _blamed(blame, t.id) < len(names) for t in unclear)
        return Credit(blame=merged([*traced, *blame], read, names), dropped=answer.dropped)


def _blamed(blame: Sequence[Blame], trajectory_id: str) -> int:
    """How many prompts are blamed for this trajectory."""
    return sum(trajectory_id in entry.evidence or not entry.evidence for entry in blame)
