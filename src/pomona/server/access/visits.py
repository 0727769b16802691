"""What a request's headers say of its caller, and what the response's headers tell it."""

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import cast, get_args

from starlette.datastructures import Headers
from starlette.types import Scope

from pomona.control.callers import Caller
from pomona.control.coalescing import Origin
from pomona.control.limits import Level, Standing
from pomona.control.queue import Wait
from pomona.core.errors import InvalidRequest
from pomona.core.generation import Priority
from pomona.server.errors import Shape

LIMIT_HEADERS = "limit_headers"
_CALLER = "caller"
_PRIORITIES = get_args(Priority)
_MOST_KEY_CHARACTERS = 255
EXPOSED = (
    "x-request-id",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "x-queue-position",
    "x-queue-wait-seconds",
    "x-memory-status",
    "x-available-memory-gb",
    *(f"x-ratelimit-{what}-{unit}" for unit in ("requests", "tokens") for what in ("limit", "remaining", "reset")),
    *(
        f"anthropic-ratelimit-{unit}-{what}"
        for unit in ("requests", "tokens", "input-tokens", "output-tokens")
        for what in ("limit", "remaining", "reset")
    ),
)
"""Headers of responses that web pages may read."""


def greet(scope: Scope, caller: Caller) -> None:
    """Note who asks."""
    scope.setdefault("state", {})[_CALLER] = caller


def caller_of(scope: Scope) -> Caller:
    """Who asks, as noted by the door; anonymous where there is none."""
    return scope.get("state", {}).get(_CALLER) or Caller()


def tell(scope: Scope, headers: Mapping[str, str]) -> None:
    """Have these headers on the response, whatever it turns out to be."""
    scope.setdefault("state", {}).setdefault(LIMIT_HEADERS, {}).update(headers)


def wanted_priority(headers: Headers) -> Priority | None:
    """What X-Priority asks for. Raises InvalidRequest."""
    text = headers.get("x-priority")
    if text is None:
        return None
    if text.strip().lower() not in _PRIORITIES:
        raise InvalidRequest(f"X-Priority is {text!r}. Choose one of {', '.join(_PRIORITIES)}, or leave it out.")
    return cast("Priority", text.strip().lower())


def origins_of(headers: Headers, caller: Caller, count: int) -> list[Origin]:
    """Where the `count` requests of one call come from."""
    retries = headers.get("x-stainless-retry-count", "")
    key = headers.get("idempotency-key", "")[:_MOST_KEY_CHARACTERS]
    counted = int(retries) if retries.isdecimal() and len(retries) < 9 else None
    return [Origin(account=caller.account, index=index, retries=counted, idempotency_key=key) for index in range(count)]


def limit_headers(standing: Standing, wait: Wait | None, shape: Shape) -> dict[str, str]:
    """What is left of the caller's limits in its vendor's words, and its place in the queue if it has to wait."""
    headers: dict[str, str] = {}
    for unit, level in (("requests", standing.requests), ("tokens", standing.tokens)):
        if level is not None:
            headers |= _anthropic(unit, level) if shape == "anthropic" else _openai(unit, level)
    if wait is not None:
        headers |= {"x-queue-position": str(wait.position), "x-queue-wait-seconds": f"{wait.seconds:.1f}"}
    return headers


def _openai(unit: str, level: Level) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{unit}": str(level.limit),
        f"x-ratelimit-remaining-{unit}": str(level.remaining),
        f"x-ratelimit-reset-{unit}": _duration(level.reset_seconds),
    }


def _anthropic(unit: str, level: Level) -> dict[str, str]:
    """Tokens read and written come out of one bucket here, so the same is left of either."""
    reset = datetime.fromtimestamp(math.ceil(time.time() + level.reset_seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    names = ("tokens", "input-tokens", "output-tokens") if unit == "tokens" else (unit,)
    return {
        f"anthropic-ratelimit-{name}-{what}": value
        for name in names
        for what, value in (("limit", str(level.limit)), ("remaining", str(level.remaining)), ("reset", reset))
    }


def _duration(seconds: float) -> str:
    """As OpenAI writes it: 12ms, 3.5s, 6m0s."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"
