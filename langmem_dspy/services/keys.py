"""API keys: who holds one is a tenant. The file keeps hashes, so that reading it lets nobody in.

A key is 256 random bits, which cannot be guessed or looked up in a dictionary; so one SHA-256 is enough, where a
password would need a slow hash, and it costs a request microseconds.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson
from filelock import FileLock

from langmem_dspy.durable_files import replacing
from langmem_dspy.errors import InputError
from langmem_dspy.namespaces import check_namespace
from langmem_dspy.records import Namespace
from langmem_dspy.services.auth import Tenant

_PREFIX = "lmd"
_RELOAD_SECONDS = 1.0


@dataclass(frozen=True)
class Key:
    """One key as the file keeps it. `revoked_at` is None while it is good."""

    id: str
    name: str
    root: Namespace
    sha256: str
    created_at: str
    revoked_at: str | None = None


class KeyFile:
    """The keys of a server. Changes of the file count within a second, without a restart."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._stamp: tuple[int, int] | None = None
        self._checked = float("-inf")
        self._good: dict[str, Key] = {}

    def create(self, name: str, root: Iterable[str] | None = None) -> str:
        """A new key, said once; `root` None is the name. Raises `InputError` for a root that overlaps another."""
        if not name.strip():
            raise InputError("a key needs a name, that of whoever holds it")
        tenant = Tenant(name, check_namespace(tuple(root or (name,))))
        identifier, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        key = Key(identifier, name, tenant.root, _digest(secret), _now())
        with self._locked():
            keys = self.all()
            for other in keys:
                if other.revoked_at is None and other.root != key.root and _overlap(other.root, key.root):
                    raise InputError(
                        f"the root {'/'.join(key.root)} and {'/'.join(other.root)} of the key {other.name!r} lie in "
                        "one another, so one would see the other's memories; choose another --root"
                    )
            self._write([*keys, key])
        return f"{_PREFIX}_{identifier}_{secret}"

    def revoke(self, identifier: str) -> Key:
        """Let a key in no more. Raises `InputError` where there is none of that id or name, or several."""
        with self._locked():
            keys = self.all()
            found = [key for key in keys if identifier in (key.id, key.name) and key.revoked_at is None]
            if len(found) != 1:
                good = ", ".join(f"{key.id} ({key.name})" for key in keys if key.revoked_at is None)
                raise InputError(f"{len(found)} keys are called {identifier!r}; give the id of one: {good or 'none'}")
            revoked = Key(**{**asdict(found[0]), "revoked_at": _now()})
            self._write([revoked if key is found[0] else key for key in keys])
        return revoked

    def all(self) -> list[Key]:
        """Every key of the file, revoked ones too."""
        try:
            entries = orjson.loads(self.path.read_bytes())["keys"]
            return [Key(**{**entry, "root": tuple(entry["root"])}) for entry in entries]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.path} is no file of keys; make one by `langmem-dspy keys create`") from error

    def tenant(self, presented: str) -> Tenant | None:
        """Who presents this key; None where it is not good."""
        self._follow()
        _, _, rest = presented.partition("_")
        identifier, _, secret = rest.partition("_")
        key = self._good.get(identifier)
        # One comparison whether there is such a key or not, and in constant time.
        right = hmac.compare_digest(key.sha256 if key else _digest(""), _digest(secret))
        return Tenant(key.name, key.root) if key is not None and right else None

    def _follow(self) -> None:
        now = time.monotonic()
        if now - self._checked < _RELOAD_SECONDS:
            return
        self._checked = now
        try:
            found = self.path.stat()
            stamp = (found.st_mtime_ns, found.st_ino)
        except FileNotFoundError:
            stamp = None
        if stamp != self._stamp or stamp is None:
            self._good = {key.id: key for key in self.all() if key.revoked_at is None}
            self._stamp = stamp

    def _locked(self) -> FileLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(f"{self.path}.lock")

    def _write(self, keys: Iterable[Key]) -> None:
        with replacing(self.path, mode=0o600) as file:
            file.write(orjson.dumps({"keys": [asdict(key) for key in keys]}, option=orjson.OPT_INDENT_2))
        self._checked = float("-inf")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _overlap(one: Namespace, other: Namespace) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]
