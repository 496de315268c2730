from __future__ import annotations

from pathlib import Path

import pytest

TOY = '''"""Does the toy grow?"""

import json
from dataclasses import dataclass
from pathlib import Path

from langmem_dspy.experimenting import Cell, ModelOptions, Row, experiment


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is measured.

    Parameters
    ----------
    size
        How large the toy is.
    """

    size: int = 2
    names: tuple[str, ...] = ("a", "b")
    data: Path | None = None
    break_at: int = -1
    models: ModelOptions = ModelOptions()


@experiment(Config, variants=("plain", "big"), baseline="plain", score="score", seeds=2, measured=("ms",))
def toy(cell: Cell[Config]) -> Row:
    calls = Path("calls.json")
    done = json.loads(calls.read_text()) if calls.exists() else []
    if cell.seed == cell.config.break_at and cell.variant == "big":
        raise RuntimeError("the toy broke")
    calls.write_text(json.dumps([*done, f"{cell.variant} {cell.seed}"]))
    for at in range(3):
        cell.point(lm_calls=at * 10, held_out=at / 3)
    (cell.folder / "note.txt").write_text(cell.variant)
    return {"score": cell.config.size * (2 if cell.variant == "big" else 1) + cell.seed, "ms": len(done), "word": "x"}


if __name__ == "__main__":
    toy.main()
'''


@pytest.fixture
def toy_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a small experiment in the test's folder, where `calls.json` tells which cells were measured."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "toy.py"
    path.write_text(TOY)
    return path
