"""From events to what MLflow keeps beside a run: metrics, params, tags, name and description. Pure functions.

Metrics carry the time of their event, so that logging an event twice changes nothing: a point of a metric is its key,
time, step and value. Keys are chosen so that `eval/best_score` is the first chart of a run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from langmem_dspy._version import __version__
from langmem_dspy.tracking.history import RunHistory

# MLflow's own limits; longer values would be refused by some of its stores and cut off by others.
MAX_PARAM, MAX_TAG, MAX_KEY = 6000, 5000, 250
RUN_ID_TAG = "langmem_dspy.run_id"

_STEP_METRICS = {
    "eval/best_score": "best_score",
    "eval/candidate_score": "candidate_score",
    "eval/train_before": "train_before",
    "eval/train_after": "train_after",
    "lm/calls": "lm_calls",
    "lm/tokens": "tokens",
    "step/accepted": "accepted",
}
_COST = "lm/cost_usd"
_BY_CALLS = "eval/best_score_by_lm_calls"  # its step is the number of LM calls made


class Point(NamedTuple):
    """One value of a metric. `at` is in milliseconds of Unix time."""

    key: str
    value: float
    step: int
    at: int


def points_of(event: Mapping[str, Any], history: RunHistory) -> Iterator[Point]:
    """The metric values of one event, of which `history` knows already; what is not known is left out, never a 0."""
    at = _moment(event)
    for key, value, step in _values_of(event, history):
        if isinstance(value, int | float) and math.isfinite(value):
            yield Point(key, float(value), step, at)


def summary_points(history: RunHistory) -> Iterator[Point]:
    """What a finished run comes to: one value each. What was spent after the last step is a point behind it."""
    last = history.steps[-1] if history.steps else {}
    step = int(last.get("step", 0))
    for key, value in summary_of(history).items():
        if value is None or not math.isfinite(value):
            continue
        told = last.get("cost" if key == _COST else _STEP_METRICS.get(key, ""))
        if told != value:
            yield Point(key, float(value), step if told is None else step + 1, _moment(history.finished))


def summary_of(history: RunHistory) -> dict[str, float | None]:
    before, after = history.score_before, history.score_after
    results = history.detailed
    return {
        "run/score_before": before,
        "run/score_after": after,
        "run/improvement": None if before is None or after is None else after - before,
        "run/prompts_changed": len(results.changed) if results else None,
        "run/candidates": len(results.candidates) if results else None,
        "run/steps": len(history.steps),
        "run/seconds": history.seconds,
        "lm/calls": results.usage.whole_run.lm_calls if results else None,
        "lm/tokens": results.usage.whole_run.tokens if results else None,
        _COST: results.usage.whole_run.cost or None if results else None,
    }


def params_of(started: Mapping[str, Any], git_commit: str | None) -> dict[str, str]:
    """What the run was given: optimizer, settings, models, datasets, the state of the user's code."""
    given = {
        "optimizer": started["optimizer"],
        **_flat("", started.get("settings") or {}),
        **_flat("model", started.get("models") or {}),
        **_flat("data", started.get("dataset") or {}),
        "prompts": len(started.get("prompts") or {}),
        **({"git_commit": git_commit} if git_commit else {}),
    }
    return {metric_key(key): clean(str(value), MAX_PARAM) for key, value in given.items()}


def tags_of(started: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, str]:
    """How the run is found and told apart."""
    commit, program = about.get("git_commit"), about.get("program")
    tags = {
        RUN_ID_TAG: started["run_id"],
        "langmem_dspy.version": __version__,
        "simulated": "yes" if started.get("simulated") else "no",
        "simulation_fingerprint": about.get("simulation_fingerprint"),
        "program": program,
        "mlflow.note.content": description(started),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": about.get("source"),
        "mlflow.source.git.commit": commit,
        "mlflow.user": about.get("user"),
    }
    return {key: clean(str(value), MAX_TAG) for key, value in tags.items() if value}


def closing_tags(history: RunHistory) -> dict[str, str]:
    """What is known only at the end."""
    error = history.finished.get("error")
    tags = {
        "stop_reason": history.finished.get("stop_reason") or "unknown",
        "error": error,
        "problem": history.held_out.get("problem"),
        "mlflow.note.content": description(history.started, history),
    }
    return {key: clean(str(value), MAX_TAG) for key, value in tags.items() if value}


def run_name(started: Mapping[str, Any]) -> str:
    """Tells a run apart in MLflow's narrow column: optimizer, seed, and whether it is simulated."""
    seed = (started.get("settings") or {}).get("seed")
    optimizer = str(started["optimizer"]).removesuffix("Optimizer") or "Optimizer"
    parts = [
        optimizer,
        *([] if seed is None else [f"seed {seed}"]),
        *(["simulated"] if started.get("simulated") else []),
    ]
    return clean(" · ".join(parts), MAX_KEY)


def description(started: Mapping[str, Any], history: RunHistory | None = None) -> str:
    """Markdown that MLflow shows on top of the run."""
    lines = []
    if started.get("simulated"):
        lines.append("**Offline simulation.** These figures say nothing about real models.\n")
    if history is None:
        return "\n".join([*lines, "Under way."])
    before, after = (_score(s) for s in (history.score_before, history.score_after))
    results = history.detailed
    lines.append(f"Score on the validation set: {before} → **{after}**. Stopped: {history.finished['stop_reason']}.")
    if history.finished.get("error"):
        lines.append(f"\nFailed: `{history.finished['error']}`")
    if history.held_out:
        unseen = (f"{history.held_out[key]:.3f}" for key in ("before", "after"))
        lines.append(f"\nOn held-out examples: {' → '.join(unseen)}.")
    if results:
        changed = ", ".join(f"`{name}`" for name in results.changed) or "none"
        lines.append(f"\nPrompts changed: {changed}.")
    lines.append("\nThe whole story, with coloured diffs, is in `report.html` under Artifacts.")
    return "\n".join(lines)


def metric_key(name: str) -> str:
    """`name` in the characters MLflow allows in the key of a metric or param."""
    return re.sub(r"[^\w .:/-]+", "_", name, flags=re.ASCII)[:MAX_KEY] or "unnamed"


def clean(text: str, limit: int) -> str:
    """Text that any database takes (no lone surrogates, no NUL), cut to `limit` characters with a sign of it."""
    text = text.encode("utf-8", "replace").decode().replace("\0", "")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _values_of(event: Mapping[str, Any], history: RunHistory) -> Iterator[tuple[str, Any, int]]:
    match event.get("event"):
        case "StepFinished":
            step = int(event["step"])
            yield from ((key, event.get(field), step) for key, field in _STEP_METRICS.items())
            yield _BY_CALLS, event.get("best_score"), int(event["lm_calls"])
            if event.get("cost"):  # 0: no price is known
                yield from [(_COST, 0, 0)] if step == 1 else []
                yield _COST, event["cost"], step
            for name, share in (event.get("credit") or {}).items():
                yield f"predictor_credit/{metric_key(name)}", share, step
        case "CandidateEvaluated" if event["split"] == "valset":
            made_in = history.step_of(event["candidate"])
            yield "eval/candidate_score", event["score"], int(event["step"]) if made_in is None else made_in
            if event["candidate"] == 0:
                yield "eval/best_score", event["score"], 0
                yield _BY_CALLS, event["score"], 0
                yield "lm/calls", 0, 0  # the student was there before anything was spent: where curves begin
                yield "lm/tokens", 0, 0
        case "CompileFinished":
            yield from (("eval/best_score", score, step) for step, score in history.best_curve)
            spent = {int(told["step"]): int(told["lm_calls"]) for told in history.steps}
            yield from ((_BY_CALLS, score, spent[step]) for step, score in history.best_curve if step in spent)
        case "HeldOutEvaluated":
            before, after = event["before"], event["after"]
            yield "heldout/score_before", before, 0
            yield "heldout/score_after", after, 0
            yield "heldout/improvement", after - before, 0


def _moment(event: Mapping[str, Any]) -> int:
    return int(float(event.get("at", 0)) * 1000)


def _flat(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        flat.update(_flat(name, value) if isinstance(value, Mapping) and value else {name: value})
    return flat


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
