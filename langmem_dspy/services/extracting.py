"""Parts of a document by their paths, as LangGraph's clients ask for them: `values.messages[-1].content`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from langmem_dspy.errors import InputError

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(-?\d{1,9})\]")
_PATH = re.compile(r"(values|metadata|config|context)(\.[^.\[\]]+|\[-?\d{1,9}\])*")


class Part:
    """Where in a thread to look. Raises `InputError` for a path that cannot be read."""

    def __init__(self, path: str) -> None:
        if len(path) > 500 or not _PATH.fullmatch(path):
            raise InputError(
                "a path to extract begins with values, metadata, config or context and goes on by .name or [number], "
                f"such as values.messages[-1]; got {path[:100]!r}"
            )
        self._steps = [name or int(at) for name, at in _STEP.findall(path)]

    def of(self, document: Any) -> Any:
        """What is there; None where nothing is."""
        for step in self._steps:
            if isinstance(step, int):
                inside = isinstance(document, list) and -len(document) <= step < len(document)
            else:
                inside = isinstance(document, Mapping) and step in document
            if not inside:
                return None
            document = document[step]
        return document
