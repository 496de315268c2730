"""The folder of one run on local disk: what happened, before any server hears of it, so that nothing is lost.

<root>/<run_id>/events.jsonl     the run's events, one JSON object a line, written as they happen
                run.json         what the events do not tell: experiment, program, git commit
                program.json     the compiled program's state, as `dspy.Module.save` writes it
                delivered.json   per tracking URI, how much of it has arrived there
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langmem_dspy.durable_files import replacing
from langmem_dspy.errors import TrackingError

if TYPE_CHECKING:
    from filelock import FileLock

    from langmem_dspy.events import Event

logger = logging.getLogger(__name__)

DEFAULT_ROOT = Path(".langmem") / "runs"
EVENTS, ABOUT, PROGRAM, DELIVERED = "events.jsonl", "run.json", "program.json", "delivered.json"


def encode(event: Event) -> bytes:
    """One line of JSON. What JSON has no form for is written as its text; lone surrogates are escaped."""
    fields = {"event": type(event).__name__, **vars(event)}
    return json.dumps(fields, default=_plain, separators=(",", ":")).encode() + b"\n"


class Spool:
    """One run's folder. Appending is safe from any thread; it costs one `write` and survives a kill of the process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._whole = False  # whether the last line is known to be whole
        self._lock = threading.Lock()

    @classmethod
    def of(cls, root: Path, run_id: str) -> Spool:
        """The spool of `run_id` below `root`, made if it is not there."""
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", run_id)
        if name != run_id or not name.strip("."):
            name = f"{name}-{hashlib.sha256(run_id.encode('utf-8', 'replace')).hexdigest()[:8]}"
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder)

    @property
    def events(self) -> Path:
        return self.folder / EVENTS

    @property
    def program(self) -> Path:
        return self.folder / PROGRAM

    def append(self, line: bytes) -> None:
        """Add one encoded event. A line that a kill cut off earlier is closed first, so that it spoils no other."""
        with self._lock:
            if not self._whole:
                line = line if _ends_whole(self.events) else b"\n" + line
                self._whole = True
            with self.events.open("ab") as file:
                file.write(line)

    def read(self, offset: int) -> tuple[list[dict[str, Any]], int]:
        """The whole events after byte `offset`, and where the next ones will begin."""
        if not self.events.exists():
            return [], offset
        with self.events.open("rb") as file:
            file.seek(offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        return list(self._parsed(whole)), offset + len(whole)

    def size(self) -> int:
        return self.events.stat().st_size if self.events.exists() else 0

    def about(self) -> dict[str, Any]:
        return self._load(ABOUT)

    def note(self, **facts: Any) -> None:
        """Write down what the events do not tell; what is known already stays."""
        with self._lock:
            self._store(ABOUT, {**facts, **self._load(ABOUT)})

    def delivered(self, uri: str) -> dict[str, Any]:
        """How much has arrived at `uri`: {} if nothing is known."""
        found = self._load(DELIVERED).get(uri, {})
        return found if isinstance(found, dict) else {}

    def mark_delivered(self, uri: str, **state: Any) -> None:
        self._store(DELIVERED, {**self._load(DELIVERED), uri: state})

    def claim(self) -> FileLock:
        """The lock that whoever delivers this run holds. Raises `TrackingError` if another has it."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / "delivery.lock", timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            raise TrackingError(f"the run in {self.folder} is being delivered by another process or thread") from None
        return lock

    def _parsed(self, text: bytes) -> Iterator[dict[str, Any]]:
        for line in text.splitlines():
            try:
                event = json.loads(line) if line.strip() else None
            except ValueError:
                logger.warning("a damaged line in %s is left out: %r", self.events, line[:80])
                continue
            if isinstance(event, dict):
                yield event

    def _load(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            logger.warning("%s is damaged and is read as empty", path)
            return {}
        return found if isinstance(found, dict) else {}

    def _store(self, name: str, content: Mapping[str, Any]) -> None:
        # Not synced: it is written with every step of a run, and a run whose notes are gone is read by its events.
        with replacing(self.folder / name, synced=False) as file:
            file.write(json.dumps(content, default=_plain, indent=1).encode())


def spools_under(path: Path) -> list[Spool]:
    """The runs at `path`: a run's folder, its events.jsonl, or a folder of such folders; oldest first."""
    if path.is_file():
        path = path.parent
    if (path / EVENTS).is_file():
        return [Spool(path)]
    found = path.glob(f"*/{EVENTS}") if path.is_dir() else ()
    return [Spool(file.parent) for file in sorted(found, key=lambda file: (file.stat().st_mtime, str(file)))]


def _ends_whole(path: Path) -> bool:
    if not path.exists() or not path.stat().st_size:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    return str(value)
