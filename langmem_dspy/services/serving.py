"""Serve until told to stop: uvicorn around the app, and logs as lines of JSON that never hold contents."""

from __future__ import annotations

import ctypes
import ipaddress
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import orjson
import uvicorn
from filelock import FileLock, Timeout

from langmem_dspy.errors import InputError
from langmem_dspy.services.app import Service, create_app
from langmem_dspy.services.connections import Connection
from langmem_dspy.services.gate import LOOPBACK

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonLines(logging.Formatter):
    """A record as a line of JSON. Of an exception it tells class and places, since its text may quote contents."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told: dict[str, object] = {"time": at, "level": record.levelname.lower(), "message": record.getMessage()}
        told |= {name: value for name, value in vars(record).items() if name not in _PLAIN}
        if record.exc_info and record.exc_info[1] is not None:
            told |= _of_error(record.exc_info[1])
        return orjson.dumps(told, default=str).decode()


def _of_error(error: BaseException) -> dict[str, object]:
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    cause = error.__cause__ or error.__context__
    told: dict[str, object] = {"error": type(error).__name__, "at": places[-12:]}
    return {**told, "cause": _of_error(cause)} if cause is not None else told


def check_host(host: str, *, with_keys: bool) -> None:
    """Refuse to serve other machines without keys."""
    try:
        loopback = host in LOOPBACK or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback and not with_keys:
        raise InputError(
            f"--host {host} can be reached from other machines, and there are no keys: make one by "
            "`langmem-dspy keys create NAME --keys FILE` and serve with --keys FILE, or serve on 127.0.0.1"
        )


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One server for a folder: two would work off each other's runs. Raises `InputError` for a second."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "serve.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"another server works on {folder} already; give this one another --store") from None
    try:
        yield
    finally:
        lock.release()


def _save_memory() -> None:
    """Let glibc's threads share their heaps, and give back what they free: 64 threads would keep as much each."""
    if sys.platform != "linux":
        return
    most_arenas, trim_threshold = -8, -1  # of <malloc.h>
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    set_option(most_arenas, 2)
    set_option(trim_threshold, 2**20)


def serve(service: Service, host: str, port: int, *, log_level: str = "info") -> None:
    """Serve until SIGINT or SIGTERM; then end what is under way, within the time that `limits` give."""
    check_host(host, with_keys=service.keys is not None)
    _save_memory()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("langmem_dspy", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(log_level.upper())
    uvicorn.run(
        create_app(service),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        http=Connection,
        ws="none",  # nothing here speaks it, and its library would be loaded
        timeout_graceful_shutdown=max(1, int(service.limits.drain_seconds)),
    )
