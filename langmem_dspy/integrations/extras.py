"""Optional packages: imported when they are needed, and named with their extra when they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from langmem_dspy.errors import MissingExtraError


def optional(module: str, extra: str) -> Any:
    """The module. Raises `MissingExtraError` where its package is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # it is installed, and lacks something itself
        raise MissingExtraError(
            f"this needs {module}, which is not installed: pip install 'langmem-dspy[{extra}]'"
        ) from error
