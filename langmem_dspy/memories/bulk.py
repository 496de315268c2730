"""Many conversations at once: each for itself, and none twice however often the run is interrupted."""

from __future__ import annotations

import contextvars
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from langmem_dspy.errors import InputError, JournalError, MessagesError
from langmem_dspy.messages import read_messages


@dataclass(frozen=True)
class Outcome:
    """What became of one conversation, by its position. `skipped`: it was done in an earlier, interrupted run."""

    position: int
    result: Any = None
    error: Exception | None = None
    skipped: bool = False


def for_each_conversation(
    work: Callable[..., Any],
    conversations: Iterable[Any],
    *,
    num_threads: int = 16,
    done: str | Path | None = None,
    **variables: Any,
) -> Iterator[Outcome]:
    """`work(messages, **variables)` for each conversation, `num_threads` at once; outcomes as they come.

    An error is the outcome of its conversation alone. `done` is a file that names the conversations that were worked
    through, synced before their outcome is handed out; a run that is given it again leaves those out.
    """
    if num_threads < 1:
        raise InputError(f"num_threads is at least 1, not {num_threads!r}")
    with _Done(done) as journal, ThreadPoolExecutor(num_threads, thread_name_prefix="langmem-dspy-bulk") as pool:
        running: dict[Future[Any], tuple[int, str]] = {}
        ended: SimpleQueue[Future[Any]] = SimpleQueue()
        for position, conversation in enumerate(conversations):
            try:
                name = journal.name(conversation)
            except MessagesError as error:
                yield Outcome(position, error=error)
                continue
            if name in journal.names:
                yield Outcome(position, skipped=True)
                continue
            task = functools.partial(contextvars.copy_context().run, work, conversation, **variables)
            future = pool.submit(task)
            running[future] = (position, name)
            future.add_done_callback(ended.put)
            if len(running) >= 2 * num_threads:  # conversations are read as they are needed
                yield from _outcomes(ended, running, journal)
        while running:
            yield from _outcomes(ended, running, journal)


def _outcomes(
    ended: SimpleQueue[Future[Any]], running: dict[Future[Any], tuple[int, str]], journal: _Done
) -> Iterator[Outcome]:
    """Wait until one has ended, and take all that have."""
    outcomes = []
    for future in [ended.get(), *(ended.get() for _ in range(ended.qsize()))]:
        position, name = running.pop(future)
        error = future.exception()
        if error is not None and not isinstance(error, Exception):
            raise error
        outcomes.append(Outcome(position, None if error else future.result(), error))
        if error is None:
            journal.add(name)
    journal.sync()
    yield from outcomes


class _Done:
    """The file of what is done: one name a line, of a conversation by its content."""

    def __init__(self, path: str | Path | None) -> None:
        self.names: set[str] = set()
        self._seen: dict[str, int] = {}
        self._file: IO[str] | None = None
        if path is None:
            return
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "a+", encoding="ascii")  # noqa: SIM115 - it is open for the length of the run
            self._file.seek(0)
            *whole, rest = self._file.read().split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise JournalError(f"cannot keep what is done in {path}: {error}; give the path of a file") from error
        self.names = set(whole)
        if rest:  # a line without its end was not synced: that conversation is worked through again
            self._file.write("\n")

    def __enter__(self) -> _Done:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def name(self, conversation: Any) -> str:
        if self._file is None:
            return ""
        # `vars` rather than `asdict`, which copies all the way down; names of runs before must stay what they were.
        said = [{**vars(m), "tool_calls": [vars(call) for call in m.tool_calls]} for m in read_messages(conversation)]
        text = json.dumps(said, ensure_ascii=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:24]
        self._seen[digest] = self._seen.get(digest, 0) + 1
        return digest if self._seen[digest] == 1 else f"{digest}-{self._seen[digest]}"

    def add(self, name: str) -> None:
        if self._file is not None:
            self._file.write(f"{name}\n")

    def sync(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
