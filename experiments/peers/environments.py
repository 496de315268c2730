"""An environment of its own for each peer, made by one command.

    python experiments/peers/environments.py make            # all of them
    python experiments/peers/environments.py make langmem
    python experiments/peers/environments.py list

DSPy's own optimizers run in the environment of this project; the others bring dependencies that would clash with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import cyclopts

REQUIREMENTS = {
    "langmem": ("langmem==0.0.30", "langchain-openai>=1,<2"),
    "textgrad": ("textgrad==0.1.8",),
    "trace": ("trace-opt==0.1.3.8",),
}
OURS = "dspy"  # the environment that runs this

app = cyclopts.App(help=__doc__)


def home() -> Path:
    """Where the environments are; LANGMEM_DSPY_PEERS names another place."""
    return Path(os.environ.get("LANGMEM_DSPY_PEERS", Path(__file__).parent / ".environments"))


def python_of(name: str) -> Path:
    """The interpreter of an environment. Raises `SystemExit` if it has not been made."""
    if name == OURS:
        return Path(sys.executable)
    found = home() / name / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not found.exists():
        raise SystemExit(f"there is no environment {name!r} yet: python experiments/peers/environments.py make {name}")
    return found


def versions(name: str) -> dict[str, str]:
    """The versions of what the environment was made for."""
    packages = ("dspy", "gepa") if name == OURS else [r.partition("=")[0].partition(">")[0] for r in REQUIREMENTS[name]]
    code = f"import json, importlib.metadata as m; print(json.dumps({{p: m.version(p) for p in {list(packages)!r}}}))"
    return json.loads(subprocess.run([python_of(name), "-c", code], capture_output=True, text=True, check=True).stdout)


@app.command
def make(names: list[str] | None = None, /) -> None:
    """Make environments, all by default; one that is there already is brought up to its requirements."""
    for name in names or list(REQUIREMENTS):
        if name not in REQUIREMENTS:
            raise SystemExit(f"there is no peer environment {name!r}; choose from {', '.join(REQUIREMENTS)}")
        venv.create(home() / name, with_pip=True)
        subprocess.run([python_of(name), "-m", "pip", "install", "--quiet", *REQUIREMENTS[name]], check=True)
        print(name, json.dumps(versions(name)))


@app.command(name="list")
def show() -> None:
    """The environments, and the versions in those that are made."""
    for name in (OURS, *REQUIREMENTS):
        try:
            print(name, json.dumps(versions(name)))
        except SystemExit as missing:
            print(missing)


if __name__ == "__main__":
    app()
