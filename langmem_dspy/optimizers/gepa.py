"""Whole-prompt search: our proposers and our credit, handed to `dspy.GEPA` (Agrawal et al., 2025, arXiv:2507.19457).

    dspy.GEPA(
        metric=metric, reflection_lm=lm, auto="light",
        instruction_proposer=as_gepa_proposer(Gradient()), component_selector=as_gepa_selector(),
    )

For problems that a search by lessons does not fit: where prompts must be rewritten as wholes, and LM calls are plenty.
GEPA keeps its Pareto pool, its merges and its acceptance; what changes is who rewrites a prompt, and which. A rewrite
that would lose a `{variable}` is mended or not taken, and the prompt to rewrite is the one whose output was wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dspy

from langmem_dspy.errors import InputError
from langmem_dspy.optimizers.credit import TraceCredit
from langmem_dspy.optimizers.prompts import Prompt, broken_by, is_frozen
from langmem_dspy.optimizers.rollouts import in_threads
from langmem_dspy.optimizers.trajectories import Step, Trajectory, read_feedback, read_score

Guidance = Mapping[str, Mapping[str, str]]


def as_gepa_proposer(
    proposer: dspy.Module, *, guidance: Guidance | None = None, num_threads: int = 8
) -> Callable[..., dict[str, str]]:
    """A proposer of ours as GEPA's `instruction_proposer`. `guidance`: as for `PromptOptimizer`.

    A prompt that the proposer declines to change, or that its owner froze, is handed back as it was.
    """
    if not isinstance(proposer, dspy.Module):
        raise InputError(f"proposer is a dspy.Module such as Gradient(), got {proposer!r}")

    def propose(
        candidate: Mapping[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: Sequence[str],
    ) -> dict[str, str]:
        def revised(name: str) -> str:
            prompt = Prompt(name=name, prompt=candidate[name], **(guidance or {}).get(name, {}))  # type: ignore[typeddict-item]
            evidence = [_read_record(name, i, r) for i, r in enumerate(reflective_dataset.get(name) or [], 1)]
            if is_frozen(prompt) or not evidence:
                return candidate[name]
            text = proposer(prompt=prompt, trajectories=evidence).prompt
            broken = broken_by(candidate[name], text if isinstance(text, str) else "")
            return candidate[name] if broken else str(text)

        names = list(components_to_update)
        return dict(zip(names, in_threads(revised, names, num_threads), strict=True))

    return propose


def as_gepa_selector(
    credit: Callable[..., dspy.Prediction] | None = None,
    *,
    guidance: Guidance | None = None,
    student: dspy.Module | None = None,
) -> Callable[..., list[str]]:
    """Credit of ours as GEPA's `component_selector`: the prompts to blame for what went wrong on a minibatch.

    `credit`: `TraceCredit()` if None, which asks nobody. Where it blames none, GEPA's turn-by-turn choice stands.
    `student`: what GEPA is to compile. GEPA's traces do not name predictors, and their instructions do not tell those
    apart that begin with the same; with the student they are told by what DSPy's copies of them share, without it the
    first that ran is taken for the first that is listed, and so on.
    """
    assign = credit or TraceCredit()
    names_by_stage = {} if student is None else _by_stage(student)

    def select(
        state: Any,
        trajectories: Sequence[Any],
        subsample_scores: Sequence[float],
        candidate_idx: int,
        candidate: Mapping[str, str],
    ) -> list[str]:
        prompts = [Prompt(name=n, prompt=t, **(guidance or {}).get(n, {})) for n, t in candidate.items()]  # type: ignore[typeddict-item]
        free = [prompt for prompt in prompts if not is_frozen(prompt)] or prompts
        names = _Names(names_by_stage, candidate)
        read = [_read_trace(i, t, candidate, names) for i, t in enumerate(trajectories or [], 1)]
        failing = [t for t in read if t.score is None or t.score < 1]
        blamed = [blame.name for blame in assign(prompts=free, trajectories=failing).blame] if failing else []
        known = {prompt["name"] for prompt in free}
        return [name for name in blamed if name in known] or [_in_turn(state, candidate_idx, free)]

    return select


def _in_turn(state: Any, candidate_idx: int, prompts: Sequence[Prompt]) -> str:
    """The next of the prompts that may change, in the turn that GEPA keeps for each candidate."""
    turns = state.named_predictor_id_to_update_next_for_program_candidate
    names = [prompt["name"] for prompt in prompts]
    name = names[turns[candidate_idx] % len(names)]
    turns[candidate_idx] = (turns[candidate_idx] + 1) % len(state.list_of_named_predictors)
    return name


def _read_record(name: str, number: int, record: Mapping[str, Any]) -> Trajectory:
    """One entry of GEPA's reflective dataset: what a predictor saw and said, and the feedback on that."""
    inputs, said = record.get("Inputs") or {}, record.get("Generated Outputs")
    feedback = read_feedback(record.get("Feedback"))
    if isinstance(said, Mapping):
        step = Step(name, dict(inputs), dict(said))
    else:  # what could not be parsed
        step = Step(name, dict(inputs), None, read_feedback(said) or "the output could not be parsed")
    return Trajectory(f"t{number}", steps=(step,), predictor_feedback={name: feedback} if feedback else {})


def _by_stage(student: dspy.Module) -> dict[str, str]:
    """The names of predictors by DSPy's mark of each, which its copies keep; not of those that were copied within."""
    marks = Counter(predictor.stage for predictor in student.predictors())
    return {p.stage: name for name, p in student.named_predictors() if marks[p.stage] == 1}


class _Names:
    """What the predictors in GEPA's traces of one candidate are called."""

    def __init__(self, by_stage: Mapping[str, str], candidate: Mapping[str, str]) -> None:
        self._by_stage, self._candidate = by_stage, candidate
        self._given: dict[int, str] = {}

    def of(self, predictor: dspy.Predict) -> str | None:
        name = self._by_stage.get(predictor.stage)
        return name if name in self._candidate else self._given.get(id(predictor)) or self._give(predictor)

    def _give(self, predictor: dspy.Predict) -> str | None:
        """Of those with its instructions, the first that no other predictor has."""
        text = predictor.signature.instructions
        alike = [name for name, told in self._candidate.items() if told == text]
        taken = {*self._given.values(), *self._by_stage.values()}
        name = next((name for name in alike if name not in taken), None)
        if name is not None:
            self._given[id(predictor)] = name
        return name


def _read_trace(number: int, entry: Mapping[str, Any], candidate: Mapping[str, str], names: _Names) -> Trajectory:
    """One of the runs that GEPA captured."""
    steps = []
    for predictor, inputs, outputs in entry.get("trace") or []:
        name = names.of(predictor)
        if name is not None and isinstance(outputs, dspy.Prediction):
            steps.append(Step(name, dict(inputs), outputs.toDict()))
    judged = entry.get("score")
    score = judged.get("score") if isinstance(judged, dspy.Example) else judged
    feedback = judged.get("feedback") if isinstance(judged, dspy.Example) else None
    said = feedback if isinstance(feedback, Mapping) else {}
    return Trajectory(
        f"t{number}",
        steps=tuple(steps),
        feedback="" if said else read_feedback(feedback),
        predictor_feedback={str(name): str(text) for name, text in said.items() if name in candidate and text},
        score=read_score(score),
    )
