"""The files of a finished run, under the same names in every run, so that MLflow can lay them side by side."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from langmem_dspy.tracking.examples import example_table
from langmem_dspy.tracking.history import RunHistory
from langmem_dspy.tracking.report import report_html
from langmem_dspy.tracking.spool import Spool

REPORT = "report.html"
EXAMPLES = "examples.json"
BEFORE, AFTER = "prompts/before.json", "prompts/after.json"
PROGRAM = "program/best.json"
# How MLflow knows that an artifact is a table to be compared across runs.
TABLES_TAG = "mlflow.loggedArtifacts"
TABLES = json.dumps([{"path": EXAMPLES, "type": "table"}])


def write_artifacts(folder: Path, history: RunHistory, spool: Spool) -> None:
    """Lay out everything a finished run leaves behind, below `folder`."""
    _write(folder / REPORT, report_html(history))
    shutil.copyfile(spool.events, folder / spool.events.name)
    results = history.detailed
    _write(folder / EXAMPLES, json.dumps(example_table(history.examples)))
    _write(folder / BEFORE, _prompts(history.started.get("prompts") or {}))
    _write(folder / AFTER, _prompts(results.best.prompts if results else {}))
    if spool.program.exists():
        (folder / PROGRAM).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(spool.program, folder / PROGRAM)


def _prompts(prompts: Mapping[str, str]) -> str:
    return json.dumps(dict(prompts), indent=2)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
