"""The journal of a run: every reply, synced to disk before anyone acts on it, so that a killed run can go on.

`log_dir/journal.jsonl` holds one JSON object per line: first the run's identity, then a line per reply. Started again
with the same `log_dir`, a run hands out each recorded reply once, to the request it answered; only calls that were in
flight are asked again. No pickle: reading a journal runs no code.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from collections import defaultdict, deque
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

# The one place that needs lm15's JSON form; DSPy keys its own cache with the same functions.
from dspy._vendor.lm15.serde import request_to_dict, response_from_dict, response_to_dict
from dspy.lm15 import Request, Response

from langmem_dspy.durable_files import sync_folder
from langmem_dspy.errors import JournalError
from langmem_dspy.usage import Role

FILE_NAME = "journal.jsonl"


class Journal:
    """A durable `usage.ReplyLog`. One process at a time; threads as many as you like."""

    def __init__(self, folder: str | os.PathLike[str], identity: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.run_id = ""
        self._replies: dict[str, deque[tuple[Response, float | None]]] = defaultdict(deque)
        self._lock = threading.Lock()
        self._broken: JournalError | None = None
        self._open_files = ExitStack()
        with self._open_files as until_failure:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                until_failure.callback(self._claimed().release)
                # Unbuffered, so that nothing is left to be written when a write has failed.
                self._file = until_failure.enter_context((self.folder / FILE_NAME).open("ab", buffering=0))
                self._read_all(identity)
            except OSError as error:
                raise JournalError(
                    f"cannot write the journal in {self.folder}: {error}; choose another log_dir"
                ) from error
            self._open_files = until_failure.pop_all()

    def take(self, role: Role, request: Request) -> tuple[Response, float | None] | None:
        with self._lock:
            self.check()
            waiting = self._replies.get(_key(role, request))
            return waiting.popleft() if waiting else None

    def put(self, role: Role, request: Request, response: Response, cost: float | None) -> None:
        self._append({"key": _key(role, request), "response": response_to_dict(response), "cost": cost})

    def check(self) -> None:
        """Raise `JournalError` if a reply could not be written: the run must not go on without its journal."""
        if self._broken is not None:
            raise self._broken

    def close(self) -> None:
        self._open_files.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _claimed(self) -> Any:
        from filelock import FileLock, Timeout

        claim = FileLock(self.folder / "journal.lock", timeout=0)
        try:
            claim.acquire()
        except Timeout:
            raise JournalError(f"another run is writing to {self.folder}; give each run its own log_dir") from None
        return claim

    def _read_all(self, identity: Mapping[str, Any]) -> None:
        plain = json.loads(json.dumps(identity, default=str, sort_keys=True))
        whole = 0
        with (self.folder / FILE_NAME).open("rb") as past:
            for number, line in enumerate(past):
                if not line.endswith(b"\n"):
                    break  # the line a kill cut off: its call counts as still in flight
                self._read(number, line, plain)
                whole += len(line)
        self._file.truncate(whole)
        if not whole:
            self.run_id = hashlib.sha256(os.urandom(16)).hexdigest()[:16]
            self._append({"run_id": self.run_id, "identity": plain})
            sync_folder(self.folder)  # a new file survives a power cut only with its name

    def _read(self, number: int, line: bytes, identity: Mapping[str, Any]) -> None:
        try:
            entry = json.loads(line)
            if number == 0:
                self.run_id = entry["run_id"]
                self._check(entry["identity"], identity)
            else:
                self._replies[entry["key"]].append((response_from_dict(entry["response"]), entry["cost"]))
        except (ValueError, KeyError, TypeError) as error:
            raise JournalError(
                f"{self.folder / FILE_NAME}, line {number + 1}, is no journal entry ({error}); choose another log_dir"
            ) from error

    def _check(self, recorded: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
        if differing := differing_keys(recorded, identity):
            raise JournalError(
                f"{self.folder} holds the journal of another run: {', '.join(differing)} differ; "
                "give this run its own log_dir, or remove that folder"
            )

    def _append(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps(entry).encode() + b"\n"
        with self._lock:
            self.check()
            before = self._file.seek(0, os.SEEK_END)
            try:
                written = self._file.write(line)
                if written != len(line):
                    raise OSError(errno.ENOSPC, f"only {written} of {len(line)} bytes could be written")
                os.fsync(self._file.fileno())
            except OSError as error:
                self._broken = JournalError(
                    f"cannot write the journal in {self.folder}: {error}; once it can be written, start again with the "
                    "same log_dir to go on"
                )
                with suppress(OSError):
                    self._file.truncate(before)  # half a line must not be followed by others
                raise self._broken from error


def differing_keys(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """What of two identities is not the same, in alphabetical order."""
    return sorted(key for key in {*recorded, *given} if recorded.get(key) != given.get(key))


def _key(role: Role, request: Request) -> str:
    text = json.dumps([role, request_to_dict(request)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
