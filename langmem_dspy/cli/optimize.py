"""`langmem-dspy optimize`: compile your own program from a file of examples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import Parameter
from cyclopts.types import ExistingFile

from langmem_dspy.cli.options import BudgetOptions, ModelOptions, TrackingOptions
from langmem_dspy.errors import InputError
from langmem_dspy.experimenting.ending import if_it_ends_early

if TYPE_CHECKING:
    import dspy
    from rich.console import Console

    from langmem_dspy.optimizers.teleprompter import PromptOptimizer


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """What to learn from, and what to judge on.

    Parameters
    ----------
    data
        Examples: JSONL, or CSV with a header.
    inputs
        The input fields, comma-separated. Default: the parameters of forward().
    valset
        Examples to judge on. Default: a part of --data.
    val_share
        How large that part is, from 0 to 1.
    """

    data: ExistingFile
    inputs: str | None = None
    valset: ExistingFile | None = None
    val_share: float = 0.4


@Parameter(name="*")
@dataclass(frozen=True)
class SearchOptions:
    """How the search goes.

    Parameters
    ----------
    optimizer
        How prompts are improved; multi_prompt finds out first which of several are to blame.
    guidance
        JSON file: {predictor: {"when_to_update": ..., "update_instructions": ...}}.
    max_steps
        Steps to take at most; as many as the budget and the evidence allow if not given.
    minibatch_size
        Examples each revision learns from.
    num_threads
        Calls at the same time.
    seed
        Seed of splits and minibatches.
    log_dir
        Keep a journal here: a killed run goes on where it was when it is started again.
    """

    optimizer: Literal["gradient", "metaprompt", "prompt_memory", "multi_prompt"] = "multi_prompt"
    guidance: ExistingFile | None = None
    max_steps: int | None = None
    minibatch_size: int = 8
    num_threads: int = 8
    seed: int = 0
    log_dir: Path | None = None


def optimize(
    program: str,
    *,
    metric: str,
    data: DataOptions,
    search: SearchOptions = SearchOptions(),
    budget: BudgetOptions = BudgetOptions(),
    models: ModelOptions = ModelOptions(),
    tracking: TrackingOptions = TrackingOptions(),
    out: Path = Path("optimized.json"),
) -> None:
    """Improve the prompts of your own program, show what changed, and save it.

    Load the result with `program.load("optimized.json")`.

    Parameters
    ----------
    program
        Your dspy.Module (an object, or a class or function that makes one), as `module:object`.
    metric
        `module:function`; metric(gold, pred, trace=None) gives a score from 0 to 1, or Prediction(score=, feedback=).
    out
        Where the compiled program's state goes.
    """
    import dspy
    from rich.console import Console

    from langmem_dspy.cli.loading import load_object, load_program

    console = Console()
    task, reflection = models.load(search.seed)
    models.announce(console, task, reflection)
    student = load_program(program)
    train, val = _splits(data, student, search.seed)
    optimizer = _optimizer(search, console, load_object(metric), reflection, budget)
    with if_it_ends_early(lambda: _kept_in(search.log_dir)), tracking.around(console), dspy.context(lm=task):
        compiled = optimizer.compile(student, trainset=train, valset=val)
    console.print(compiled.detailed_results)
    compiled.save(out)
    console.print(f'Saved to {out}; load it with [bold]program.load("{out}")[/].', highlight=False)


def _kept_in(log_dir: Path | None) -> str:
    if log_dir is None:
        return "Nothing is kept to go on from; with --log-dir, a run that was ended goes on where it was."
    return f"What was asked and answered is kept in {log_dir}: the same command goes on there."


def _splits(data: DataOptions, student: dspy.Module, seed: int) -> tuple[list[Any], list[Any]]:
    from langmem_dspy.cli.loading import load_examples, split

    if not 0 < data.val_share < 1:
        raise InputError(f"--val-share is between 0 and 1, got {data.val_share}")
    examples = load_examples(data.data, student, data.inputs)
    if data.valset is not None:
        return examples, load_examples(data.valset, student, data.inputs)
    return split(examples, data.val_share, seed)


def _optimizer(
    search: SearchOptions, console: Console, metric: Any, reflection: dspy.BaseLM, budget: BudgetOptions
) -> PromptOptimizer:
    from langmem_dspy.optimizers.kinds import MultiPromptOptimizer, make_proposer
    from langmem_dspy.optimizers.progress import Progress
    from langmem_dspy.optimizers.teleprompter import PromptOptimizer

    settings: dict[str, Any] = {
        "metric": metric,
        "reflection_lm": reflection,
        "guidance": _read_guidance(search.guidance),
        "budget": budget.budget(),
        "callbacks": [Progress(console)],
        **{name: getattr(search, name) for name in ("max_steps", "minibatch_size", "num_threads", "seed", "log_dir")},
    }
    if search.optimizer == "multi_prompt":
        return MultiPromptOptimizer(**settings)
    return PromptOptimizer(make_proposer(search.optimizer), **settings)


def _read_guidance(path: Path | None) -> dict[str, Any] | None:
    from langmem_dspy.cli.loading import json_object, text_of

    return None if path is None else json_object(text_of(path), str(path))
