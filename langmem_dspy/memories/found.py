"""What memory modules return: Predictions that a notebook shows, some with store items under the name `items`."""

from __future__ import annotations

from typing import Any

import dspy

from langmem_dspy.memories.showing import prediction_html
from langmem_dspy.records import Item


class Remembered(dspy.Prediction):
    """A Prediction with memories in it."""

    def _repr_html_(self) -> str:
        return prediction_html(self._store)


class Found(Remembered):
    """A Prediction whose `items` attribute is the list of store items.

    On a plain Prediction, `items` is the method that gives its fields; DSPy's own calls of it go on to work.
    """

    @property
    def items(self) -> Any:
        return _Items(self)


class _Items(list[Item]):
    def __init__(self, prediction: Found) -> None:
        super().__init__(prediction._store["items"])
        self._fields = prediction._store

    def __call__(self, include_dspy: bool = False) -> list[tuple[str, Any]]:
        return [(key, value) for key, value in self._fields.items()]
