"""Questions to the log of revisions, answered from one state of the database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from langmem_dspy.store.database import Connection
from langmem_dspy.store.past import HELD, STOOD
from langmem_dspy.store.rows import ALWAYS, PUT, Row
from langmem_dspy.store.values import load, texts

_COLUMNS = (
    "r.seq, n.path, r.key, r.version, r.action, r.at, r.created, r.valid_from, r.valid_to, r.ttl, r.indexed, "
    "r.provenance, r.value"
)
_EXACTLY, _MOST = 16, 512  # marks of one statement
_AFTER_ALL = "\U0010ffff"


class Status(NamedTuple):
    """Where the log stands. What follows it starts anew when `epoch` changes: revisions were thrown away.

    `width` is that of the active generation's vectors, None as long as there are none.
    """

    seq: int
    next_expiry: int | None
    generation: int
    epoch: int
    width: int | None


class Last(NamedTuple):
    """The newest revision of a key: a deletion if it is not `live`, and then `created` tells nothing."""

    seq: int
    version: int
    created: int
    live: bool


class Change(NamedTuple):
    """A row of the log as its followers need it."""

    seq: int
    path: str
    action: int
    replaces: int | None


class Addition(NamedTuple):
    """What a shard keeps of a revision."""

    seq: int
    path: str
    valid_from: int | None
    valid_to: int | None
    vectors: bytes | None
    terms: bytes
    provenance: str | None
    value: str


class Reader:
    """Reads through `connection`, which holds one snapshot.

    With `until`, what came later in the log does not exist, whatever happens to the store meanwhile.
    """

    def __init__(self, connection: Connection, until: int | None = None):
        self._sql = connection
        self._until = until
        self._live = "heads"
        if until is not None:
            self._live = (
                f"(SELECT ns, key, seq, NULL AS expires FROM heads WHERE seq <= {until} UNION ALL "
                f"SELECT b.ns, b.key, b.seq, NULL FROM revisions a CROSS JOIN revisions b ON b.seq = a.replaces "
                f"WHERE a.seq > {until} AND b.seq <= {until} AND b.action = {PUT})"
            )

    def last_replacement(self, since: int) -> int:
        """When something was replaced or deleted last, of what was written after the seq `since`."""
        found: int = self._sql.execute(
            "SELECT ifnull(max(at), ?) FROM revisions WHERE seq > ? AND seq <= ? AND replaces IS NOT NULL",
            (-ALWAYS, since, self._bound),
        ).fetchone()[0]
        return found

    def past(self, time: int, prefix: str) -> Reader | None:
        """Reads what the namespaces at and below `prefix` held at `time`; None if that is what they hold now."""
        self._sql.execute("CREATE TEMP TABLE IF NOT EXISTS stood (newest INTEGER PRIMARY KEY, seq INTEGER NOT NULL)")
        self._sql.execute("DELETE FROM temp.stood")
        if not self._sql.execute(STOOD, (time, prefix, prefix + _AFTER_ALL, self._bound)).rowcount:
            return None
        return self.standing([])

    def standing(self, told: Sequence[tuple[str, str, int]]) -> Reader:
        """Reads what stood at the time that `past` was asked for, after it was; of some (path, key) the seq told."""
        known = [(last.seq, seq) for path, key, seq in told if (last := self.last(path, key)) is not None]
        self._sql.executemany("INSERT OR REPLACE INTO temp.stood VALUES (?, ?)", known)
        reader = Reader(self._sql, self._until)
        reader._live = HELD.format(live=self._live)
        return reader

    def touched(self, prefix: str) -> list[tuple[str, str]]:
        """(path, key) of all that was ever written at and below `prefix`."""
        return self._sql.execute(
            "SELECT DISTINCT n.path, r.key FROM revisions r JOIN namespaces n ON n.id = r.ns "
            "WHERE n.path >= ? AND n.path < ? AND r.seq <= ?",
            (prefix, prefix + _AFTER_ALL, self._bound),
        ).fetchall()

    def totals(self) -> tuple[int, int, int]:
        """How many items, namespaces that hold some, and revisions there are."""
        found: tuple[int, int, int] = self._sql.execute(
            f"SELECT (SELECT count(*) FROM {self._live}), (SELECT count(DISTINCT ns) FROM {self._live}), "
            "(SELECT count(*) FROM revisions WHERE seq <= ?)",
            (self._bound,),
        ).fetchone()
        return found

    def status(self) -> Status:
        sql = self._sql
        # What others committed changes the first number, what this connection wrote itself the second.
        state = (sql.execute("PRAGMA data_version").fetchone()[0], sql.total_changes)
        if sql.status is None or sql.status[0] != state:
            sql.status = (state, Status(*sql.execute(_STATUS).fetchone()))
        status: Status = sql.status[1]
        return status

    def paths(self, prefix: str) -> list[str]:
        """The namespaces at and below `prefix` that hold items, sorted."""
        rows = self._sql.execute(
            f"SELECT path FROM namespaces n WHERE path >= ? AND path < ? "
            f"AND EXISTS (SELECT 1 FROM {self._live} WHERE ns = n.id) ORDER BY path",
            (prefix, prefix + _AFTER_ALL),
        )
        return [path for (path,) in rows]

    def counts(self, prefix: str) -> list[tuple[str, int]]:
        """As `paths`, each with the number of its items."""
        return self._sql.execute(
            f"SELECT n.path, count(*) FROM {self._live} h JOIN namespaces n ON n.id = h.ns "
            "WHERE n.path >= ? AND n.path < ? GROUP BY n.path ORDER BY n.path",
            (prefix, prefix + _AFTER_ALL),
        ).fetchall()

    def last(self, path: str, key: str) -> Last | None:
        row = self._sql.execute(
            f"{_CHAIN} SELECT r.seq, r.version, r.created, r.action = {PUT} FROM chain c CROSS JOIN revisions r "
            "ON r.seq = c.seq WHERE r.seq <= ?3 LIMIT 1",
            (path, key, self._bound),
        ).fetchone()
        return None if row is None else Last(*row)

    def rows(self, seqs: Sequence[int]) -> dict[int, Row]:
        found = {}
        for chunk, marks in _chunked(seqs):
            for row in self._sql.execute(
                f"SELECT {_COLUMNS} FROM revisions r JOIN namespaces n ON n.id = r.ns WHERE r.seq IN ({marks})", chunk
            ):
                found[row[0]] = Row._make(row)
        return found

    def expiries(self, rows: Iterable[Row]) -> dict[int, int]:
        """When the items among `rows` that have a ttl end, by seq."""
        found = {}
        for row in rows:
            if row.ttl is not None:
                expires = self._sql.execute(
                    f"SELECT expires FROM heads WHERE ns = ({_NS}) AND key = ? AND seq = ?",
                    (row.path, row.key, row.seq),
                ).fetchone()
                if expires is not None and expires[0] is not None:
                    found[row.seq] = expires[0]
        return found

    def labels(self, seqs: Sequence[int]) -> dict[int, tuple[str, str]]:
        """(path, key) of revisions, to order ties."""
        found = {}
        for chunk, marks in _chunked(seqs):
            for seq, path, key in self._sql.execute(
                f"SELECT r.seq, n.path, r.key FROM revisions r JOIN namespaces n ON n.id = r.ns "
                f"WHERE r.seq IN ({marks})",
                chunk,
            ):
                found[seq] = (path, key)
        return found

    def keys(self, path: str) -> Iterator[tuple[str, int]]:
        """(key, seq) of the items of one namespace, by key."""
        yield from self._sql.execute(f"SELECT key, seq FROM {self._live} WHERE ns = ({_NS}) ORDER BY key", (path,))

    def changes(self, since: int) -> Iterator[Change]:
        rows = self._sql.execute(
            "SELECT r.seq, n.path, r.action, r.replaces FROM revisions r JOIN namespaces n ON n.id = r.ns "
            "WHERE r.seq > ? AND r.seq <= ? ORDER BY r.seq",
            (since, self._bound),
        )
        return map(Change._make, rows)

    def vectors(self, path: str, table: str) -> Iterator[tuple[int, int | None, int | None, bytes | None]]:
        """(seq, valid_from, valid_to, vectors) of the items at and below a namespace, by seq."""
        return self._from("r.valid_from, r.valid_to, v.data", f"LEFT JOIN {table} v ON v.seq = h.seq", path)

    def words(self, path: str) -> Iterator[tuple[int, str, bytes, str | None]]:
        """(seq, path, terms, provenance) of the items at and below a namespace, by seq."""
        return self._from("n.path, r.terms, r.provenance", "JOIN namespaces n ON n.id = h.ns", path)

    def values(self, path: str) -> Iterator[tuple[int, str]]:
        """(seq, value) of the items at and below a namespace, by seq."""
        return self._from("r.value", "", path)

    def additions(self, seqs: Sequence[int], table: str) -> list[Addition]:
        """All that a shard keeps of some revisions, by seq."""
        found: list[Any] = []
        for chunk, marks in _chunked(seqs):
            found += self._sql.execute(
                "SELECT r.seq, n.path, r.valid_from, r.valid_to, v.data, r.terms, r.provenance, r.value "
                "FROM revisions r JOIN namespaces n ON n.id = r.ns "
                f"LEFT JOIN {table} v ON v.seq = r.seq WHERE r.seq IN ({marks})",
                chunk,
            )
        return sorted(map(Addition._make, found))

    def embedded_text(self, table: str) -> tuple[str, bytes] | None:
        """A text of a stored item and what starts with its vector, if an embedder made it."""
        for value, index, data in self._sql.execute(
            f"SELECT r.value, r.indexed, v.data FROM {table.replace('vectors', 'embedded')} e "
            f"JOIN {table} v ON v.seq = e.seq JOIN revisions r ON r.seq = e.seq WHERE e.part = 0"
        ):
            if found := texts(load(value), None if index is None else load(index)):
                return found[0], data
        return None

    def history(self, path: str, key: str) -> list[Row]:
        rows = self._sql.execute(
            f"{_CHAIN} SELECT {_COLUMNS} FROM chain c CROSS JOIN revisions r ON r.seq = c.seq "
            "JOIN namespaces n ON n.id = r.ns WHERE r.seq <= ?3 ORDER BY r.version",
            (path, key, self._bound),
        )
        return list(map(Row._make, rows))

    def _from(self, columns: str, join: str, path: str) -> Iterator[Any]:
        return iter(
            self._sql.execute(
                f"SELECT h.seq, {columns} FROM {self._live} h JOIN revisions r ON r.seq = h.seq {join} "
                "WHERE h.ns IN (SELECT id FROM namespaces WHERE path >= ? AND path < ?) ORDER BY h.seq",
                (path, path + _AFTER_ALL),
            )
        )

    @property
    def _bound(self) -> int:
        return 2**62 if self._until is None else self._until


# The revisions of a key, newest first.
_CHAIN = (
    "WITH RECURSIVE place(ns, key) AS (SELECT id, ?2 FROM namespaces WHERE path = ?1), chain(seq) AS ("
    "SELECT h.seq FROM place p JOIN heads h ON h.ns = p.ns AND h.key = p.key UNION ALL "
    "SELECT g.seq FROM place p JOIN gone g ON g.ns = p.ns AND g.key = p.key UNION ALL "
    "SELECT r.replaces FROM chain c JOIN revisions r ON r.seq = c.seq WHERE r.replaces IS NOT NULL)"
)
_NS = "SELECT id FROM namespaces WHERE path = ?"
_STATUS = (
    "SELECT (SELECT ifnull(max(seq), 0) FROM revisions), (SELECT min(expires) FROM heads WHERE expires IS NOT NULL), "
    "(SELECT value FROM meta WHERE name = 'generation'), (SELECT value FROM meta WHERE name = 'epoch'), "
    "(SELECT width FROM generations WHERE active)"
)


def _chunked(seqs: Sequence[int]) -> Iterator[tuple[list[int], str]]:
    # A few sizes of statement, filled up with a seq that does not exist: SQLite's statement cache then hits.
    start = 0
    while start < len(seqs):
        left = len(seqs) - start
        size = left if left <= _EXACTLY else min(_MOST, 1 << (left - 1).bit_length())
        chunk = [int(s) for s in seqs[start : start + size]]
        yield chunk + [-1] * (size - len(chunk)), ",".join("?" * size)
        start += size
