"""Which models answer, as options of a command and as fields of an experiment's config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cyclopts import Parameter

from langmem_dspy.errors import InputError

if TYPE_CHECKING:
    import dspy
    from rich.console import Console


@Parameter(name="*")
@dataclass(frozen=True)
class OneModelOptions:
    """Which model answers.

    Parameters
    ----------
    model
        Model that answers, as dspy.LM takes it (openai/gpt-4.1-mini). Without one: the offline simulation.
    api_base
        Address of an OpenAI-compatible endpoint.
    engine
        Client for model strings: DSPy's own where it knows the model (auto), or always one of the two.
    profile
        How well the offline simulation works, when no --model is given.
    """

    model: str | None = None
    api_base: str | None = None
    engine: Literal["auto", "lm15", "litellm"] = "auto"
    profile: Literal["weak", "middle", "strong"] = "middle"

    @property
    def simulated(self) -> bool:
        return self.model is None

    def load(self, seed: int = 0) -> dspy.BaseLM:
        """The model."""
        return _load_model(self.model, self, seed)

    def announce(self, console: Console, lm: dspy.BaseLM) -> None:
        """Say in the first line which model answers."""
        if self.simulated:
            _announce_simulation(console, lm)
        else:
            console.print(f"Model {lm.model}", highlight=False)


@Parameter(name="*")
@dataclass(frozen=True)
class ModelOptions:
    """Which models answer.

    Parameters
    ----------
    model
        Model that runs the program, as dspy.LM takes it (openai/gpt-4.1-mini). Without one: the offline simulation.
    reflection_model
        Model that reads feedback and rewrites prompts. Default: the same as --model.
    api_base
        Address of an OpenAI-compatible endpoint, for both models.
    engine
        Client for model strings: DSPy's own where it knows the model (auto), or always one of the two.
    profile
        How well the offline simulation follows and writes instructions, when no --model is given.
    """

    model: str | None = None
    reflection_model: str | None = None
    api_base: str | None = None
    engine: Literal["auto", "lm15", "litellm"] = "auto"
    profile: Literal["weak", "middle", "strong"] = "middle"

    @property
    def simulated(self) -> bool:
        return self.model is None

    def load(self, seed: int = 0) -> tuple[dspy.BaseLM, dspy.BaseLM]:
        """The task model and the reflection model."""
        if self.model is None and self.reflection_model:
            raise InputError("--reflection-model needs --model; without it the simulation answers")
        task = _load_model(self.model, self, seed)
        return task, _load_model(self.reflection_model, self, seed) if self.reflection_model else task

    def announce(self, console: Console, task: dspy.BaseLM, reflection: dspy.BaseLM) -> None:
        """Say in the first line which models answer."""
        if self.simulated:
            _announce_simulation(console, task)
        else:
            console.print(f"Task model {task.model}, reflection model {reflection.model}", highlight=False)


def _load_model(model: str | None, options: OneModelOptions | ModelOptions, seed: int) -> dspy.BaseLM:
    import dspy

    if model is None:
        if options.api_base:
            raise InputError("--api-base needs --model; without it the simulation answers")
        from langmem_dspy import simulation

        return simulation.offline_lm(profile=options.profile, seed=seed)
    base = {"api_base": options.api_base} if options.api_base else {}
    try:
        return dspy.LM(model, engine=options.engine, **base)
    except ValueError as error:
        raise InputError(f"no model can be meant by {model!r}: {error}") from error


def _announce_simulation(console: Console, lm: dspy.BaseLM) -> None:
    console.print(
        f"[yellow]No --model given: the offline simulation answers ({lm.model}).[/] It follows simple rules that it "
        "reads; its figures say nothing about real models.",
        highlight=False,
    )
