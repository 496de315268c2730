"""HTTP connections that come to the point: one that begins a request and does not go on is closed.

uvicorn waits for the rest of the headers without end, so that who opens connections and says half a word on each would
in the end keep everyone else out.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEADER_SECONDS = 30.0
_BUSY = object()


class Connection(AutoHTTPProtocol):  # type: ignore[misc,valid-type] # which class it is, is decided when it runs
    """Closed where it waits for a request, and still for the same one `HEADER_SECONDS` later."""

    _looking: asyncio.TimerHandle | None = None
    _before: Any = _BUSY

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._looking is not None:
            self._looking.cancel()
        super().connection_lost(exc)

    def _look_later(self) -> None:
        self._looking = self.loop.call_later(HEADER_SECONDS, self._look)

    def _look(self) -> None:
        last = self.cycle  # the last request whose headers came whole; None before the first
        waits = last is None or last.response_complete
        if waits and last is self._before:
            self.transport.close()
            return
        self._before = last if waits else _BUSY
        self._look_later()
