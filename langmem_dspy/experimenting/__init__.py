"""Experiments: one question, one file. You write a typed config and a function that measures one cell of a table.

    @dataclass(frozen=True, kw_only=True)
    class Config:
        lm_calls: int = 400
        models: ModelOptions = ModelOptions()

    @experiment(Config, variants=("untuned", "gradient"), baseline="untuned", score="after")
    def my_question(cell: Cell[Config]) -> Row:
        ...
        return {"before": 0.31, "after": 0.74, "lm_calls": 400}

    if __name__ == "__main__":
        my_question.main()

A cell is one variant with one seed under one config. From that you get a command line that explains itself, TOML
configs, sweeps, progress, cells that are read back rather than measured again, a run in MLflow for each, a table and a
plot; `langmem-dspy replay RUN` measures a logged run again and compares. `experiments/` has examples.
"""

from langmem_dspy.experimenting.cells import Cell, Row
from langmem_dspy.experimenting.defining import Experiment, experiment
from langmem_dspy.experimenting.models import ModelOptions, OneModelOptions
from langmem_dspy.experimenting.outcomes import Outcome
from langmem_dspy.experimenting.replaying import Replayed

__all__ = ["Cell", "Experiment", "ModelOptions", "OneModelOptions", "Outcome", "Replayed", "Row", "experiment"]
