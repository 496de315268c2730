"""Stores that older versions made, built here row by row as those wrote them."""

import sqlite3
from datetime import UTC, datetime

import numpy as np
import orjson
import pytest

from langmem_dspy.records import PutOp
from langmem_dspy.store import FaissStore
from langmem_dspy.store.migrations import _STEPS, VERSION
from langmem_dspy.store.words import pack_terms

ANN = ("memories", "ann")
START = 1_700_000_000_000_000  # microseconds; a revision is written each second
# (key, version, text or None for a deletion, the seq it replaces)
LOG = [
    ("pie", 1, "Ann likes shoo-fly pie", None),
    ("home", 1, "Ann lives in Bern", None),
    ("pie", 2, None, 1),
    ("home", 2, "Ann lives in Rome", 2),
    ("pie", 3, "Ann likes apple pie", None),  # before step 3 what came back replaced nothing
    ("tea", 1, "Ann drinks tea", None),
    ("tea", 2, None, 6),
    ("home", 3, "Ann lives in Oslo", 4),
]


def at(seconds):
    return datetime.fromtimestamp(START / 1e6 + seconds, UTC)


def made_by(version, folder):
    """A store of the log above as format `version` kept it."""
    folder.mkdir()
    with sqlite3.connect(folder / "memories.sqlite") as sql:
        sql.executescript("".join(_STEPS[:version]) + f"PRAGMA user_version = {version}")
        sql.execute("INSERT INTO namespaces (id, path) VALUES (1, 'memories\x1fann\x1f')")
        sql.execute("INSERT INTO generations VALUES (1, 'given', 2, 1)")
        sql.execute("UPDATE meta SET value = 1 WHERE name = 'generation'")
        sql.execute("CREATE TABLE vectors_1 (seq INTEGER PRIMARY KEY, data BLOB NOT NULL)")
        sql.execute("CREATE TABLE embedded_1 (hash BLOB PRIMARY KEY, seq INTEGER NOT NULL, part INTEGER NOT NULL)")
        for seq, (key, number, text, replaces) in enumerate(LOG, 1):
            value = None if text is None else orjson.dumps({"content": text}).decode()
            when, terms = START + seq * 1_000_000, pack_terms(text or "") if text else b""
            sql.execute(
                "INSERT INTO revisions (seq, ns, key, version, action, at, created, replaces, ttl, value, terms) "
                "VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (seq, key, number, text is not None, when, when, replaces, 9.0 if seq == 8 else None, value, terms),
            )
            if text is not None:
                sql.execute("INSERT INTO vectors_1 VALUES (?, ?)", (seq, np.array([1, 0], np.float32).tobytes()))
        sql.execute(
            "INSERT INTO heads (ns, key, seq, expires) VALUES (1, 'pie', 5, NULL), (1, 'home', 8, ?)", (START * 2,)
        )
    sql.close()


def given(texts):
    return np.tile(np.array([1, 0], np.float32), (len(texts), 1))


@pytest.mark.parametrize("version", range(1, VERSION))
def test_a_store_of_an_older_format_is_found_and_goes_on_as_it_was(tmp_path, version):
    made_by(version, tmp_path / "s")
    with FaissStore(tmp_path / "s", embedder=given) as store:
        assert store.check() == []
        assert {i.key: (i.value["content"], i.version) for i in store.search(ANN)} == {
            "pie": ("Ann likes apple pie", 3), "home": ("Ann lives in Oslo", 3)}  # fmt: skip
        assert store.get(ANN, "home").expires_at is not None and store.get(ANN, "pie").expires_at is None
        assert [i.key for i in store.search(ANN, query="apple", limit=1)] == ["pie"]
        for key in ("pie", "home", "tea"):
            kept = [(r.version, r.value and r.value["content"], r.at) for r in store.history(ANN, key)]
            assert kept == [(v, text, at(seq)) for seq, (k, v, text, _) in enumerate(LOG, 1) if k == key]
        store.batch([PutOp(ANN, "tea", {"content": "Ann drinks mint tea"}), PutOp(ANN, "pie", None)])
        assert [r.version for r in store.history(ANN, "tea")] == [1, 2, 3] and store.get(ANN, "tea").version == 3
        assert [r.action for r in store.history(ANN, "pie")] == ["put", "delete", "put", "delete"]
        assert store.check() == []


@pytest.mark.parametrize("version", range(1, VERSION))
def test_a_store_of_an_older_format_is_searched_as_of_then(tmp_path, version):
    made_by(version, tmp_path / "s")
    with FaissStore(tmp_path / "s", embedder=given) as store:
        held = lambda seconds: {i.key: i.value["content"] for i in store.search(ANN, as_of=at(seconds))}  # noqa: E731
        # What was only written later counts where nothing stood.
        assert held(2.5) == {"pie": "Ann likes shoo-fly pie", "home": "Ann lives in Bern"}
        assert held(4.5) == {"pie": "Ann likes apple pie", "home": "Ann lives in Rome"}
        assert held(6.5) == {"pie": "Ann likes apple pie", "home": "Ann lives in Rome", "tea": "Ann drinks tea"}
        assert held(8.5) == {"pie": "Ann likes apple pie", "home": "Ann lives in Oslo"}


@pytest.mark.parametrize("version", range(1, VERSION))
def test_a_store_of_an_older_format_that_forgot_its_history_is_whole(tmp_path, version):
    made_by(version, tmp_path / "s")
    with sqlite3.connect(tmp_path / "s" / "memories.sqlite") as sql:
        sql.execute("DELETE FROM revisions WHERE seq NOT IN (SELECT seq FROM heads)")
    sql.close()
    with FaissStore(tmp_path / "s", embedder=given) as store:
        assert store.check() == []
        store.put(ANN, "pie", {"content": "Ann likes plum pie"})
        assert [r.version for r in store.history(ANN, "pie")] == [3, 4]
        assert store.get(ANN, "tea") is None and store.history(ANN, "tea") == []
