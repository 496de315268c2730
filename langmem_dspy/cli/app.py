"""The commands, and what they share."""

from __future__ import annotations

from cyclopts import App

from langmem_dspy._version import __version__
from langmem_dspy.cli.demo import demo
from langmem_dspy.cli.doctor import doctor
from langmem_dspy.cli.experiments import replay, sweep
from langmem_dspy.cli.experiments import run as run_experiment
from langmem_dspy.cli.mcp import mcp
from langmem_dspy.cli.memories import memories
from langmem_dspy.cli.optimize import optimize
from langmem_dspy.cli.prompts import prompts
from langmem_dspy.cli.runs import compare, diff, report, show
from langmem_dspy.cli.serve import keys, serve
from langmem_dspy.cli.ui import ui
from langmem_dspy.experimenting.ending import ending_in_one_line

app = App(
    name="langmem-dspy",
    version=__version__,
    help_format="markdown",
    suppress_keyboard_interrupt=False,  # it is told by `ending_in_one_line`
    help="""
Better prompts and long-term memory for DSPy programs.

**Start here**: `langmem-dspy demo` compares the optimizers on a small problem, with no API key, and leaves the runs in
MLflow; `langmem-dspy ui` shows them.

**Your own program**: `langmem-dspy optimize my_module:program --data train.jsonl --metric my_module:metric
--model openai/gpt-4.1-mini`

**Your conversations**: `langmem-dspy memories extract chats.jsonl --model openai/gpt-4.1-mini` makes memories of them;
`langmem-dspy memories search "favourite pie"` finds them again.

**Your runs**: `langmem-dspy compare` lays them side by side; `show`, `diff` and `report` tell of one; `run`, `sweep`
and `replay` are for experiments; `doctor` finds what is wrong.

Without `--model`, the *offline simulation* answers: it follows simple rules that it reads, and says nothing about real
models. Each command explains itself with `--help`.
""",
)
app.command(demo)
app.command(optimize)
app.command(memories)
app.command(mcp)
app.command(serve)
app.command(keys)
app.command(ui)
# `run FILE --help` is answered by the experiment.
app.command(run_experiment, name="run", help_flags=())
app.command(sweep, help_flags=())
app.command(compare)
app.command(show)
app.command(diff)
app.command(report)
app.command(replay)
app.command(prompts)
app.command(doctor)


def run() -> None:
    """Run the command given in sys.argv."""
    with ending_in_one_line():
        app()
