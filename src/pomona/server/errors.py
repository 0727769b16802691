"""How errors look over HTTP: one table from class to status and type in each vendor's words, and the border where unexpected ones end."""

import math
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec
import structlog
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pomona.core.errors import (
    AdapterUnusable,
    Cancelled,
    Conflict,
    ContextOverflow,
    DoesNotFit,
    EngineFailed,
    Forbidden,
    HubFailed,
    InvalidRequest,
    ModelNotFound,
    ModelUnusable,
    NotFound,
    NotReady,
    Overloaded,
    PictureRefused,
    PomonaError,
    Quarantined,
    RateLimited,
    TimedOut,
    Unauthenticated,
    UnsupportedField,
)
from pomona.core.telemetry import get_logger

log = get_logger(__name__)


class BodyTooLarge(InvalidRequest):
    """The request body is larger than this server reads."""

    code = "request_too_large"


class UnsupportedMediaType(InvalidRequest):
    """The request body is not declared as JSON."""

    code = "unsupported_media_type"


class BodyTooSlow(InvalidRequest):
    """The request body did not arrive in time."""

    code = "request_timeout"


class ShuttingDown(Overloaded):
    """The server finishes what it has begun and takes nothing new."""

    code = "shutting_down"


class ClientLeft(Exception):
    """The client closed the connection before its answer was complete. Nobody is left to tell."""


Shape = Literal["openai", "anthropic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    status: int
    type: str = "invalid_request_error"
    anthropic_type: str = "invalid_request_error"
    anthropic_status: int | None = None
    """Where Anthropic's differs."""
    retry_seconds: float | None = None
    """When to come again; None where it is no use without a change, and then clients are told not to retry."""


_TABLE: Mapping[type[Exception], _Row] = {
    InvalidRequest: _Row(status=400),
    ContextOverflow: _Row(status=400),
    PictureRefused: _Row(status=400),
    UnsupportedField: _Row(status=400),
    BodyTooLarge: _Row(status=413, anthropic_type="request_too_large"),
    UnsupportedMediaType: _Row(status=415),
    BodyTooSlow: _Row(status=408),
    TimedOut: _Row(status=504, type="server_error", anthropic_type="timeout_error"),
    Unauthenticated: _Row(status=401, anthropic_type="authentication_error"),
    Forbidden: _Row(status=403, type="permission_error", anthropic_type="permission_error"),
    NotFound: _Row(status=404, anthropic_type="not_found_error"),
    Conflict: _Row(status=409, anthropic_type="conflict_error"),
    ModelNotFound: _Row(status=404, anthropic_type="not_found_error"),
    ModelUnusable: _Row(status=500, type="server_error", anthropic_type="api_error"),
    AdapterUnusable: _Row(status=400),
    DoesNotFit: _Row(status=507, type="server_error", anthropic_type="api_error"),
    HubFailed: _Row(status=502, type="server_error", anthropic_type="api_error", retry_seconds=5.0),
    RateLimited: _Row(status=429, type="rate_limit_error", anthropic_type="rate_limit_error", retry_seconds=1.0),
    Overloaded: _Row(status=503, type="server_error", anthropic_type="overloaded_error", anthropic_status=529, retry_seconds=1.0),
    NotReady: _Row(status=503, type="server_error", anthropic_type="overloaded_error", anthropic_status=529, retry_seconds=2.0),
    EngineFailed: _Row(status=503, type="server_error", anthropic_type="api_error", retry_seconds=1.0),
    Quarantined: _Row(status=422, type="invalid_request_error", anthropic_type="invalid_request_error"),
    Cancelled: _Row(status=503, type="server_error", anthropic_type="api_error", retry_seconds=1.0),
    PomonaError: _Row(status=500, type="server_error", anthropic_type="api_error"),
    Exception: _Row(status=500, type="server_error", anthropic_type="api_error"),
}
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


def shape_of(scope: Scope) -> Shape:
    """Whose words the client of this request reads: Anthropic's under /v1/messages, or where its headers say so."""
    path, headers = scope.get("path", ""), Headers(scope=scope)
    lists_models = path.startswith("/v1/models") and "x-api-key" in headers  # the one address that both vendors have
    anthropic = path.startswith("/v1/messages") or "anthropic-version" in headers or lists_models
    return "anthropic" if anthropic else "openai"


def error_document(error: Exception, shape: Shape = "openai") -> bytes:
    """`error` as a JSON body. Unexpected errors are logged here and tell the client nothing but where to look."""
    if isinstance(error, PomonaError):
        return _document(shape, _message(error, shape), _row(error), error.code, error.param)
    log.error("request_failed", exc_info=error)
    message = f"Something went wrong inside the server. Its log has the details under request id {_request_id()}."
    return _document(shape, message, _row(error), "internal_error", None)


def error_response(error: Exception, shape: Shape = "openai") -> Response:
    """`error` as a whole response, with the headers that tell clients whether and when to retry."""
    row = _row(error)
    headers = {"x-should-retry": "false" if row.retry_seconds is None else "true"}
    if row.retry_seconds is not None:
        seconds = error.retry_after if isinstance(error, Overloaded) else row.retry_seconds
        headers |= {"retry-after": str(math.ceil(seconds)), "retry-after-ms": str(math.ceil(seconds * 1000))}
    status = row.anthropic_status if shape == "anthropic" and row.anthropic_status else row.status
    return Response(error_document(error, shape), status_code=status, headers=headers, media_type="application/json")


async def answer_pomona_error(request: Request, error: Exception) -> Response:
    """The handler of errors that were raised on purpose."""
    return error_response(error, shape_of(request.scope))


async def answer_http_error(request: Request, error: Exception) -> Response:
    """The handler of the router's own errors: no such route, method not allowed."""
    shape = shape_of(request.scope)
    if not isinstance(error, HTTPException):
        return error_response(error, shape)
    asked = f"{request.method} {request.url.path}"
    headers = error.headers
    if error.status_code == 405:
        headers = {"allow": ", ".join(_methods_of(request))}
        message = f"{asked} is not possible; this address takes {headers['allow']}."
    elif error.status_code == 404:
        example = "/v1/messages" if shape == "anthropic" else "/v1/chat/completions"
        message = f"There is nothing at {asked}. The API begins with /v1, such as POST {example}; /openapi.json lists all."
    else:
        message = f"{asked}: {error.detail}"
    row = _TABLE[NotFound] if error.status_code == 404 else _TABLE[InvalidRequest]
    body = _document(shape, message, row, _HTTP_CODES.get(error.status_code, "http_error"), None)
    return Response(body, status_code=error.status_code, headers=headers, media_type="application/json")


def _methods_of(request: Request) -> list[str]:
    """What the address of `request` takes, over all of its routes: the router itself looks at one of them only.

    An address of its own, such as /v1/responses/compact, is not taken for the id of something.
    """
    described: dict[str, object] | None = request.app.openapi()["paths"].get(request.url.path)
    if described is not None:
        return [method.upper() for method in described]
    routes: list[BaseRoute] = request.app.routes
    nearest = next((_path(route) for route in routes if route.matches(request.scope)[0] is not Match.NONE), "")
    methods = {method for route in routes if _path(route) == nearest for method in getattr(route, "methods", None) or ()}
    return [method for method in _METHODS if method in methods]


def _path(route: BaseRoute) -> str:
    return getattr(route, "path", "")


async def outcome(work: Awaitable[None]) -> Exception | None:
    """Await `work` and hand back the error that ended it, if one did: a border, for streams that must say it in their own words."""
    try:
        await work
    except Exception as error:
        return error
    return None


class ErrorBorder:
    """Outermost but for the request id: whatever comes out of the application ends here, in the log and as a bare 500."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, and answer unexpected errors."""
        started = False

        async def note_start(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        error = await outcome(self._app(scope, receive, note_start))
        if error is None or isinstance(error, ClientLeft):
            return
        if scope["type"] != "http":
            raise error
        response = error_response(error, shape_of(scope))
        if not started:
            await response(scope, receive, send)


def _message(error: PomonaError, shape: Shape) -> str:
    """Claude Code makes room in a conversation when it reads Anthropic's own words for an overflow, numbers included."""
    if shape == "anthropic" and isinstance(error, ContextOverflow) and error.limit:
        longest = error.limit - 1  # the answer needs a token
        return f"prompt is too long: {error.tokens} tokens > {longest} maximum. {error.message}"
    return error.message


def _row(error: Exception) -> _Row:
    return next(_TABLE[kind] for kind in type(error).__mro__ if kind in _TABLE)


def _document(shape: Shape, message: str, row: _Row, code: str, param: str | None) -> bytes:
    if shape == "anthropic":
        error = {"type": row.anthropic_type, "message": message}
        return msgspec.json.encode({"type": "error", "error": error, "request_id": _request_id()})
    return msgspec.json.encode({"error": {"message": message, "type": row.type, "param": param, "code": code}})


def _request_id() -> str:
    return structlog.contextvars.get_contextvars().get("request_id", "unknown")
