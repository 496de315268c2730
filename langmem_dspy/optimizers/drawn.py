"""The figure that plots are drawn on. Loads matplotlib; import it where one is drawn."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.figure import Figure


class Drawn(Figure):
    """A figure that shows itself in a notebook, without pyplot: that would choose a window and keep every figure."""

    def __init__(self, size: tuple[float, float] = (7.2, 4.2), **options: Any) -> None:
        super().__init__(figsize=size, layout="constrained", facecolor="white", **options)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()
