"""The gate of a server that goes down: what runs is counted, what is new is sent elsewhere."""

import asyncio
from contextlib import suppress

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pomona.server.access.door import PROBES
from pomona.server.drain import Drain
from pomona.server.errors import ShuttingDown, error_response, shape_of

_RETRY_SECONDS = 5.0  # about what a new server needs to start
_BODY_SECONDS = 1.0  # a connection that is closed before all of the request was read is reset, and the answer with it


class Gate:
    """ASGI middleware. Once the drain refuses, it answers POST with 503; what only reads passes until the end, so that a background
    response can still be fetched. From the drain's begin on, no connection is kept for another request."""

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
        elif self._drain.refuses and scope["method"] == "POST":
            with suppress(TimeoutError):
                await asyncio.wait_for(_read_body(receive), _BODY_SECONDS)
            refusal = ShuttingDown(
                "The server is shutting down and takes no new requests. Send it again, to another server or in a few seconds.",
                retry_after=_RETRY_SECONDS,
            )
            await error_response(refusal, shape_of(scope))(scope, receive, self._last(send))
        else:
            with self._drain.working():
                await self._app(scope, receive, self._last(send))

    def _last(self, send: Send) -> Send:
        """`send`, which says that the connection ends with this answer, where the server goes down."""

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and self._drain.begun:
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        return send_and_close


async def _read_body(receive: Receive) -> None:
    while (await receive()).get("more_body", False):
        pass
