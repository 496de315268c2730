"""Names that tell programs and prompts apart, in the characters a registry allows."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import dspy

_ALLOWED = re.compile(r"[^A-Za-z0-9_.-]+")


def program_name(program: dspy.Module) -> str:
    """The class of a program with a digest of its predictors' fields: the same for each of its compiled forms."""
    kind = type(program)
    outline = [
        (name, sorted(predictor.signature.input_fields), sorted(predictor.signature.output_fields))
        for name, predictor in program.named_predictors()
    ]
    return f"{_allowed(kind.__name__)}-{_digest([kind.__module__, kind.__qualname__, outline])[:4]}"


def unnamed_program(predictors: Iterable[str]) -> str:
    """What a program is called of which only the predictors' names are known."""
    return f"program-{_digest(sorted(predictors))[:4]}"


def prompt_names(program: str, predictors: Iterable[str]) -> dict[str, str]:
    """A registry name for each predictor's prompt, all distinct."""
    names: dict[str, str] = {}
    for predictor in predictors:
        name = f"{_allowed(program)}.{_allowed(predictor)}"
        if name in names.values():
            name = f"{name}-{_digest(predictor)[:4]}"
        names[predictor] = name
    return names


def git_commit(folder: str | Path) -> str | None:
    """The commit that `folder` is at, marked "+changes" if its files differ from it; None outside a repository."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+changes" if changed else commit


def _git(folder: str | Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True, stdin=subprocess.DEVNULL)
    return found.stdout.strip()


def _allowed(name: str) -> str:
    return _ALLOWED.sub("_", name.replace("[", ".").replace("]", "")).strip("_.") or "unnamed"


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
