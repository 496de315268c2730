"""What stood at a time: of each key the revision that was the newest then."""

from __future__ import annotations

from collections.abc import Sequence

from langmem_dspy.store.rows import PUT, Row

NOTHING = -1  # the seq of no revision

# Of each key what stood there at a time, where that is not what is newest; nothing where nothing stood. Where the
# newest revision says itself when it holds, that one alone counts: it may be a late correction.
STOOD = f"""
WITH RECURSIVE searched(ns) AS (SELECT id FROM namespaces WHERE path >= ?2 AND path < ?3),
newest(seq) AS (
    SELECT h.seq FROM searched s CROSS JOIN heads h ON h.ns = s.ns
    UNION ALL SELECT g.seq FROM searched s CROSS JOIN gone g ON g.ns = s.ns
    UNION ALL SELECT r.replaces FROM newest n CROSS JOIN revisions r ON r.seq = n.seq WHERE n.seq > ?4
),
back(newest, seq) AS (
    SELECT r.seq, r.replaces FROM newest n CROSS JOIN revisions r ON r.seq = n.seq
    WHERE n.seq <= ?4 AND r.at > ?1 AND (r.action <> {PUT} OR (r.valid_from IS NULL AND r.valid_to IS NULL))
    UNION ALL SELECT b.newest, r.replaces FROM back b CROSS JOIN revisions r ON r.seq = b.seq WHERE r.at > ?1
)
INSERT INTO temp.stood SELECT b.newest, b.seq FROM back b CROSS JOIN revisions r ON r.seq = b.seq
WHERE r.at <= ?1 AND r.action = {PUT}
"""
HELD = """(
    SELECT ns, key, seq, expires FROM {live} WHERE seq NOT IN (SELECT newest FROM temp.stood)
    UNION ALL SELECT r.ns, r.key, r.seq, NULL FROM temp.stood s CROSS JOIN revisions r ON r.seq = s.seq
)"""


def stood_at(history: Sequence[Row], time: int) -> int:
    """Which of a key's revisions stood at `time`, as `STOOD` tells it of all keys of one log."""
    newest = history[-1]
    timed = newest.action == PUT and (newest.valid_from is not None or newest.valid_to is not None)
    if newest.at > time and not timed:
        older = next((row for row in reversed(history) if row.at <= time), None)
        if older is not None and older.action == PUT:
            return older.seq
    return newest.seq if newest.action == PUT else NOTHING
