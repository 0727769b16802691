"""ASGI middleware: gives each request its trace, and times what comes in and goes out."""

import re
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pomona.core.tracing.marks import RequestTrace, TraceParent
from pomona.server.access.middleware import REQUEST_ID
from pomona.server.tracing.current import CURRENT, Current
from pomona.server.tracing.explaining import server_timing
from pomona.server.tracing.store import TraceStore

_TRACE_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Tracing:
    """Innermost but for the application: what it times is the work of a request that came in."""

    def __init__(self, app: ASGIApp, store: TraceStore, new: Callable[..., RequestTrace] = RequestTrace) -> None:
        self._app = app
        self._store = store
        self._new = new

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve under a trace."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        trace = self._new(scope["state"][REQUEST_ID], parent_of(Headers(scope=scope).get("traceparent", "")))
        token = CURRENT.set(Current(trace, self._store.keep))
        try:
            await self._app(scope, _timed_receive(trace, receive), _timed_send(trace, send))
        finally:
            CURRENT.reset(token)
            trace.close()
            self._store.settle(trace)


def parent_of(header: str) -> TraceParent | None:
    """What a W3C `traceparent` header says; None for none, and for one that is not as the standard has it."""
    found = _TRACE_PARENT.fullmatch(header.strip())
    if found is None or (header.strip().startswith("00") and found[4]):
        return None
    return TraceParent(trace_id=found[1], span_id=found[2], sampled=bool(int(found[3], 16) & 1))


def _timed_receive(trace: RequestTrace, receive: Receive) -> Receive:
    async def timed() -> Message:
        message = await receive()
        if trace.name == "receive" and not message.get("more_body", False):
            trace.enter("read")
        return message

    return timed


def _timed_send(trace: RequestTrace, send: Send) -> Send:
    clock = trace.clock

    async def timed(message: Message) -> None:
        if message["type"] == "http.response.start":
            trace.status = message["status"]
            if timing := server_timing(trace):
                MutableHeaders(scope=message)["server-timing"] = timing
            await send(message)
            return
        start = clock()
        await send(message)
        end = clock()
        trace.note_write(start, end)
        if trace.first_byte is None:
            trace.first_byte = end

    return timed
