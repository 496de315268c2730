"""The gate that every request passes: who calls, how much, how long it took; and no error goes out as it is."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from langmem_dspy.services.auth import ALONE, Tenant
from langmem_dspy.services.keys import KeyFile
from langmem_dspy.services.limits import Limits, RateLimiter
from langmem_dspy.services.metrics import Metrics
from langmem_dspy.services.page_routes import PATHS as PAGES
from langmem_dspy.services.wire import Refused, refusal

logger = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/ok", "/info", "/openapi.json"}) | PAGES
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_READ_SECONDS = 60.0


class Gate:
    """Puts the `Tenant` under "tenant" of the scope. `keys` None lets in everyone, on this machine alone."""

    def __init__(self, app: ASGIApp, keys: KeyFile | None, limits: Limits, metrics: Metrics) -> None:
        self.app, self.keys, self.limits, self.metrics = app, keys, limits, metrics
        self._rate = RateLimiter(limits.rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(send)
        try:
            self._admit(scope)
            await self.app(scope, _bounded(receive, self.limits.body_bytes), exchange.send)
        except Refused as refused:
            await exchange.answer(scope, receive, refused.status, refused.detail, refused.headers)
        except Exception as error:
            logger.error("request failed", extra={"incident": exchange.id}, exc_info=error)
            detail = f"the server could not do this; its log has the cause under {exchange.id}"
            await exchange.answer(scope, receive, 500, detail)
        finally:
            self._note(scope, exchange)

    def _admit(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        address = (scope.get("client") or ("?",))[0]
        if int(_digits(headers.get(b"content-length"))) > self.limits.body_bytes:
            raise Refused(413, f"a body has at most {self.limits.body_bytes} bytes", {"Connection": "close"})
        tenant = self._tenant(headers)
        if tenant is None and scope["path"] not in OPEN_PATHS:
            self._slow_down(f"stranger {address}")
            raise Refused(401, "send a key of this server as x-api-key", {"WWW-Authenticate": "Bearer"})
        self._slow_down(tenant.path if tenant is not None and tenant.root else address)
        scope["tenant"] = tenant

    def _tenant(self, headers: dict[bytes, bytes]) -> Tenant | None:
        if self.keys is None:
            _check_is_local(headers)
            return ALONE
        presented = headers.get(b"x-api-key") or headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        return self.keys.tenant(presented.decode("latin-1").strip()) if presented else None

    def _slow_down(self, caller: str) -> None:
        if wait := self._rate.wait(caller):
            raise Refused(429, "too many requests; slow down", {"Retry-After": str(int(wait) + 1)})

    def _note(self, scope: Scope, exchange: _Exchange) -> None:
        seconds = time.perf_counter() - exchange.began
        route = getattr(scope.get("route"), "path", "none")
        self.metrics.request(scope["method"], route, exchange.status, seconds)
        if logger.isEnabledFor(logging.INFO):
            tenant = scope.get("tenant")
            told = {"id": exchange.id, "method": scope["method"], "route": route, "status": exchange.status}
            told |= {"ms": round(seconds * 1000, 2), "tenant": tenant.path if tenant is not None else None}
            logger.info("request", extra=told)


class _Exchange:
    """One request and what was answered so far."""

    def __init__(self, send: Send) -> None:
        self._send, self.began, self.status = send, time.perf_counter(), 0
        self.id = uuid.uuid4().hex[:12]

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", self.id.encode())]
        await self._send(message)

    async def answer(
        self, scope: Scope, receive: Receive, status: int, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        if not self.status:  # else half an answer is out, and its end can only be missing
            await refusal(status, detail, headers)(scope, receive, self.send)


def _bounded(receive: Receive, most: int) -> Receive:
    size, more = 0, True

    async def bounded() -> Message:
        nonlocal size, more
        if not more:
            return await receive()  # waits for the caller to go away, as long as that takes
        try:
            async with asyncio.timeout(_READ_SECONDS):
                message = await receive()
        except TimeoutError:
            raise Refused(408, "the body did not come", {"Connection": "close"}) from None
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        if size > most:
            raise Refused(413, f"a body has at most {most} bytes", {"Connection": "close"})
        return message

    return bounded


def _check_is_local(headers: dict[bytes, bytes]) -> None:
    """Refuse what a web page of elsewhere makes a browser on this machine send."""
    host = headers.get(b"host", b"localhost").decode("latin-1")
    origin = headers.get(b"origin")
    if _name(f"//{host}") not in LOOPBACK or (origin is not None and _name(origin.decode("latin-1")) not in LOOPBACK):
        raise Refused(403, "a server without keys answers this machine alone; make keys by `langmem-dspy keys create`")


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _digits(value: bytes | None) -> bytes:
    return value if value is not None and value.isdigit() and len(value) < 19 else b"0"
