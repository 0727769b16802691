"""The door of each address: who comes in, as whom, and what a server needs before it opens to other machines."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from pomona.control.callers import Allowance, Caller
from pomona.control.callers import Scope as KeyScope
from pomona.control.keys import Key, Keys
from pomona.core.errors import ConfigurationError, Forbidden, PomonaError, Unauthenticated
from pomona.core.settings import Settings
from pomona.server.access.hosts import account_of, is_loopback, is_own_name, origin_pattern
from pomona.server.access.visits import LIMIT_HEADERS, greet
from pomona.server.errors import error_response, shape_of

PROBES = frozenset({"/health", "/ready", "/version"})
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_HOW = "Send a key as 'Authorization: Bearer pomona_sk_…' or 'x-api-key: pomona_sk_…'; `pomona keys:create NAME` makes one."


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What one address asks of its callers."""

    keys: Keys
    needs: KeyScope
    settings: Settings
    open_paths: frozenset[str] = PROBES
    now: Callable[[], float] = field(default=time.time)
    """Unix seconds."""

    @property
    def host(self) -> str:
        """What the address is bound to."""
        server = self.settings.server
        return server.host if self.needs == "public" else server.admin_host


class Door:
    """ASGI middleware: finds out who asks, or refuses. `denied` is told the code of each refusal."""

    def __init__(self, app: ASGIApp, rules: Rules, denied: Callable[[str], None]) -> None:
        self._app = app
        self._rules = rules
        self._denied = denied
        self._at_home = is_loopback(rules.host)
        access = rules.settings.access
        self._may_be_open = self._at_home or access.insecure
        self._origins = origin_pattern(access.allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve those who may come in."""
        if scope["type"] != "http" or scope["path"] in self._rules.open_paths:
            await self._app(scope, receive, send)
            return
        try:
            caller = self._identify(scope)
        except PomonaError as error:
            self._denied(error.code)
            response = error_response(error, shape_of(scope))
            if isinstance(error, Unauthenticated):
                response.headers["www-authenticate"] = "Bearer"
            await response(scope, receive, send)
            return
        greet(scope, caller)
        with bound_contextvars(caller=caller.name):
            await self._app(scope, receive, _with_limits(scope, send))

    def _identify(self, scope: Scope) -> Caller:
        headers = Headers(scope=scope)
        if not self._rules.keys.exist:
            return self._stranger(scope, headers)
        given = _given(headers)
        if not given:
            raise Unauthenticated(f"This server needs an API key. {_HOW}")
        found = next((key for text in given if (key := self._rules.keys.find(text))), None)
        if found is None:
            raise Unauthenticated(f"The API key that was sent is not one of this server's. {_HOW}")
        return self._holder(found)

    def _holder(self, key: Key) -> Caller:
        state = key.state(self._rules.now())
        if state != "active":
            raise Unauthenticated(f"The API key {key.shown} ({key.name!r}) is {state}. {_HOW}")
        if self._rules.needs == "admin" and key.scope != "admin":
            raise Forbidden(
                f"The API key {key.shown} ({key.name!r}) is for the API only. Make one with `pomona keys:create --scope admin`."
            )
        return key.caller()

    def _stranger(self, scope: Scope, headers: Headers) -> Caller:
        """A caller of a server without keys: any key is as good as none, because clients insist on sending one."""
        if not self._may_be_open:
            raise Unauthenticated("This server is open to other machines and has no API key yet. `pomona keys:create NAME` makes one.")
        host = headers.get("host", "localhost")
        if self._at_home and not is_own_name(host, self._rules.settings.access.allowed_hosts):
            raise Forbidden(
                f"Host {host!r} is not a name of this machine: a web page may be behind this (DNS rebinding). "
                "Use 'localhost', add the name to the setting access.allowed_hosts, or make an API key."
            )
        self._check_page(scope, headers, host)
        limits, client = self._rules.settings.limits, scope.get("client")
        allowance = Allowance(
            requests_per_minute=limits.anonymous_requests_per_minute,
            tokens_per_minute=limits.anonymous_tokens_per_minute,
            concurrent=limits.anonymous_concurrent,
        )
        return Caller(account=account_of(client[0] if client else ""), allowance=allowance, ceiling=limits.anonymous_priority)

    def _check_page(self, scope: Scope, headers: Headers, host: str) -> None:
        """A browser sends some requests of any page without asking first; those must not change anything here."""
        origin = headers.get("origin", "")
        foreign = origin == "null" or origin.startswith(("http://", "https://"))
        if scope["method"] in _SAFE_METHODS or not foreign or origin in {f"http://{host}", f"https://{host}"}:
            return
        if not self._origins.fullmatch(origin):
            raise Forbidden(f"Web pages of {origin!r} may not call this server. Add the origin to the setting access.allowed_origins.")


def check_exposure(settings: Settings, active: Callable[[KeyScope], bool]) -> None:
    """Refuse to open a server to other machines without a key. `active` tells whether there is a key of that scope that opens.

    Raises ConfigurationError.
    """
    if settings.access.insecure:
        return
    addresses: tuple[tuple[str, str, KeyScope], ...] = (
        ("server.host", settings.server.host, "public"),
        ("server.admin_host", settings.server.admin_host, "admin"),
    )
    for name, host, scope in addresses:
        if not is_loopback(host) and not active(scope):
            option = " --scope admin" if scope == "admin" else ""
            text = f"{name} = {host!r} lets other machines in, and no API key opens that address."
            raise ConfigurationError(f"{text} Make one with `pomona keys:create NAME{option}`, or serve everybody with --insecure.")


def _given(headers: Headers) -> list[str]:
    kind, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if kind.lower() == "bearer" else ""
    return [text for text in (bearer, headers.get("x-api-key", "").strip()) if text]


def _with_limits(scope: Scope, send: Send) -> Send:
    """`send`, which adds what was found out about the caller's limits, be the answer good or an error."""

    async def send_with_limits(message: Message) -> None:
        if message["type"] == "http.response.start":
            found: dict[str, str] = scope["state"].get(LIMIT_HEADERS, {})
            headers = MutableHeaders(scope=message)
            for name, value in found.items():
                headers[name] = value
        await send(message)

    return send_with_limits
