"""Looking after a store: what is in it, is it whole, smaller again, out to JSONL and in from it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from langmem_dspy.durable_files import replacing
from langmem_dspy.errors import InputError
from langmem_dspy.records import Provenance, PutOp
from langmem_dspy.store.index import Index
from langmem_dspy.store.items import Items
from langmem_dspy.store.rows import load_provenance, to_namespace, to_time
from langmem_dspy.store.snapshots import Snapshots
from langmem_dspy.store.vectors import Vectors

_AT_ONCE = 500
_TIMES = ("valid_from", "valid_to", "created_at", "updated_at")


def stats(items: Items, vectors: Vectors, index: Index) -> dict[str, Any]:
    """Counts, sizes in bytes, and what of it is in memory."""
    with items.read() as reader:
        live, namespaces, revisions = reader.totals()
    with items.database.read() as sql:
        pages, size = (sql.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return {
        "items": live,
        "namespaces": namespaces,
        "revisions": revisions,
        "bytes": pages * size,
        "embedder": vectors.embedder.name,
        "width": vectors.width,
        "generation": vectors.generation,
        "in_memory": index.describe(),
    }


def check(items: Items, vectors: Vectors, snapshots: Snapshots | None) -> list[str]:
    """What is wrong, one line each; nothing on a store that is whole."""
    with items.database.read() as sql:
        problems = [line for (line,) in sql.execute("PRAGMA integrity_check") if line != "ok"]
        problems += [message for message, query in _FAULTS if sql.execute(query).fetchone()[0]]
        problems += _damaged_values(sql)
        if vectors.width is not None:
            wrong = f"SELECT count(*) FROM {vectors.table} WHERE length(data) % {4 * vectors.width}"
            if found := sql.execute(wrong).fetchone()[0]:
                problems.append(f"{found} vectors are not {vectors.width} wide")
    return problems + (snapshots.check() if snapshots is not None else [])


def compact(items: Items, vectors: Vectors, snapshots: Snapshots | None, keep_history: bool) -> None:
    """Let go of vectors that no item has any more, and of all revisions but the newest where history is not kept."""
    with items.database.write() as sql:
        sql.execute(f"DELETE FROM {vectors.table} WHERE seq NOT IN (SELECT seq FROM heads)")
        sql.execute(f"DELETE FROM embedded_{vectors.generation} WHERE seq NOT IN (SELECT seq FROM {vectors.table})")
        if not keep_history:
            # The last row stays whatever it is, so that a seq is never given twice.
            sql.execute(
                "DELETE FROM revisions WHERE seq NOT IN (SELECT seq FROM heads) "
                "AND seq < (SELECT max(seq) FROM revisions)"
            )
            sql.execute("DELETE FROM gone WHERE seq NOT IN (SELECT seq FROM revisions)")
        sql.execute("UPDATE meta SET value = value + 1 WHERE name = 'epoch'")
    if snapshots is not None:
        snapshots.remove_all()
    with items.database.alone() as sql:
        sql.execute("VACUUM")
        if items.database.path is not None:
            sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def export(items: Items, file: str | Path) -> int:
    """Write every item as one JSON line, aside and then in place; the number of items."""
    count = 0
    with replacing(Path(file)) as out:
        for line in _lines(items):
            out.write(orjson.dumps(line) + b"\n")
            count += 1
    return count


def load(file: str | Path, write: Callable[[Sequence[PutOp]], Any]) -> int:
    """Put every item of an exported file; the number of items. Raises `InputError` naming the line it cannot read."""
    count, batch = 0, []
    with Path(file).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                batch.append(_read(line, number, file))
            if len(batch) == _AT_ONCE:
                write(batch)
                count, batch = count + len(batch), []
    if batch:
        write(batch)
    return count + len(batch)


_FAULTS = (
    ("a head points at no revision that holds a value", "SELECT count(*) FROM heads h LEFT JOIN revisions r ON "
     "r.seq = h.seq WHERE r.seq IS NULL OR r.action <> 1 OR r.value IS NULL OR (r.ns, r.key) <> (h.ns, h.key)"),
    ("a deleted key points at no deletion", "SELECT count(*) FROM gone g LEFT JOIN revisions r ON "
     "r.seq = g.seq WHERE r.seq IS NULL OR r.action = 1 OR (r.ns, r.key) <> (g.ns, g.key)"),
    ("a key is both there and deleted", "SELECT count(*) FROM heads JOIN gone USING (ns, key)"),
    ("a revision is not known by its key, or newer than is known", "SELECT count(*) FROM revisions r "
     "LEFT JOIN heads h ON h.ns = r.ns AND h.key = r.key LEFT JOIN gone g ON g.ns = r.ns AND g.key = r.key "
     "WHERE ifnull(ifnull(h.version, g.version), 0) < r.version "
     "OR (ifnull(h.version, g.version) = r.version AND ifnull(h.seq, g.seq) <> r.seq)"),
    ("a revision replaces another key's or a newer one", "SELECT count(*) FROM revisions r "
     "JOIN revisions p ON p.seq = r.replaces WHERE (p.ns, p.key) <> (r.ns, r.key) OR p.version >= r.version"),
    ("a revision is of no namespace", "SELECT count(*) FROM revisions WHERE ns NOT IN (SELECT id FROM namespaces)"),
)  # fmt: skip


def _damaged_values(sql: sqlite3.Connection) -> list[str]:
    rows = sql.execute("SELECT seq FROM revisions WHERE value IS NOT NULL AND NOT json_valid(value)").fetchall()
    return [f"revision {seq} holds no JSON" for (seq,) in rows]


def _lines(items: Items) -> Iterator[dict[str, Any]]:
    with items.read() as reader:
        for path in reader.paths(""):
            seqs = [seq for _, seq in reader.keys(path)]
            for start in range(0, len(seqs), _AT_ONCE):
                chunk = seqs[start : start + _AT_ONCE]
                rows = reader.rows(chunk)
                for seq in chunk:
                    row = rows[seq]
                    provenance = load_provenance(row.provenance)
                    yield {
                        "namespace": to_namespace(path),
                        "key": row.key,
                        "value": orjson.loads(row.value or "{}"),
                        "created_at": to_time(row.created),
                        "updated_at": to_time(row.at),
                        "index": None if row.indexed is None else orjson.loads(row.indexed),
                        "ttl": row.ttl,
                        "valid_from": to_time(row.valid_from),
                        "valid_to": to_time(row.valid_to),
                        "provenance": provenance,
                    }


def _read(line: bytes, number: int, file: Any) -> PutOp:
    try:
        found = orjson.loads(line)
        provenance = found.get("provenance")
        if provenance is not None:
            provenance = Provenance(**{**provenance, "messages": tuple(provenance.get("messages", ()))})
        times = {name: _time(found.get(name)) for name in _TIMES}
        return PutOp(
            tuple(found["namespace"]),
            found["key"],
            found["value"],
            found.get("index"),
            found.get("ttl"),
            provenance,
            **times,  # type: ignore[arg-type]
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"line {number} of {file} is no exported item: {error!r}") from error


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
