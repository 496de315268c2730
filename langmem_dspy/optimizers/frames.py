"""What a run left behind as pandas frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from langmem_dspy.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from langmem_dspy.optimizers.results import DetailedResults

Table = Literal["candidates", "lessons", "examples", "credit"]


def frame(results: DetailedResults, of: Table) -> pd.DataFrame:
    """Raises `InputError` for a table there is none of. A table without rows has its columns."""
    import pandas as pd

    if of not in get_args(Table):
        raise InputError(f"to_frame({of!r}): choose from {', '.join(get_args(Table))}")
    if of == "credit":
        return _credit(results)
    rows, columns = {"candidates": _candidates, "lessons": _lessons, "examples": _examples}[of](results)
    return pd.DataFrame(rows, columns=columns)


Rows = tuple[list[dict[str, Any]], list[str]]


def _candidates(results: DetailedResults) -> Rows:
    rows = [
        {
            "candidate": c.index,
            "step": c.step,
            "parent": c.parent,
            "changed": ", ".join(c.changed),
            "minibatch": sum(c.minibatch_scores.values()) / len(c.minibatch_scores) if c.minibatch_scores else None,
            "valset": c.score,
            "accepted": c.accepted,
            "reason": c.reason,
            "lm_calls": c.lm_calls,
            "tokens": c.tokens,
            "cost": c.cost,
        }
        for c in results.candidates
    ]
    return rows, list(rows[0])


def _lessons(results: DetailedResults) -> Rows:
    columns = ["predictor", "text", "replaces", "fate", "gain", "step", "evidence", "tried_on", "note"]
    return [{name: getattr(lesson, name) for name in columns} for lesson in results.lessons], columns


def _examples(results: DetailedResults) -> Rows:
    """The validation examples that baseline and best were both scored on, the greatest loss first."""
    before, after = results.baseline.valset_scores, results.best.valset_scores
    rows = [
        {"example": name, "before": before[name], "after": after[name], "change": after[name] - before[name]}
        for name in before
        if name in after
    ]
    return sorted(rows, key=lambda row: (row["change"], row["example"])), ["example", "before", "after", "change"]


def _credit(results: DetailedResults) -> pd.DataFrame:
    """A row for each step, a column for each predictor: how often it was blamed, 0 to 1."""
    import pandas as pd

    steps = pd.RangeIndex(1, len(results.credit) + 1, name="step")
    shares = [[step.get(name, 0.0) for name in results.baseline.prompts] for step in results.credit]
    return pd.DataFrame(shares, index=steps, columns=list(results.baseline.prompts), dtype=float)
