"""The tables of a store, as ordered steps from any older version to this one."""

from __future__ import annotations

import sqlite3

from langmem_dspy.errors import StoreError

# `revisions` is the log and the truth: one row for every change, never altered. `heads` points at the newest row of
# each key that is not deleted, from step 3 on `gone` at that of each that is. Everything in memory follows the log by
# its `seq`.
_STEP_1 = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE namespaces (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE);
CREATE TABLE revisions (
    seq INTEGER PRIMARY KEY,
    ns INTEGER NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, action INTEGER NOT NULL,
    at INTEGER NOT NULL, created INTEGER NOT NULL, replaces INTEGER,
    valid_from INTEGER, valid_to INTEGER, ttl REAL, indexed TEXT, provenance TEXT, value TEXT, terms BLOB
);
CREATE UNIQUE INDEX revisions_by_key ON revisions (ns, key, version);
CREATE TABLE heads (
    ns INTEGER NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL, expires INTEGER, PRIMARY KEY (ns, key)
) WITHOUT ROWID;
CREATE INDEX heads_expiring ON heads (expires) WHERE expires IS NOT NULL;
CREATE TABLE generations (
    id INTEGER PRIMARY KEY, embedder TEXT NOT NULL, width INTEGER, active INTEGER NOT NULL DEFAULT 0
);
INSERT INTO meta VALUES ('generation', 0), ('epoch', 0);
"""

# What was replaced or deleted since a time, for a search as of then.
_STEP_2 = """
CREATE INDEX revisions_replacing ON revisions (at) WHERE replaces IS NOT NULL;
"""

# Each index is a page more to write for every change, so the log has none: `replaces` is the seq of the revision before
# of the same key, deletions included, and history is read along it from `heads` or `gone`.
_STEP_3 = """
UPDATE revisions SET replaces = (
    SELECT p.seq FROM revisions p WHERE p.ns = revisions.ns AND p.key = revisions.key AND p.version < revisions.version
    ORDER BY p.version DESC LIMIT 1
) WHERE replaces IS NULL AND version > 1;
ALTER TABLE heads RENAME TO former_heads;
DROP INDEX heads_expiring;
CREATE TABLE heads (
    ns INTEGER NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL, version INTEGER NOT NULL, created INTEGER NOT NULL,
    expires INTEGER, PRIMARY KEY (ns, key)
) WITHOUT ROWID;
INSERT INTO heads SELECT h.ns, h.key, h.seq, r.version, r.created, h.expires
    FROM former_heads h JOIN revisions r ON r.seq = h.seq ORDER BY h.ns, h.key;
CREATE TABLE gone (
    ns INTEGER NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (ns, key)
) WITHOUT ROWID;
INSERT INTO gone SELECT r.ns, r.key, r.seq, r.version FROM revisions r WHERE NOT EXISTS (
    SELECT 1 FROM revisions later WHERE later.ns = r.ns AND later.key = r.key AND later.version > r.version
) AND NOT EXISTS (SELECT 1 FROM heads h WHERE h.ns = r.ns AND h.key = r.key) ORDER BY r.ns, r.key;
DROP TABLE former_heads;
DROP INDEX revisions_by_key;
DROP INDEX revisions_replacing;
CREATE INDEX heads_expiring ON heads (expires) WHERE expires IS NOT NULL;
"""

_STEPS = (_STEP_1, _STEP_2, _STEP_3)
VERSION = len(_STEPS)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to this version, in one transaction; a newer one than this is refused."""
    if _version(connection) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = _version(connection)  # again: another process may have been first
        if found > VERSION:
            raise StoreError(
                f"this store has format {found}, and this version of langmem_dspy knows up to {VERSION}: upgrade it"
            )
        for step in _STEPS[found:]:
            for statement in step.split(";\n"):
                if statement.strip():
                    connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version
