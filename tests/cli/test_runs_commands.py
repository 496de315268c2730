"""`compare`, `show`, `diff`, `report`, `run`, `sweep`, `replay` and `doctor`, as their user calls them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from langmem_dspy.errors import TrackingError

TOY = """
'''Does the toy grow?'''
from dataclasses import dataclass

import dspy

from langmem_dspy import Budget, GradientOptimizer
from langmem_dspy.experimenting import Cell, ModelOptions, Row, experiment

RULES = {"refund": "billing", "crash": "bugs"}


@dataclass(frozen=True)
class Config:
    lm_calls: int = 60
    models: ModelOptions = ModelOptions()


def metric(gold, pred, trace=None):
    right = pred.queue.strip() == gold.queue
    rule = f'If `ticket` mentions "{gold.word}", set `queue` to "{gold.queue}".'
    return dspy.Prediction(score=float(right), feedback="" if right else rule)


@experiment(Config, variants=("untuned", "gradient"), baseline="untuned", score="after", seeds=1)
def toy(cell: Cell[Config]) -> Row:
    task, reflection = cell.config.models.load(cell.seed)
    rows = [dspy.Example(ticket=f"Case {i}: my {w}", queue=q, word=w) for i, (w, q) in enumerate([*RULES.items()] * 4)]
    rows = [row.with_inputs("ticket") for row in rows]
    program = dspy.Predict(dspy.Signature("ticket -> queue", "Choose a queue for the ticket."))
    with dspy.context(lm=task):
        if cell.variant == "gradient":
            budget = Budget(lm_calls=cell.config.lm_calls)
            optimizer = GradientOptimizer(metric=metric, budget=budget, reflection_lm=reflection, num_threads=1)
            program = optimizer.compile(program, trainset=rows[:4], valset=rows[4:])
        after = sum(metric(row, program(ticket=row.ticket)).score for row in rows) / len(rows)
    (cell.folder / "prompt.txt").write_text(program.signature.instructions)
    return {"after": after, "prompt_words": len(program.signature.instructions.split())}
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment, its runs in MLflow, and an optimizer's run among them."""
    from langmem_dspy.experimenting.loading import load_experiment

    folder = tmp_path_factory.mktemp("measured")
    (folder / "toy.py").write_text(TOY)
    here = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
            patch.delenv(name, raising=False)
        patch.chdir(folder)
        load_experiment(folder / "toy.py").run()
    assert Path.cwd() == here
    return folder


@pytest.fixture
def there(measured, cli, monkeypatch):
    """Calls a command in that folder."""
    monkeypatch.chdir(measured)
    return cli


def runs(kind: str) -> list[str]:
    from langmem_dspy.tracking import read_run
    from langmem_dspy.tracking.stores import resolve_store

    client = resolve_store().client()
    everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
    read = [read_run(run.info.run_id) for run in client.search_runs(everywhere)]
    return [run.mlflow_run for run in read if run.kind == kind]


def test_cells_stand_below_their_experiment_and_compiles_below_their_cell(there):
    from langmem_dspy.tracking import read_run

    (whole,) = runs("experiment")
    assert sorted(run.name for run in read_run(whole).below()) == ["gradient seed 0", "untuned seed 0"]
    compiles = [below.kind for cell in read_run(whole).below() for below in cell.below()]
    assert compiles == ["optimizer"]
    assert read_run(whole).metrics["after/gradient"] == 1.0
    assert "plot.png" in {file.path for file in read_run(whole)._client.list_artifacts(whole)}


def test_show_tells_scores_lessons_and_why_it_stopped(there):
    said = there("show").out
    assert "offline simulation" in said.lower().splitlines()[0]
    assert "validation 0.000 → 1.000" in said and "in force" in said and "stopped:" in said
    assert "0 broken, 4 fixed" in said


def test_a_cell_and_an_experiment_are_shown_too(there):
    (whole,) = runs("experiment")
    assert "gradient seed 0" in there("show", whole[:12]).out
    assert "lm_calls" in there("show", runs("cell")[0]).out


def test_diff_names_the_step_that_brought_a_line_in(there):
    said = there("diff").out
    assert "  Choose a queue for the ticket." in said
    assert any(line.startswith("+ ") and "refund" in line and "step 1" in line for line in said.splitlines())


def test_compare_tells_what_differed(there):
    cells = runs("cell")
    said = there("compare", *cells)
    assert said.code == 0 and "prompt_words" in said.out
    assert "variant" in said.out and "models" not in said.out


@pytest.mark.parametrize("width", [80, 140])
def test_compare_shows_every_figure_whole_at_the_width_of_a_terminal(there, monkeypatch, width):
    given = "compare", *(runs("optimizer") * 3)
    wide = there(*given).out
    monkeypatch.setenv("COLUMNS", str(width))
    said = there(*given).out
    assert "…" not in said and max(map(len, said.splitlines())) <= width
    assert {word for word in wide.split() if "─" not in word} <= set(said.split())
    assert said.count("0.000 → 1.000") == 3


def test_compare_draws_scores_over_calls(there):
    (compiled,) = runs("optimizer")
    assert "1.000" in there("compare", compiled, "--plot", "curves.png").out
    assert Path("curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_answers_are_frames(there):
    from langmem_dspy import tracking

    (compiled,) = runs("optimizer")
    run = tracking.read_run(compiled)
    assert set(run.examples()["change"]) == {"fixed"}
    lines = run.lines()
    assert lines[lines["step"] > 0]["line"].str.contains("refund|crash").all()
    curves = tracking.curves([compiled])
    assert {"lm_calls", "tokens", "cost", "train_after", "best"} <= set(curves.columns)
    assert tracking.compare(compiled)["mlflow_run"].tolist() == [compiled]


def test_report_writes_one_file(there):
    assert there("report", "--out", "told.html", "--no-open-browser").code == 0
    assert "Choose a queue" in Path("told.html").read_text()


def test_a_logged_run_is_replayed_equal_to_the_byte(there):
    (whole,) = runs("experiment")
    said = there("replay", whole)
    assert said.code == 0 and said.out.count("1 files byte by byte") == 2 and "Equal." in said.out


def test_a_replay_tells_which_figure_differs_and_that_the_code_changed(there):
    text = Path("toy.py").read_text()
    Path("changed.py").write_text(text.replace('return {"after": after', 'return {"after": after / 2'))
    cell = next(run for run in runs("cell") if "gradient" in there("show", run).out)
    said = there("replay", cell, "--file", "changed.py")
    assert said.code == 1 and "after: 1.0 then, 0.5 now" in said.out and "code was" in said.out


def test_an_optimizers_run_is_no_experiment_to_replay(there):
    said = there("replay", runs("optimizer")[0])
    assert said.code == 1 and "not made by an experiment" in said.err


def test_run_reads_finished_cells_back_and_flags_win_over_toml(there):
    assert "2 of 2 cells were finished before" in there("run", "toy.py", "--no-track").out
    Path("toy.toml").write_text('lm_calls = 7\nvary = ["seed=5"]\nvariants = ["untuned"]\n')
    said = there("run", "toy.py", "--config", "toy.toml", "--lm-calls", "9", "--no-track", "--out", "out")
    assert said.code == 0 and "untuned seed 5" in said.out and "gradient" not in said.out
    assert "seed" in Path("out/table.csv").read_text()


def test_the_first_line_of_a_run_names_the_simulation(there):
    assert "offline simulation answers" in there("run", "toy.py", "--no-track").out.splitlines()[0]


def test_a_typo_in_a_config_is_told(there):
    Path("wrong.toml").write_text("lm_cals = 7\n")
    said = there("run", "toy.py", "--config", "wrong.toml", "--no-track")
    assert said.code != 0 and "lm_cals" in said.out + said.err


def test_a_sweep_wants_something_to_vary(there):
    assert "varies something" in there("sweep", "toy.py").err
    said = there("sweep", "toy.py", "--vary", "profile=weak,strong", "--variants", "untuned", "--no-track")
    assert said.code == 0 and "profile=weak" in said.out and "profile=strong" in said.out


def test_help_of_an_experiment_teaches_its_question_and_its_options(there):
    said = there("run", "toy.py", "--help").out
    assert "Does the toy grow?" in said and "--lm-calls" in said and "--vary" in said and "baseline: untuned" in said
    assert "The Python file of the experiment" in there("run", "--help").out


def test_an_unknown_run_is_told(there):
    for command in ("show", "diff", "report", "replay"):
        said = there(command, "nothing-like-it")
        assert said.code == 1 and "no run 'nothing-like-it'" in said.err, command


def test_the_beginning_of_an_id_must_mean_one_run(there):
    from langmem_dspy.tracking import read_run

    with pytest.raises(TrackingError):
        read_run("")


def test_a_dead_server_never_ends_an_experiment(measured, tmp_path, monkeypatch):
    from langmem_dspy.experimenting.loading import load_experiment

    shutil.copy(measured / "toy.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    toy = load_experiment(tmp_path / "toy.py")
    outcome = toy.run(variants=["untuned"], tracking_uri="http://127.0.0.1:9")
    assert outcome.run_id is None and len(outcome.cells) == 1


def test_what_ails_a_store_is_said_word_for_word_and_never_ends_an_experiment(measured, tmp_path, monkeypatch):
    from rich.console import Console

    from langmem_dspy.experimenting.loading import load_experiment
    from langmem_dspy.tracking.cells import CellLog

    def fails(*_, **__):
        raise ValueError("what stands in [/brackets] is no markup")

    monkeypatch.setattr(CellLog, "cell", fails)
    shutil.copy(measured / "toy.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    console = Console(record=True, width=200)
    outcome = load_experiment(tmp_path / "toy.py").run(variants=["untuned"], console=console)
    assert len(outcome.cells) == 1 and "what stands in [/brackets]" in console.export_text()


def test_doctor_finds_all_well_and_touches_nothing(cli, tmp_path):
    said = cli("doctor")
    assert said.code == 0 and "simulation answers" in said.out
    assert list(tmp_path.iterdir()) == []


def test_doctor_says_what_to_do_about_what_fails(cli, tmp_path):
    said = cli("doctor", "--tracking-uri", "http://127.0.0.1:9", "--store", ".")
    assert said.code == 1
    assert "cannot be reached" in said.out and "MLFLOW_TRACKING_URI" in said.out
    assert "holds no store" in said.out and list(tmp_path.iterdir()) == []


def test_doctor_knows_compromised_releases(monkeypatch):
    from langmem_dspy.cli import doctor

    monkeypatch.setattr(doctor, "version", lambda name: "1.82.8" if name == "litellm" else "999")
    found = {check.name: check for check in doctor._packages()}
    assert found["litellm"].state == "fail" and "compromised" in found["litellm"].found


def test_an_error_names_the_extra_to_install(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    ended = cli("serve")

    assert ended.code == 1
    assert "pip install 'langmem-dspy[server]'" in ended.err


@pytest.mark.parametrize("command", [("show",), ("compare",), ("compare", "a", "b"), ("diff",), ("report",)])
def test_who_only_reads_makes_no_mlflow_store(cli, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")

    ended = cli(*command)

    assert ended.code == 1
    assert "there are no runs yet" in ended.err
    assert not Path("mlflow.db").exists()


def test_a_demo_of_nothing_says_so(cli) -> None:
    ended = cli("demo", "--seeds", "0", "--no-track")

    assert ended.code == 1
    assert "at least one optimizer and one seed" in ended.err
