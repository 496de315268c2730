"""What online learning remembers, in one SQLite file: each learning step is one transaction, so a kill loses none.

Feedback is written down when it comes, before anything is asked. Processes that share a folder take turns at learning
(a file lock); reading the current prompts waits for nobody.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from langmem_dspy.errors import InputError, JournalError
from langmem_dspy.optimizers.journal import differing_keys
from langmem_dspy.optimizers.lessons import Ledger, Lesson
from langmem_dspy.optimizers.observations import Observation, RegressionSet, from_json, to_json
from langmem_dspy.usage import Budget, Usage

FILE_NAME = "online.sqlite3"
_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS versions (number INTEGER PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS observations (
    at INTEGER PRIMARY KEY AUTOINCREMENT, kept INTEGER NOT NULL, value TEXT NOT NULL
);
"""


@dataclass(frozen=True)
class PromptVersion:
    """The prompts by predictor as they were at one time. `lessons` are the ids of those in force; `at` is Unix time.

    `before` and `after`: mean scores in [0, 1] of the version before it and its own, on what it was tried on;
    None where nothing could be replayed.
    """

    number: int
    prompts: Mapping[str, str]
    lessons: tuple[int, ...] = ()
    reason: str = ""
    at: float = field(default_factory=time.time)
    before: float | None = None
    after: float | None = None


@dataclass
class Memory:
    """All that is remembered but the observations. `champion`: the number of the version in use."""

    run_id: str
    lessons: list[Lesson] = field(default_factory=list)
    in_force: tuple[int, ...] = ()
    champion: int = 0
    steps: int = 0
    spent: Usage = field(default_factory=Usage)
    metric_calls: int = 0
    withdrawn: frozenset[tuple[str, str]] = frozenset()

    def ledger(self, base: Mapping[str, str], frozen: Sequence[str]) -> Ledger:
        return Ledger.restored(base, frozen, self.lessons, self.in_force)

    def remaining(self, budget: Budget) -> Budget:
        """What of a budget for the whole life of the state is left; `seconds` are of one reflection."""
        spent = {
            "lm_calls": self.spent.lm_calls,
            "metric_calls": self.metric_calls,
            "tokens": self.spent.tokens,
            "cost": self.spent.cost,
        }
        limits = {name: most for name, most in asdict(budget).items() if most is not None and name in spent}
        return replace(budget, **{name: max(0, most - spent[name]) for name, most in limits.items()})

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "withdrawn": sorted(self.withdrawn)})

    @classmethod
    def from_json(cls, text: str) -> Memory:
        data = json.loads(text)
        lessons = [
            Lesson(**{**known, "evidence": tuple(known["evidence"]), "tried_on": tuple(known["tried_on"])})
            for known in data.pop("lessons")
        ]
        withdrawn = frozenset((predictor, text) for predictor, text in data.pop("withdrawn"))
        spent, in_force = Usage(**data.pop("spent")), tuple(data.pop("in_force"))
        return cls(**data, lessons=lessons, withdrawn=withdrawn, spent=spent, in_force=in_force)


class OnlineState:
    """The file in `folder`; in memory if None. `identity` is what must be the same for it to be gone on with."""

    def __init__(self, folder: Path | None, identity: Mapping[str, Any], base: PromptVersion) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            place = ":memory:" if folder is None else str(folder / FILE_NAME)
            self._connection = sqlite3.connect(place, timeout=60, check_same_thread=False, isolation_level=None)
            self._prepare(identity, base)
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"cannot open the state of online learning in {folder}: {error}") from error

    def _prepare(self, identity: Mapping[str, Any], base: PromptVersion) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            self._connection.execute(f"PRAGMA {pragma}").close()
        with self._transaction() as connection:
            for statement in filter(str.strip, _TABLES.split(";")):
                connection.execute(statement)
            known = connection.execute("SELECT value FROM facts WHERE name = 'identity'").fetchone()
            plain = json.loads(json.dumps(identity))
            if known is None:
                connection.execute("INSERT INTO facts VALUES ('identity', ?)", [json.dumps(plain)])
                _put(connection, Memory(uuid4().hex[:16]), base)
            elif differing := differing_keys(json.loads(known[0]), plain):
                raise InputError(
                    f"{self.folder} holds what was learned for another program: {', '.join(differing)} differ; give "
                    "this one its own path, or the prompts it had"
                )

    @contextmanager
    def learning(self) -> Iterator[None]:
        """One learner at a time, in this process and in others."""
        from filelock import FileLock

        with self._lock:
            if self.folder is None:
                yield
                return
            with FileLock(self.folder / "online.lock"):
                yield

    def memory(self) -> Memory:
        return Memory.from_json(self._all("SELECT value FROM facts WHERE name = 'memory'")[0][0])

    def champion(self) -> PromptVersion:
        # Every live run asks for it: all lessons ever learned are not read for one number.
        in_use = "SELECT json_extract(value, '$.champion') FROM facts WHERE name = 'memory'"
        return _version(self._all(f"SELECT value FROM versions WHERE number = ({in_use})")[0][0])

    def versions(self) -> list[PromptVersion]:
        return [_version(text) for (text,) in self._all("SELECT value FROM versions ORDER BY number")]

    def version(self, number: int) -> PromptVersion:
        """Raises `InputError` for a number there is none of."""
        found = self._all("SELECT value FROM versions WHERE number = ?", number)
        if not found:
            raise InputError(f"there is no version {number!r}; there are {[v.number for v in self.versions()]}")
        return _version(found[0][0])

    def observations(self, *, kept: bool) -> list[tuple[int, Observation]]:
        """Those of the regression set, or those that wait to be learned from, with their row; oldest first."""
        rows = self._all("SELECT at, value FROM observations WHERE kept = ? ORDER BY at", int(kept))
        return [(at, from_json(text)) for at, text in rows]

    def regression_set(self, size: int) -> RegressionSet:
        return RegressionSet(size, {seen.id: seen for _, seen in self.observations(kept=True)})

    def next_version(self, ledger: Ledger, tried: tuple[float, float] | None, reason: str) -> PromptVersion:
        """The prompts of a ledger under the next number; not yet written down."""
        number = max(version.number for version in self.versions()) + 1
        before, after = tried or (None, None)
        return PromptVersion(number, ledger.prompts(), ledger.in_force, reason, before=before, after=after)

    def receive(self, observation: Observation, most: int) -> None:
        """Write down what came in. More than `most` do not wait: the oldest are forgotten."""
        with self._transaction() as connection:
            connection.execute("INSERT INTO observations (kept, value) VALUES (0, ?)", [to_json(observation)])
            connection.execute(
                "DELETE FROM observations WHERE kept = 0 AND at NOT IN "
                "(SELECT at FROM observations WHERE kept = 0 ORDER BY at DESC LIMIT ?)",
                [most],
            )

    def save(
        self,
        memory: Memory,
        version: PromptVersion | None = None,
        *,
        done: Sequence[int] = (),
        kept: Sequence[Observation] | None = None,
    ) -> None:
        """One step, whole or not at all. `done`: rows that wait no more. `kept`: the regression set from now on."""
        with self._transaction() as connection:
            _put(connection, memory, version)
            connection.executemany("DELETE FROM observations WHERE at = ?", [(at,) for at in done])
            if kept is not None:
                connection.execute("DELETE FROM observations WHERE kept = 1")
                rows = [(to_json(observation),) for observation in kept]
                connection.executemany("INSERT INTO observations (kept, value) VALUES (1, ?)", rows)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise

    def _all(self, query: str, *values: Any) -> list[Any]:
        with self._lock, closing(self._connection.execute(query, values)) as cursor:
            return cursor.fetchall()


def _put(connection: sqlite3.Connection, memory: Memory, version: PromptVersion | None) -> None:
    connection.execute("INSERT OR REPLACE INTO facts VALUES ('memory', ?)", [memory.to_json()])
    if version is not None:
        connection.execute(
            "INSERT OR REPLACE INTO versions VALUES (?, ?)", [version.number, json.dumps(asdict(version))]
        )


def _version(text: str) -> PromptVersion:
    version = PromptVersion(**json.loads(text))
    return replace(version, lessons=tuple(version.lessons))
