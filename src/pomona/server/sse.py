"""Server-sent events over ASGI: prompt headers, backpressure, keepalives, disconnects, errors inside the stream."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pomona.server.drain import Drain, attend
from pomona.server.errors import ClientLeft, error_document, outcome

_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStyle:
    """What differs between vendors: the sign of life during silence, and how an error is told inside the stream."""

    keepalive: bytes
    error: Callable[[Exception], bytes]


OPENAI_STYLE = StreamStyle(keepalive=b": keepalive\n\n", error=lambda error: b"data: " + error_document(error) + b"\n\n")
NO_HEADERS: Mapping[str, str] = {}


class EventStream(Response):
    """Sends `chunks` as they come, each a complete piece of the stream; an empty chunk only says that the answer has begun.

    The headers go out with the first chunk, so that an error before it still becomes a status of its own, or after
    `keepalive_seconds` of silence at the latest. The next chunk is asked for when the last one was taken: a slow reader
    slows the generator. When the client leaves, the generator is closed at once, wherever it waits.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        chunks: AsyncGenerator[bytes],
        *,
        keepalive_seconds: float,
        drain: Drain,
        style: StreamStyle = OPENAI_STYLE,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        super().__init__(headers={**_HEADERS, **headers})
        del self.headers["content-length"]
        self._chunks = chunks
        self._keepalive_seconds = keepalive_seconds
        self._drain = drain
        self._style = style

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        writer = _Writer(send, self.status_code, self.raw_headers)
        error = await outcome(attend(self._pump(writer), receive, self._drain))
        if isinstance(error, ClientLeft):
            return
        if error is not None:
            if not writer.started:
                raise error
            await writer.write(self._style.error(error))
        await writer.write(b"", more=False)

    async def _pump(self, writer: "_Writer") -> None:
        ticking = asyncio.ensure_future(self._tick(writer))
        try:
            async with aclosing(self._chunks) as chunks:
                async for chunk in chunks:
                    await writer.write(chunk)
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)

    async def _tick(self, writer: "_Writer") -> None:
        loop = asyncio.get_running_loop()
        while True:
            silent_seconds = loop.time() - writer.last_write
            if silent_seconds >= self._keepalive_seconds and not writer.lock.locked():
                await writer.write(self._style.keepalive)
                silent_seconds = 0.0
            await asyncio.sleep(max(self._keepalive_seconds - silent_seconds, 0.001))


class _Writer:
    """The sending side of one response; chunks and keepalives take turns. `last_write` is in seconds of the loop's clock."""

    def __init__(self, send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._start = {"type": "http.response.start", "status": status, "headers": headers}
        self._time = asyncio.get_running_loop().time
        self.lock = asyncio.Lock()
        self.started = False
        self.last_write = self._time()

    async def write(self, chunk: bytes, *, more: bool = True) -> None:
        async with self.lock:
            if not self.started:
                self.started = True
                await self._send(self._start)
            if chunk or not more:
                await self._send({"type": "http.response.body", "body": chunk, "more_body": more})
            self.last_write = self._time()
