"""An experiment's command line: its config as flags, TOML underneath, and how to run it."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from cyclopts import App, Group, Parameter
from cyclopts.config import Toml
from cyclopts.types import ExistingFile

from langmem_dspy.experimenting.ending import ending_in_one_line

if TYPE_CHECKING:
    from langmem_dspy.experimenting.defining import Experiment

_QUESTION = Group("What is measured", sort_key=1)
_RUNNING = Group("Running it", sort_key=2)
_KEPT = re.compile(r"\s|[-*+] |\d+[.)] ")


@dataclass(frozen=True)
class RunOptions:
    """How an experiment is run.

    Parameters
    ----------
    seeds
        How many seeds, from 0. Default: as many as the experiment asks for.
    variants
        Which variants; repeat for several. Default: all. The baseline is always measured.
    vary
        Measure every cell for several values of an option: seed=0..4, lm_calls=100,400; repeat for a grid.
    fresh
        Measure again what was finished before.
    track
        Leave every cell in MLflow.
    tracking_uri
        Which MLflow. Default: MLFLOW_TRACKING_URI, else ./mlflow.db.
    out
        Also write table.md, table.csv and plot.png here.
    folder
        Where finished cells are kept.
    """

    seeds: int | None = None
    variants: tuple[str, ...] = ()
    vary: tuple[str, ...] = ()
    fresh: bool = False
    track: bool = True
    tracking_uri: str | None = None
    out: Path | None = None
    folder: Path = Path(".langmem/experiments")


def main(experiment: Experiment[Any], arguments: Sequence[str] | None = None) -> None:
    """Run the command line; see `ending_in_one_line` for how it ends if it goes wrong."""
    with ending_in_one_line():
        command(experiment, sys.argv[0] if arguments is None else experiment.source.name)(arguments)


def command(experiment: Experiment[Any], name: str) -> App:
    """The command line as an app that takes arguments; `name` is what it calls itself."""
    app = App(
        name=name,
        help=_help(experiment),
        help_format="plaintext",
        version_flags=(),
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # it is told by `ending_in_one_line`
    )
    app.default(_body(experiment))

    @app.meta.default
    def configured(
        *arguments: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        config: Annotated[ExistingFile | None, Parameter(group=_RUNNING)] = None,
    ) -> None:
        """Read the TOML file first, so that flags win.

        Parameters
        ----------
        config
            TOML file of options, by their names here with _ for -; flags win over it.
        """
        if config is not None:
            app.config = (Toml(config, must_exist=True, use_commands_as_keys=False),)
        app(arguments)

    app.meta.help, app.meta.suppress_keyboard_interrupt = app.help, False
    return app.meta


def _body(experiment: Experiment[Any]) -> Any:
    """A function with the experiment's config as its parameters, which is what cyclopts reads."""

    def body(config: Any = None, running: RunOptions = RunOptions()) -> None:
        from rich.console import Console

        console = Console(file=sys.stdout)
        names = ("seeds", "variants", "vary", "fresh", "track", "tracking_uri", "folder")
        outcome = experiment.run(config, console=console, **{name: getattr(running, name) for name in names})
        console.print(outcome)
        if running.out is not None:
            outcome.save(running.out)
            console.print(f"Table and plot are in {running.out}.", highlight=False)

    # cyclopts looks names in annotations up where the class stands; those of a base may be known elsewhere alone.
    experiment.config.__init__.__annotations__.update(get_type_hints(experiment.config, include_extras=True))
    keyword = inspect.Parameter.KEYWORD_ONLY
    flags: dict[str, Any] = {"name": "*", "negative_iterable": ()}
    parameters = [
        inspect.Parameter(
            "config", keyword, annotation=Annotated[experiment.config, Parameter(group=_QUESTION, **flags)]
        ),
        inspect.Parameter("running", keyword, annotation=Annotated[RunOptions, Parameter(group=_RUNNING, **flags)]),
    ]
    if not _required(experiment.config):
        parameters[0] = parameters[0].replace(default=experiment.config())
    parameters[1] = parameters[1].replace(default=RunOptions())
    body.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    body.__annotations__ = {p.name: p.annotation for p in parameters}
    return body


def _required(kind: type) -> bool:
    return any(p.default is p.empty for p in inspect.signature(kind).parameters.values())


def _help(experiment: Experiment[Any]) -> str:
    direction = "higher" if experiment.higher_is_better else "lower"
    what = (
        f"Variants: {', '.join(experiment.variants)} (baseline: {experiment.baseline}). The figure that counts: "
        f"{experiment.score}, {direction} is better. {experiment.seeds} seeds unless said otherwise.\n\n"
        "Finished cells are kept: after a kill the same command goes on, and a sweep measures only what is new."
    )
    return f"{_refolded(experiment.text)}\n\n{what}"


def _refolded(text: str) -> str:
    """Paragraphs in a line each, for a terminal to fold; lists, and commands, which are indented, as they are."""
    paragraphs = (paragraph.splitlines() for paragraph in text.split("\n\n"))
    return "\n\n".join(("\n" if any(map(_KEPT.match, lines)) else " ").join(lines) for lines in paragraphs)
