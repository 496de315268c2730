"""`langmem-dspy prompts`: prompts of programs as versions in MLflow's registry, with aliases, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from langmem_dspy.cli.prompts_files import prompts_of, read_side, write_prompts
from langmem_dspy.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from langmem_dspy.tracking import RegisteredPrompt

prompts = App(
    name="prompts",
    help_format="markdown",
    help="""
Keep the prompts of programs as versions in MLflow's prompt registry.

A prompt is called `PROGRAM.PREDICTOR`, such as `HelpDesk-1a2b.triage`; `HelpDesk-1a2b` stands for all prompts of the
program. Versions are named `NAME/3`, or by an alias: `NAME@best` (set by tracked runs), `NAME@champion` (what is in
use, as you set it). `NAME` alone is the newest.

    langmem-dspy prompts list
    langmem-dspy prompts push help_desk.json --name HelpDesk --alias champion
    langmem-dspy prompts diff HelpDesk@champion HelpDesk@best
    langmem-dspy prompts pull HelpDesk@champion --into help_desk.json
    langmem-dspy prompts rollback HelpDesk --alias champion

Every command takes `--tracking-uri`. Default: MLFLOW_TRACKING_URI, else ./mlflow.db.
""",
)

_Uri = Annotated[str | None, Parameter(help="Which MLflow. Default: MLFLOW_TRACKING_URI, else ./mlflow.db.")]


@prompts.command(name="list")
def list_prompts(name: str = "", *, tracking_uri: _Uri = None) -> None:
    """List versions: the aliases that point at each, the score it was measured with, and where it came from.

    Parameters
    ----------
    name
        A program or a prompt. Default: everything.
    """
    from rich.console import Console

    from langmem_dspy.tracking import PromptVersions

    _tell(PromptVersions(tracking_uri).versions(name), Console())


@prompts.command
def push(
    source: str, *, name: str | None = None, alias: str | None = None, message: str = "", tracking_uri: _Uri = None
) -> None:
    """Make versions of a program's prompts. A text that is there already gets no second version.

    Parameters
    ----------
    source
        A program saved as JSON (`program.save("p.json")`), or a program as module:object, or a JSON file of
        {predictor: text}.
    name
        Name of the program in the registry. Default: module:object has one; for a file, the registered program with
        the same predictors.
    alias
        Let this alias point at these versions, such as champion. `prompts rollback` takes it back.
    message
        Why; it is shown beside the versions.
    """
    from rich.console import Console

    from langmem_dspy.tracking import PromptVersions

    registry = PromptVersions(tracking_uri)
    given = prompts_of(source)
    known = {(version.name, version.version) for version in registry.versions()}
    pushed = registry.push(given, name=name, alias=alias, message=message)
    news = {(version.name, version.version) for version in pushed.values()} - known
    console = Console()
    _tell(pushed.values(), console)
    console.print(f"{len(news)} new, {len(pushed) - len(news)} there already.", highlight=False)


@prompts.command
def pull(
    reference: str,
    *,
    into: str | None = None,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    tracking_uri: _Uri = None,
) -> None:
    """Fetch prompts: print them, write them down as {predictor: text}, or put them into a program.

    Parameters
    ----------
    reference
        NAME, NAME@alias or NAME/version; NAME is a program or one prompt.
    into
        A program to put them into: saved JSON, or module:object. What else it holds (demos, fields) is kept, and so are
        prompts that the reference does not name.
    out
        The JSON file to write; `program.load` reads it if there was an --into. Default: --into, where that is a file.
    """
    from rich.console import Console

    from langmem_dspy.tracking import PromptVersions

    console, registry = Console(), PromptVersions(tracking_uri)
    if into is None:
        pulled = registry.pull(reference)
        for version in pulled.values() if out is None else ():
            console.print(f"[bold]{version}[/]", highlight=False)
            console.print(version.text + "\n", highlight=False, markup=False, soft_wrap=True)
        if out is not None:
            texts = {prompt: version.text for prompt, version in pulled.items()}
            out.write_text(json.dumps(texts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    else:
        if out is None and not Path(into).is_file():
            raise InputError(f"{into} is no file: say with --out where the program with these prompts is to be written")
        out = out or Path(into)
        changed = write_prompts(into, lambda predictors: registry.texts_for(predictors, reference), out)
        console.print(f"Changed: {', '.join(changed) or 'nothing'}.", highlight=False)
    if out is not None:
        console.print(f"Written to {out}.", highlight=False)


@prompts.command
def diff(before: str, after: str, *, tracking_uri: _Uri = None) -> None:
    """Show line by line what differs between two sets of prompts.

    Parameters
    ----------
    before
        NAME, NAME@alias, NAME/version; or a program: saved JSON, or module:object.
    after
        The same.
    """
    from rich.console import Console

    from langmem_dspy.cli.runs_tables import line_diff
    from langmem_dspy.tracking import PromptVersions

    registry, console = PromptVersions(tracking_uri), Console()
    old, new = read_side(before, after, registry), read_side(after, before, registry)
    if len(old) == len(new) == 1 and old.keys() != new.keys():
        old = dict.fromkeys(new, *old.values())
    equal = [name for name in old if old[name] == new.get(name)]
    for name in dict.fromkeys([*old, *new]):
        if name not in equal:
            console.print(f"[bold]{name}[/]", highlight=False)
            console.print(line_diff(old.get(name, ""), new.get(name, ""), {}), highlight=False, soft_wrap=True)
    if equal:
        console.print(f"[dim]Equal: {', '.join(equal)}.[/]", highlight=False)


@prompts.command
def alias(reference: str, alias: str, *, tracking_uri: _Uri = None) -> None:
    """Let an alias point at versions: `prompts alias HelpDesk@best champion`, or of one: `HelpDesk.triage/3`.

    Parameters
    ----------
    reference
        NAME, NAME@alias or NAME/version.
    alias
        The alias to move, such as champion.
    """
    from rich.console import Console

    from langmem_dspy.tracking import PromptVersions

    _tell(PromptVersions(tracking_uri).point(reference, alias).values(), Console())


@prompts.command
def rollback(name: str, *, alias: str = "champion", tracking_uri: _Uri = None) -> None:
    """Let an alias point where it did before `prompts push` or `prompts alias` moved it last. Versions are all kept.

    Parameters
    ----------
    name
        A program, all of whose prompts go back one move, or one prompt.
    alias
        The alias to move back.
    """
    from rich.console import Console

    from langmem_dspy.tracking import PromptVersions

    _tell(PromptVersions(tracking_uri).rollback(name, alias).values(), Console())


def _tell(versions: Iterable[RegisteredPrompt], console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table("prompt", "version", "aliases", "score", "from", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    last = ""
    for version in versions:
        name, last = ("" if version.name == last else version.name), version.name
        score = "–" if version.score is None else f"{version.score:.3f}"
        said = version.message if len(version.message) <= 100 else f"{version.message[:99]}…"
        table.add_row(name, str(version.version), ", ".join(version.aliases), score, Text(said))
    console.print(table)
