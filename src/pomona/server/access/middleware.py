"""Pure ASGI middleware: a request id on everything, limits on bodies. (Starlette's BaseHTTPMiddleware hides disconnects.)"""

import asyncio
import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from pomona.server.errors import BodyTooLarge, BodyTooSlow, error_response, shape_of

REQUEST_ID = "request_id"
"""Under this name the id is in a scope's state."""
_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class RequestId:
    """Takes the client's X-Request-Id where it is sane, else draws one; echoes it, and binds it to every log line of the request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve under a request id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _SANE.fullmatch(given) else f"req_{uuid.uuid4().hex}"

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = headers["request-id"] = request_id  # OpenAI's name and Anthropic's
            await send(message)

        scope.setdefault("state", {})[REQUEST_ID] = request_id
        with bound_contextvars(request_id=request_id):
            await self._app(scope, receive, send_with_id)


class BodyLimit:
    """Refuses bodies over `limit_bytes`, at once when the length is declared, else as soon as they grow over it, and those that
    take longer than `limit_seconds` to arrive."""

    def __init__(self, app: ASGIApp, limit_bytes: int, limit_seconds: float) -> None:
        self._app = app
        self._limit = limit_bytes
        self._seconds = limit_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve if the body is small enough."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._limit:
            await error_response(self._too_large(f"{declared} bytes"), shape_of(scope))(scope, receive, send)
            return
        await self._app(scope, self._limited(receive), send)

    def _limited(self, receive: Receive) -> Receive:
        deadline = asyncio.get_running_loop().time() + self._seconds
        seen, complete = 0, False

        async def limited() -> Message:
            nonlocal seen, complete
            if complete:  # what comes now is the client's leaving, which may take its time
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise self._too_slow(seen) from None
            seen += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if seen > self._limit:
                raise self._too_large(f"more than {self._limit} bytes")
            return message

        return limited

    def _too_slow(self, seen: int) -> BodyTooSlow:
        return BodyTooSlow(
            f"The request body did not arrive within {self._seconds:g} seconds; {seen} bytes did. "
            "Send it faster, or raise the setting limits.body_seconds."
        )

    def _too_large(self, size: str) -> BodyTooLarge:
        return BodyTooLarge(
            f"The request body has {size}; this server reads up to {self._limit}. Send less, or raise the setting server.max_body_bytes."
        )
