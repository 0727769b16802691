"""Limits on connections: how many, how large the head of a request may be, how long it may take to arrive.

uvicorn has none of these for httptools: without them one client could hold memory and file descriptors without end.
"""

import asyncio
from functools import partial
from typing import cast

import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from pomona.core.settings import LimitsSettings
from pomona.core.telemetry import get_logger

_REASONS = {408: b"Request Timeout", 431: b"Request Header Fields Too Large", 503: b"Service Unavailable"}
log = get_logger(__name__)


def guarded_protocol(limits: LimitsSettings) -> type[asyncio.Protocol]:
    """The protocol for uvicorn's `http`. It makes one for each connection, by keyword arguments; that it is no class does no harm."""
    return cast("type[asyncio.Protocol]", partial(GuardedProtocol, limits))


class GuardedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        limits: LimitsSettings,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._head_bytes = 0
        self._in_head = True
        self._begins = False
        self._refused = False
        self._whole = True
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] # as uvicorn does
        """Start to wait for a request, if there is room."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections:
            log.warning("too_many_connections", limit=self._limits.max_connections)
            self._refuse(503, f"This server has {self._limits.max_connections} connections open already. Try again later.")
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless a head grows too large."""
        if self.transport.is_closing():
            return
        self._begins = False
        super().data_received(data)
        if self._in_head and not self._begins:  # where in this piece a head began is not known; then it counts from the next on
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.max_header_bytes:
                self._refuse_head()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._head_bytes = 0
        self._begins = True
        self._whole = False
        self._expect_head()

    def on_headers_complete(self) -> None:
        """A head is complete: check it, then serve."""
        self._stop_timer()
        self._in_head = False
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if len(self.headers) > self._limits.max_headers or size > self._limits.max_header_bytes:
            self._refuse_head()
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body; what follows a refused head is not looked at."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of the body."""
        self._whole = True
        self._stop_timer()
        if not self._refused:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer has been sent; if that was before all of the request had come, the rest has a time limit, too."""
        super().on_response_complete()
        if not self._whole and not self.transport.is_closing():
            self._stop_timer()
            self._timer = self.loop.call_later(self._limits.header_seconds, self.transport.close)

    def _expect_head(self) -> None:
        self._in_head = True
        self._stop_timer()
        self._timer = self.loop.call_later(self._limits.header_seconds, self._too_late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        if self.scope is None:  # pyright: ignore[reportUnnecessaryComparison] # None before the first request
            self.transport.close()  # a connection that was never used deserves no answer
            return
        self._refuse(408, f"The request's headers did not arrive within {self._limits.header_seconds:g} seconds.")

    def _refuse_head(self) -> None:
        limits = self._limits
        text = f"The head of the request is larger than {limits.max_header_bytes} bytes or {limits.max_headers} headers."
        self._refuse(431, f"{text} Send less, or raise limits.max_header_bytes or limits.max_headers.")

    def _refuse(self, status: int, message: str) -> None:
        """Answer without the application, and close. Nothing is said in the midst of another answer on this connection."""
        self._stop_timer()
        self._refused = True
        if self.cycle is None or self.cycle.response_complete:  # pyright: ignore[reportUnnecessaryComparison] # None before the first
            self.transport.write(_response(status, message))
        self.transport.close()


def _response(status: int, message: str) -> bytes:
    """In the shape that clients of both vendors find a message in: what they asked for is not known yet."""
    kind = "invalid_request_error" if status < 500 else "overloaded_error"
    error = {"message": message, "type": kind, "param": None, "code": "connection_refused"}
    body = msgspec.json.encode({"type": "error", "error": error})
    lines = (
        b"HTTP/1.1 %d %s" % (status, _REASONS[status]),
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"connection: close",
        b"retry-after: 1" if status == 503 else b"x-should-retry: false",
    )
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
