"""Durable puts beside bare SQLite writing the same rows in the same transactions.

    python benchmarks/store_puts.py [--items 20000]

The bare writer has the same tables and indexes, WAL and synchronous=FULL, and writes the same bytes; its words go into
an FTS5 table (porter), where the store packs them beside the revision. Vectors are given. Both run by turns, in one
process; the middle of the rounds is shown.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from langmem_dspy.records import PutOp
from langmem_dspy.store import FaissStore
from langmem_dspy.store.migrations import migrate

WIDTH = 384
SAYING = "on day {i} Ann said that she liked the pie with cream better than soup number {i}"


class BareSqlite:
    """What a put must write at least."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True)
        self.sql = sqlite3.connect(folder / "bare.sqlite", isolation_level=None)
        self.sql.execute("PRAGMA journal_mode=WAL")
        self.sql.execute("PRAGMA synchronous=FULL")
        migrate(self.sql)
        self.sql.execute("CREATE TABLE vectors_1 (seq INTEGER PRIMARY KEY, data BLOB NOT NULL)")
        self.sql.execute("CREATE VIRTUAL TABLE words USING fts5(content, tokenize='porter unicode61')")
        self.sql.execute("INSERT INTO namespaces (path) VALUES ('m')")
        self.seq = 0

    def put(self, items: list[tuple[str, dict[str, object], np.ndarray]]) -> None:
        self.sql.execute("BEGIN IMMEDIATE")
        revisions, heads, vectors, words = [], [], [], []
        for key, value, vector in items:
            self.seq += 1
            now = int(time.time() * 1e6)
            revisions.append((self.seq, 1, key, 1, 1, now, now, json.dumps(value)))
            heads.append((1, key, self.seq, now))
            vectors.append((self.seq, vector.tobytes()))
            words.append((self.seq, value["content"]))
        self.sql.executemany(
            "INSERT INTO revisions (seq, ns, key, version, action, at, created, value) VALUES (?,?,?,?,?,?,?,?)",
            revisions,
        )
        self.sql.executemany("INSERT INTO heads (ns, key, seq, version, created) VALUES (?, ?, ?, 1, ?)", heads)
        self.sql.executemany("INSERT INTO vectors_1 VALUES (?, ?)", vectors)
        self.sql.executemany("INSERT INTO words (rowid, content) VALUES (?, ?)", words)
        self.sql.execute("COMMIT")


def timed(run: object, *arguments: object) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.thread_time()
    run(*arguments)  # type: ignore[operator]
    return time.perf_counter() - wall, time.thread_time() - cpu


def compare(folder: Path, items: list, size: int, rounds: int) -> None:
    store, bare = FaissStore(folder / "store", embedder=lambda t: np.ones((len(t), WIDTH))), BareSqlite(folder / "bare")

    def ours(part: list) -> None:
        for at in range(0, len(part), size):
            store.batch([PutOp(("m",), key, value, vector=vector) for key, value, vector in part[at : at + size]])

    def theirs(part: list) -> None:
        for at in range(0, len(part), size):
            bare.put(part[at : at + size])

    each = len(items) // rounds
    results = []
    for r in range(rounds):
        part = items[r * each : (r + 1) * each]
        results.append(
            (timed(theirs, part), timed(ours, part)) if r % 2 else (timed(ours, part), timed(theirs, part))[::-1]
        )
    for i, kind in enumerate(("wall", "cpu")):
        bare_us, store_us = (statistics.median(r[who][i] for r in results) / each * 1e6 for who in (0, 1))
        print(
            f"{size:5} a transaction, {kind:4}: bare {bare_us:8.1f} us   store {store_us:8.1f} us   "
            f"{bare_us / store_us:5.2f} x bare's speed"
        )
    store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    data = rng.standard_normal((options.items, WIDTH), dtype=np.float32)
    data /= np.linalg.norm(data, axis=1, keepdims=True)
    items = [(f"k{i}", {"content": SAYING.format(i=i), "i": i}, data[i]) for i in range(options.items)]
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder) / "batches", items, 1000, 10)
        compare(Path(folder) / "ones", items[: options.items // 10], 1, 10)


if __name__ == "__main__":
    main()
