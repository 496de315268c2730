"""Experiments as their authors and users meet them: a file, a config, cells, a table."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

from langmem_dspy.errors import InputError
from langmem_dspy.experimenting import Cell, experiment
from langmem_dspy.experimenting.configs import from_json, replaced, to_json
from langmem_dspy.experimenting.loading import load_experiment
from langmem_dspy.experimenting.sources import digest_of, local_sources


def measured() -> list[str]:
    return json.loads(Path("calls.json").read_text())


def untracked(toy_file: Path, **options):
    return load_experiment(toy_file).run(track=False, **options)


def test_every_variant_is_measured_with_every_seed(toy_file):
    frame = untracked(toy_file).to_frame()
    assert sorted(zip(frame["variant"], frame["seed"], frame["score"], strict=True)) == [
        ("big", 0, 4),
        ("big", 1, 5),
        ("plain", 0, 2),
        ("plain", 1, 3),
    ]


def test_means_are_over_seeds_and_gains_are_against_the_baseline_seed_by_seed(toy_file):
    plain, big = untracked(toy_file).summary()
    assert (plain.variant, plain.figures["score"].mean, plain.gain) == ("plain", 2.5, None)
    assert big.gain.mean == 2 and big.gain.spread == 0


def test_finished_cells_are_read_back_and_not_measured_again(toy_file):
    first = untracked(toy_file)
    assert len(measured()) == 4
    again = untracked(toy_file, seeds=3)
    assert measured()[4:] == ["plain 2", "big 2"]
    assert [cell.row for cell in again.cells[:4]] == [cell.row for cell in first.cells]


@pytest.mark.parametrize("change", ["code", "config", "data"])
def test_a_cell_is_measured_again_where_what_decides_its_figures_has_changed(toy_file, change):
    data = toy_file.with_name("data.txt")
    data.write_text("one")
    load = load_experiment(toy_file)
    load.run(load.config(data=data), track=False)
    if change == "code":
        toy_file.write_text(toy_file.read_text() + "\n# another thought\n")
    if change == "data":
        data.write_text("two")
    again = load_experiment(toy_file)
    again.run(again.config(data=data, size=3 if change == "config" else 2), track=False)
    assert len(measured()) == 8


def test_fresh_measures_finished_cells_again(toy_file):
    untracked(toy_file)
    untracked(toy_file, fresh=True)
    assert len(measured()) == 8


def test_cells_finished_before_a_failure_are_kept(toy_file):
    toy = load_experiment(toy_file)
    with pytest.raises(RuntimeError, match="the toy broke"):
        toy.run(toy.config(break_at=1), track=False)
    assert measured() == ["plain 0", "big 0", "plain 1"]
    toy_file.with_name("calls.json").write_text("[]")
    with pytest.raises(RuntimeError):
        toy.run(toy.config(break_at=1), track=False)
    assert measured() == []


def test_a_cell_whose_files_are_gone_is_not_finished(toy_file):
    untracked(toy_file)
    next(Path(".langmem/experiments/toy").glob("*/note.txt")).unlink()
    untracked(toy_file)
    assert len(measured()) == 5


def test_the_baseline_is_always_measured(toy_file):
    assert {cell.variant for cell in untracked(toy_file, variants=["big"]).cells} == {"plain", "big"}


def test_a_sweep_measures_the_grid_and_names_what_varied(toy_file):
    outcome = untracked(toy_file, vary=["size=1..3", "profile=weak,strong", "seed=7"])
    assert len(outcome.cells) == 3 * 2 * 2
    assert {cell.seed for cell in outcome.cells} == {7}
    assert next(line.varied for line in outcome.summary()) == {"size": "1", "profile": "weak"}
    assert outcome.cells[-1].config["models"]["profile"] == "strong"


def test_a_sweep_takes_up_cells_that_were_finished_alone(toy_file):
    untracked(toy_file)  # of size 2
    outcome = untracked(toy_file, vary=["size=1..2"])
    assert len(measured()) == 4 + 4
    assert [cell.varied["size"] for cell in outcome.cells] == ["1"] * 4 + ["2"] * 4
    assert "size" in outcome.to_markdown()
    assert untracked(toy_file).cells[0].varied == {}


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ("colour=red", "no field 'colour'"),
        ("size=red", "size: Input should be a valid integer"),
        ("size", "name=1,2,3"),
        ("size=4..1", "counts down"),
        ("variant=huge", "no variants \\['huge'\\]"),
        ("seed=x", "a whole number"),
    ],
)
def test_what_cannot_be_varied_is_told(toy_file, vary, said):
    with pytest.raises(InputError, match=said):
        untracked(toy_file, vary=[vary])


def test_a_config_goes_through_json_and_back(toy_file):
    kind = load_experiment(toy_file).config
    config = kind(size=4, names=("x",), data=Path("a/b"))
    assert from_json(kind, json.loads(json.dumps(to_json(config)))) == config
    assert replaced(config, "names", "p+q").names == ("p", "q")


def test_rows_hold_plain_finite_values(toy_file):
    toy_file.write_text(toy_file.read_text().replace('"word": "x"', '"word": float("nan")'))
    with pytest.raises(InputError, match="word is nan"):
        untracked(toy_file)


def test_numpy_values_become_plain_ones(toy_file):
    toy_file.write_text(toy_file.read_text().replace('"word": "x"', '"n": __import__("numpy").float32(0.5)'))
    assert untracked(toy_file).cells[0].row["n"] == 0.5


def test_a_config_must_be_frozen_and_the_baseline_a_variant():
    @dataclass
    class Loose:
        size: int = 1

    @dataclass(frozen=True)
    class Frozen:
        size: int = 1

    with pytest.raises(InputError, match="frozen"):
        experiment(Loose, variants=("a",), baseline="a", score="s")
    with pytest.raises(InputError, match="baseline"):
        experiment(Frozen, variants=("a",), baseline="b", score="s")


def test_an_experiment_is_called_like_its_function(toy_file, tmp_path):
    toy = load_experiment(toy_file)
    assert toy(Cell(toy.config(), "big", 3, tmp_path))["score"] == 7


def test_the_command_line_ends_with_the_error_as_it_stands(toy_file, capsys):
    with pytest.raises(SystemExit) as ended:
        load_experiment(toy_file).main(["--vary", "size[/red]=1"])
    assert ended.value.code == 1
    assert "InputError: Config has no field 'size[/red]'" in capsys.readouterr().err


def test_help_folds_paragraphs_and_leaves_lists_and_commands_as_they_are(toy_file, capsys):
    parts = ("Two lines\nof one thought.", "- one\n- two", "1. first\n2. second", "    run toy.py\n    sweep toy.py")
    toy_file.write_text(toy_file.read_text().replace("Does the toy grow?", "\n\n".join(parts)))
    load_experiment(toy_file).main(["--help"])
    said = capsys.readouterr().out
    assert "Two lines of one thought." in said and all(part in said for part in parts[1:])


def test_a_file_without_an_experiment_is_refused(tmp_path):
    (tmp_path / "empty.py").write_text("x = 1")
    with pytest.raises(InputError, match="0 experiments"):
        load_experiment(tmp_path / "empty.py")
    with pytest.raises(InputError, match="no file"):
        load_experiment(tmp_path / "none.py")


def test_table_curves_and_plot_are_files(toy_file):
    untracked(toy_file).save("out")
    assert {path.name for path in Path("out").iterdir()} == {"table.md", "table.csv", "curves.csv", "plot.png"}
    table = Path("out/table.md").read_text()
    assert "plain (baseline)" in table and "says nothing about real models" in table
    assert Path("out/plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("where", ["measures.py", "toolbox/measures.py", "toolbox/run_apart.py"])
def test_a_cell_is_measured_again_where_code_beside_it_has_changed(toy_file, where):
    """`toolbox` is imported from inside a function, and runs its other file as a script."""
    name = where.removesuffix(".py").replace("/", ".").replace("run_apart", "measures")
    toy_file.write_text(
        toy_file.read_text().replace("    calls = Path", f"    from {name} import GAIN\n\n    calls = Path")
    )
    for written in {where, f"{name.replace('.', '/')}.py"}:
        (toy_file.parent / written).parent.mkdir(exist_ok=True)
        (toy_file.parent / written).write_text("GAIN = 1\n")
    untracked(toy_file)
    untracked(toy_file)
    assert len(measured()) == 4
    (toy_file.parent / where).write_text("GAIN = 2\n")
    untracked(toy_file)
    assert len(measured()) == 8


def test_an_experiment_without_a_file_is_measured_again_where_its_function_has_changed(toy_file):
    for times, change in enumerate([("", ""), ("", ""), ("+ cell.seed", "- cell.seed")], 1):
        notebook = sys.modules["a_notebook"] = types.ModuleType("a_notebook")
        exec(compile(toy_file.read_text().replace(*change), "<cell>", "exec"), vars(notebook))
        notebook.toy.run(track=False)
        assert len(measured()) == (8 if times == 3 else 4)


def test_code_that_the_experiment_does_not_import_changes_nothing(toy_file):
    untracked(toy_file)
    for name in ("another.py", ".hidden.py"):
        toy_file.with_name(name).write_text("x = 1")
    untracked(toy_file)
    assert len(measured()) == 4


def test_modules_that_import_each_other_and_files_that_do_not_parse_are_read_once(tmp_path):
    (tmp_path / "tools").mkdir()
    for name, text in {
        "a.py": "import b, tools",
        "b.py": "import a, json, numpy",
        "tools/c.py": "this is no Python",
    }.items():
        (tmp_path / name).write_text(text)
    assert list(local_sources(tmp_path / "a.py")) == ["a.py", "b.py", "tools/c.py"]
    assert digest_of({"x": tmp_path / "a.py"}) != digest_of({"y": tmp_path / "a.py"})


def test_code_of_the_experiments_own_package_counts_where_it_is_imported_relatively(tmp_path):
    package = tmp_path / "mine" / "measures"
    package.mkdir(parents=True)
    for name, text in {"__init__.py": "", "measures/a.py": "from ..shared import x", "shared.py": "x = 1"}.items():
        (tmp_path / "mine" / name).write_text(text)
    assert list(local_sources(package / "a.py")) == ["a.py", "mine/__init__.py", "mine/shared.py"]
    (package / "a.py").write_text("try:\n    from . import b\nexcept ImportError:\n    import b\n")
    for beside in ("b.py", "c.py"):
        (package / beside).write_text("x = 1")
    assert list(local_sources(package / "a.py")) == ["a.py", "b.py"]  # the folder is no package


@pytest.mark.parametrize("installed", ["lib/python3/dist-packages", ".local/lib/python3.11/site-packages"])
def test_packages_installed_for_the_user_or_the_system_are_no_code_of_the_experiment(tmp_path, monkeypatch, installed):
    folder = tmp_path / installed
    (folder / "a_library").mkdir(parents=True)
    (folder / "a_library" / "__init__.py").write_text("x = 1")
    monkeypatch.syspath_prepend(folder)
    (tmp_path / "a.py").write_text("import a_library")
    assert list(local_sources(tmp_path / "a.py")) == ["a.py"]
