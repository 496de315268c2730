"""Experiments by the file they are written in."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from langmem_dspy.errors import InputError
from langmem_dspy.experimenting.defining import Experiment, find_experiment


def load_experiment(path: Path) -> Experiment[Any]:
    """The experiment in the file at `path`; modules beside it can be imported by it. Raises `InputError`."""
    path = path.absolute()
    if not path.is_file():
        raise InputError(f"there is no file {path}; give the Python file of an experiment")
    # A name of its own, so that an experiment never hides a module of the same name.
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their annotations up there
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return find_experiment(module, path.name)
