"""The experiments that ship, each in small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from langmem_dspy import simulation
from langmem_dspy.errors import InputError
from langmem_dspy.experimenting.loading import load_experiment

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(name: str, *, variants: list[str], vary: list[str] = (), **config):
    experiment = load_experiment(EXPERIMENTS / f"{name}.py")
    return experiment.run(experiment.config(**config), seeds=1, variants=variants, vary=vary, track=False)


def rows(outcome) -> dict[str, dict]:
    return {cell.variant: dict(cell.row) for cell in outcome.cells}


def locomo(path: Path) -> Path:
    """Two conversations of LoCoMo's form, after three to tune on."""
    said = [
        ("D1:1", "Ann", "I adopted a lizard called Otto."),
        ("D1:2", "Bob", "Nice weather."),
        ("D2:1", "Ann", "I ski."),
    ]
    talk = {
        "session_1": [{"dia_id": i, "speaker": who, "text": text} for i, who, text in said[:2]],
        "session_1_date_time": "1 May 2023",
        "session_2": [{"dia_id": i, "speaker": who, "text": text} for i, who, text in said[2:]],
        "session_2_date_time": "8 May 2023",
    }
    asked = [{"question": "Which lizard did Ann adopt?", "answer": "Otto", "evidence": ["D1:1"], "category": 4}]
    path.write_text(json.dumps([{"conversation": talk, "qa": asked}] * 5))
    return path


def test_a_memory_that_is_compiled_finds_more_and_leaves_the_users_store_alone():
    found = rows(run("compile_the_memory", variants=["gradient"], lm_calls=600, num_threads=2))
    assert found["gradient"]["recall_held_out"] > found["untuned"]["recall_held_out"] + 0.1
    assert found["gradient"]["store_unchanged"] is True
    assert found["gradient"]["lm_calls"] <= 600


def test_recall_is_of_the_turns_that_hold_the_evidence(tmp_path):
    found = rows(run("memory_recall", variants=["full_context", "lexical"], data=locomo(tmp_path / "talks.json")))
    assert found["no_memory"]["recall_5"] == 0 and found["full_context"]["recall_5"] == 1
    assert found["lexical"]["recall_5"] == found["lexical"]["single_hop_10"] == 1
    assert found["lexical"]["multi_hop_10"] is None
    assert found["no_memory"]["tokens"] == 0 < found["full_context"]["tokens"]


def test_questions_are_answered_from_what_is_remembered_by_the_model_at_an_address(tmp_path, monkeypatch):
    """The simulation answers over HTTP: that proves the wiring, and nothing about the answers."""
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    with simulation.serve() as endpoint:
        given = {"data": locomo(tmp_path / "talks.json"), "model": endpoint.model, "api_base": endpoint.api_base}
        outcome = run("memory_recall", variants=["full_context", "lexical"], **given)
    found = rows(outcome)
    assert all(0 <= row["f1"] <= 1 and row["f1_single_hop"] == row["f1"] for row in found.values())
    assert found["lexical"]["f1_multi_hop"] is None
    assert outcome.simulated and "says nothing about real models" in outcome.to_markdown()


def test_answers_are_scored_as_locomo_does(tmp_path):
    load_experiment(EXPERIMENTS / "memory_recall.py")
    from locomo import Question
    from locomo_answers import score

    def scored(category: str, gold: str, said: str) -> float:
        return round(score(Question("?", category, frozenset({"D1:1"}), gold), said), 3)

    assert scored("single_hop", "The green Lizards", "a green lizard!") == 1
    assert scored("single_hop", "green lizard", "a lizard called Otto") == 0.4
    assert scored("multi_hop", "lizard, dog", "dogs, a cat, lizards") == 1
    assert scored("multi_hop", "lizard, dog", "a dog") == 0.5
    assert scored("open_domain", "Yes; she likes lizards", "yes") == 1
    assert scored("temporal", "7 May 2023", "") == 0
    assert scored("adversarial", "", "That was not mentioned.") == 1
    assert scored("adversarial", "", "Otto") == 0


def test_a_file_that_is_not_locomos_is_told(tmp_path):
    no_turn = '[{"conversation": {"session_1": ["Hello"], "session_1_date_time": "1 May"}, "qa": []}]'
    for text in ("{}\n{}", '[{"talks": []}]', "[1]", no_turn):
        (tmp_path / "talks.json").write_text(text)
        with pytest.raises(InputError, match=r"talks\.json is not LoCoMo's JSON"):
            run("memory_recall", variants=["lexical"], data=tmp_path / "talks.json")
        (tmp_path / "talks.json").unlink()


def test_extracted_memories_want_a_model(tmp_path):
    with pytest.raises(InputError, match="--model"):
        run("memory_recall", variants=["lexical"], data=locomo(tmp_path / "talks.json"), memories="extracted")


def test_an_index_is_measured_beside_bare_faiss():
    found = rows(run("index_scaling", variants=["store"], items=500, queries=10))
    assert found["flat"]["recall_at_10"] == found["store"]["recall_at_10"] == 1
    assert found["store"]["bytes"] > found["flat"]["bytes"]


@pytest.mark.parametrize("file", sorted(EXPERIMENTS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_config_file_fits_its_experiment(file, monkeypatch, tmp_path):
    from langmem_dspy.experimenting.command import command
    from langmem_dspy.experimenting.defining import Experiment

    given = []
    monkeypatch.setattr(Experiment, "run", lambda self, config, **options: given.append((config, options)) or "ran")
    data = ["--data", str(locomo(tmp_path / "talks.json"))] if file.stem == "memory_recall" else []
    command(load_experiment(file.with_suffix(".py")), "x")(["--config", str(file), *data])
    assert len(given) == 1


def test_held_out_scores_of_a_live_program_are_without_the_noise_of_its_metric():
    steady, noisy = (
        rows(run("online_learning", variants=["untuned"], noise=noise))["untuned"]["held_out"] for noise in (0.0, 0.3)
    )
    assert steady == noisy


def test_a_live_program_learns_from_complaints():
    found = rows(run("online_learning", variants=["complaints"], live=24, further=4, wrong_every=2, every=8))
    assert found["complaints"]["held_out"] > found["untuned"]["held_out"] + 0.1
    assert found["complaints"]["variables_kept"] is True


@pytest.mark.parametrize("file", sorted(file.name for file in EXPERIMENTS.glob("*.py")))
def test_the_command_line_of_each_experiment_tells_its_options(file, capsys):
    try:
        experiment = load_experiment(EXPERIMENTS / file)
    except InputError as error:
        assert "experiment" in str(error)
        pytest.skip("what experiments share")
    experiment.main(["--help"])
    assert "--seeds" in capsys.readouterr().out
