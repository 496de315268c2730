from __future__ import annotations

import json
import threading
from pathlib import Path
from types import MappingProxyType

import made_runs
import pytest

from langmem_dspy.errors import TrackingError
from langmem_dspy.events import CompileStarted
from langmem_dspy.tracking.spool import Spool, encode, spools_under


def started(**settings: object) -> CompileStarted:
    return CompileStarted("run", "Optimizer", settings, {}, False, {}, {})


def test_events_come_back_as_they_were_written(tmp_path: Path) -> None:
    spool = Spool.of(tmp_path, "run")
    for event in made_runs.events("run"):
        spool.append(encode(event))

    read, end = spool.read(0)

    assert [event["event"] for event in read][:2] == ["CompileStarted", "CandidateEvaluated"]
    assert read[-1]["result"]["best_index"] == 3
    assert end == spool.size()
    assert spool.read(end) == ([], end)


def test_a_line_that_is_still_being_written_is_read_later(tmp_path: Path) -> None:
    spool = Spool.of(tmp_path, "run")
    spool.append(encode(started()))
    whole = spool.size()
    with spool.events.open("ab") as file:
        file.write(b'{"event": "StepFin')

    events, end = spool.read(0)

    assert (len(events), end) == (1, whole)


def test_a_line_cut_off_by_a_kill_spoils_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = Spool.of(tmp_path, "run")
    spool.append(encode(started()))
    with spool.events.open("ab") as file:
        file.write(b'{"event": "StepFin')
    Spool.of(tmp_path, "run").append(encode(started(again=1)))

    events, _ = spool.read(0)

    assert [event["settings"] for event in events] == [{}, {"again": 1}]
    assert "damaged line" in caplog.text


@pytest.mark.parametrize(
    "value",
    [MappingProxyType({"a": 1}), {"set"}, Path("x"), object, "\ud800 lone surrogate", float("nan")],
    ids=["mapping", "set", "path", "class", "surrogate", "nan"],
)
def test_settings_of_any_kind_can_be_written_down(tmp_path: Path, value: object) -> None:
    spool = Spool.of(tmp_path, "run")
    spool.append(encode(started(given=value)))

    (event,), _ = spool.read(0)

    assert "given" in event["settings"]


@pytest.mark.parametrize("run_id", ["a/b", "..", "", "naïve\ud800", "x" * 60])
def test_a_run_id_never_leads_out_of_the_root(tmp_path: Path, run_id: str) -> None:
    root = tmp_path / "runs"
    spool = Spool.of(root, run_id)

    assert spool.folder.resolve().parent == root.resolve()
    assert Spool.of(root, run_id).folder == spool.folder


def test_run_ids_that_look_alike_on_disk_are_kept_apart(tmp_path: Path) -> None:
    assert Spool.of(tmp_path, "a/b").folder != Spool.of(tmp_path, "a?b").folder


def test_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    spool = Spool.of(tmp_path, "run")
    line = encode(started(text="x" * 5000))
    threads = [threading.Thread(target=lambda: [spool.append(line) for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    events, _ = spool.read(0)

    assert len(events) == 400


def test_what_is_noted_first_stays(tmp_path: Path) -> None:
    spool = Spool.of(tmp_path, "run")
    spool.note(experiment="first", program=None)
    spool.note(experiment="second", git_commit="abc")

    assert spool.about() == {"experiment": "first", "program": None, "git_commit": "abc"}


def test_only_one_can_deliver_a_run_at_a_time(tmp_path: Path) -> None:
    spool = Spool.of(tmp_path, "run")
    claim = spool.claim()

    with pytest.raises(TrackingError, match="being delivered by another"):
        Spool.of(tmp_path, "run").claim()
    claim.release()
    Spool.of(tmp_path, "run").claim().release()


def test_runs_are_found_by_folder_by_file_and_by_root(tmp_path: Path) -> None:
    for run_id in ("one", "two"):
        Spool.of(tmp_path, run_id).append(encode(started()))
    (tmp_path / "something else").mkdir()

    assert {spool.folder.name for spool in spools_under(tmp_path)} == {"one", "two"}
    assert [spool.folder.name for spool in spools_under(tmp_path / "one")] == ["one"]
    assert [spool.folder.name for spool in spools_under(tmp_path / "two" / "events.jsonl")] == ["two"]
    assert spools_under(tmp_path / "nowhere") == []


def test_a_damaged_note_is_read_as_empty(tmp_path: Path) -> None:
    spool = Spool.of(tmp_path, "run")
    (spool.folder / "delivered.json").write_text("{half")

    assert spool.delivered("sqlite://") == {}
    spool.mark_delivered("sqlite://", bytes=3)
    assert json.loads((spool.folder / "delivered.json").read_text()) == {"sqlite://": {"bytes": 3}}
