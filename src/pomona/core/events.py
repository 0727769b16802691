"""What happens to models and answers, for everybody who wants to watch: the admin API, the Python engine, logs.

The eight events and seventeen codes are those of mlx-serving's engine, by name, so that programs written for it find them here.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from collections.abc import Generator as SyncGenerator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

from pomona.core.errors import (
    AdapterUnusable,
    Cancelled,
    ConfigurationError,
    EngineFailed,
    HubFailed,
    InvalidRequest,
    ModelNotFound,
    ModelUnusable,
    NotReady,
    Overloaded,
    PomonaError,
    Quarantined,
    TimedOut,
    UnsupportedField,
)

EventName = Literal[
    "model:loaded",
    "model:unloaded",
    "model:invalidated",
    "generation:started",
    "generation:token",
    "generation:completed",
    "error",
    "runtime:status",
]
RuntimeCode = Literal[
    "ParseError",
    "InvalidRequest",
    "MethodNotFound",
    "InvalidParams",
    "ValidationError",
    "InternalError",
    "ServerError",
    "ModelLoadError",
    "GenerationError",
    "TokenizerError",
    "GuidanceError",
    "ModelNotLoaded",
    "RuntimeError",
    "TransportError",
    "Timeout",
    "Cancelled",
    "UnknownError",
]
RuntimeState = Literal["starting", "ready", "error", "stopped"]
RETRYABLE: frozenset[RuntimeCode] = frozenset({"InternalError", "ServerError", "RuntimeError", "TransportError", "Timeout"})
UNREAD_EVENTS = 1024
"""A watcher that falls further behind loses the oldest ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLoaded:
    """A model is in memory and warm. `at` is in Unix seconds, in all events."""

    name: ClassVar[EventName] = "model:loaded"
    model: str
    seconds: float
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUnloaded:
    """A model has gone and its memory is free. `reason` is idle, evicted, asked, guard or shutdown."""

    name: ClassVar[EventName] = "model:unloaded"
    model: str
    reason: Literal["idle", "evicted", "asked", "guard", "shutdown"]
    freed_bytes: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInvalidated:
    """What was known of a loaded model no longer holds: its engine is being replaced, or it could not be loaded."""

    name: ClassVar[EventName] = "model:invalidated"
    model: str
    reason: Literal["engine_restart", "unload", "error"]
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationStarted:
    """An answer has begun."""

    name: ClassVar[EventName] = "generation:started"
    request: str
    model: str
    prompt_tokens: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationToken:
    """A piece of an answer. Only for watchers that ask for it: there are many."""

    name: ClassVar[EventName] = "generation:token"
    request: str
    model: str
    text: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationCompleted:
    """An answer has ended well."""

    name: ClassVar[EventName] = "generation:completed"
    request: str
    model: str
    completion_tokens: int
    seconds: float
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorOccurred:
    """Something failed: an answer (`request`), a load (`model`), or the server."""

    name: ClassVar[EventName] = "error"
    code: RuntimeCode
    message: str
    model: str | None = None
    request: str | None = None
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeStatus:
    """The server, or the engine of `model`, is in another state now."""

    name: ClassVar[EventName] = "runtime:status"
    status: RuntimeState
    previous: RuntimeState | None = None
    model: str | None = None
    at: float


Event = (
    ModelLoaded
    | ModelUnloaded
    | ModelInvalidated
    | GenerationStarted
    | GenerationToken
    | GenerationCompleted
    | ErrorOccurred
    | RuntimeStatus
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """An event and its place among all events of one bus, from 1. Those of single tokens have no number: nobody asks for them later."""

    number: int | None
    event: Event


class EventBus:
    """Hands every event to all who watch, and keeps the last ones for those who come back. One event loop; publishing never waits."""

    def __init__(self) -> None:
        self._watchers: dict[asyncio.Queue[Numbered], bool] = {}
        self._listeners: list[Callable[[Event], None]] = []
        self._count = 0
        self._recent: deque[Numbered] = deque(maxlen=UNREAD_EVENTS)

    @property
    def wants_tokens(self) -> bool:
        """Somebody watches every token."""
        return any(self._watchers.values())

    @property
    def watched(self) -> bool:
        """Somebody watches."""
        return bool(self._watchers)

    def publish(self, event: Event) -> None:
        """Tell everybody who watches."""
        if isinstance(event, GenerationToken):
            self._tell(Numbered(number=None, event=event), [queue for queue, tokens in self._watchers.items() if tokens])
            return
        self._count += 1
        numbered = Numbered(number=self._count, event=event)
        self._recent.append(numbered)
        self._tell(numbered, self._watchers)
        for listener in self._listeners:
            listener(event)

    @staticmethod
    def _tell(numbered: Numbered, queues: Iterable[asyncio.Queue[Numbered]]) -> None:
        for queue in queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(numbered)

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with each event but those of tokens, at once and for ever: for what counts them."""
        self._listeners.append(listener)

    async def watch(self, *, tokens: bool = False) -> AsyncGenerator[Event]:
        """All events from the first `anext` on, until the iterator is closed; those of single tokens only with `tokens`."""
        with self.following(tokens=tokens) as events:
            async for numbered in events:
                yield numbered.event

    @contextmanager
    def following(self, *, tokens: bool = False, after: int | None = None) -> SyncGenerator["Following"]:
        """As `watch`, from now on and with numbers. `after` is the number of the last event that is known already: what came behind
        it and is still kept (the last `UNREAD_EVENTS`) comes first; None: only what comes.
        """
        queue: asyncio.Queue[Numbered] = asyncio.Queue(UNREAD_EVENTS)
        missed = [] if after is None else [each for each in self._recent if (each.number or 0) > after]
        self._watchers[queue] = tokens
        try:
            yield Following(deque(missed), queue)
        finally:
            del self._watchers[queue]


class Following:
    """Events with their numbers, for ever: first those that were missed, then those that come."""

    def __init__(self, missed: deque[Numbered], queue: asyncio.Queue[Numbered]) -> None:
        self._missed = missed
        self._queue = queue

    def __aiter__(self) -> "Following":
        return self

    async def __anext__(self) -> Numbered:
        """The next one, as soon as there is one."""
        return self._missed.popleft() if self._missed else await self._queue.get()


def runtime_code(error: BaseException) -> RuntimeCode:
    """The code under which programs know `error`; the first class that fits counts."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return "ServerError" if isinstance(error, PomonaError) else "UnknownError"


_CODES: tuple[tuple[type[PomonaError], RuntimeCode], ...] = (
    (UnsupportedField, "InvalidParams"),
    (InvalidRequest, "ValidationError"),
    (ModelNotFound, "ModelNotLoaded"),
    (NotReady, "ModelNotLoaded"),
    (AdapterUnusable, "ModelLoadError"),
    (ModelUnusable, "ModelLoadError"),
    (ConfigurationError, "InvalidRequest"),
    (EngineFailed, "RuntimeError"),
    (Quarantined, "GenerationError"),
    (HubFailed, "TransportError"),
    (TimedOut, "Timeout"),
    (Cancelled, "Cancelled"),
    (Overloaded, "ServerError"),
)
