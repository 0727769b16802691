"""Both applications on their ports in one event loop, from the first socket to the last answer."""

import asyncio
import contextlib
import math
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI

from pomona.core.settings import LimitsSettings, ServerSettings
from pomona.core.telemetry import get_logger
from pomona.server.access.connections import guarded_protocol
from pomona.server.application import drain_of
from pomona.server.drain import Drain
from pomona.server.sockets import Listener, listen

_IDLE_CONNECTION_SECONDS = 65  # longer than clients keep theirs, so that they do not send into a closing one
_DEFAULT_LIMITS = LimitsSettings()
_STUBBORN_SECONDS = 5  # for answers that do not end although their time is over
_LAST_WORDS_SECONDS = 0.5  # for errors to go out when everything ends at once
_TELL_SECONDS = 5.0  # how often it is told what is waited for
log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Urls:
    """Where the gateway can be reached."""

    public: str
    admin: str


async def serve(
    public_app: FastAPI,
    admin_app: FastAPI,
    settings: ServerSettings,
    on_ready: Callable[[Urls], None],
    *,
    limits: LimitsSettings = _DEFAULT_LIMITS,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve until SIGINT, SIGTERM or `stop`; then be not ready for `shutdown_notice_seconds`, refuse what is new while running answers
    finish for `shutdown_grace_seconds`, and end the rest with an error. A second signal goes straight to the last step.

    `on_ready` is called once, when both ports answer. Raises ConfigurationError when a port cannot be had.
    """
    public = listen(settings.host, settings.port, "server.")
    try:
        admin = listen(settings.admin_host, settings.admin_port, "server.admin_")
    except BaseException:
        public.socket.close()
        raise
    halt = _Halt(stop or asyncio.Event())
    with halt.on_signals():
        servers = _Server(public_app, limits), _Server(admin_app, limits)
        gateway = _Gateway(*servers, (drain_of(public_app), drain_of(admin_app)), settings, halt)
        await gateway.run(public, admin, lambda: on_ready(Urls(public=public.url, admin=admin.url)))


class _Halt:
    """The wish to stop, and the wish to stop at once."""

    def __init__(self, stop: asyncio.Event) -> None:
        self.stop = stop
        self.force = asyncio.Event()

    @contextlib.contextmanager
    def on_signals(self) -> Generator[None]:
        """Listen to SIGINT and SIGTERM, where this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._interrupt)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def _interrupt(self) -> None:
        if self.stop.is_set():
            self.force.set()
        self.stop.set()


class _Gateway:
    """Two uvicorn servers with one life."""

    def __init__(self, public: "_Server", admin: "_Server", drains: tuple[Drain, Drain], settings: ServerSettings, halt: _Halt) -> None:
        self._public = public
        self._admin = admin
        self._drain, self._admin_drain = drains
        self._notice_seconds = settings.shutdown_notice_seconds
        self._grace_seconds = settings.shutdown_grace_seconds
        self._halt = halt

    async def run(self, public: Listener, admin: Listener, on_ready: Callable[[], None]) -> None:
        running = [
            asyncio.ensure_future(self._public.serve([public.socket])),
            asyncio.ensure_future(self._admin.serve([admin.socket])),
        ]
        try:
            await _first(self._both_up(), *running)
            on_ready()
            await _first(self._halt.stop.wait(), *running)
            await _first(self._finish(running), self._halt.force.wait())
        finally:
            await self._abandon()
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            public.socket.close()
            admin.socket.close()

    async def _both_up(self) -> None:
        await self._public.up.wait()
        await self._admin.up.wait()

    async def _finish(self, running: "Sequence[asyncio.Future[None]]") -> None:
        """Be not ready, then take nothing new, then end what still runs; the admin address goes last."""
        hint = "a second signal ends at once"
        log.info("shutting_down", notice_seconds=self._notice_seconds, grace_seconds=self._grace_seconds, hint=hint)
        self._drain.begin()
        self._admin_drain.begin()
        await asyncio.sleep(self._notice_seconds)
        self._drain.refuse()
        seconds_left = await self._wait_for_answers()
        if self._drain.running:
            log.warning("answers_cut_short", answers=self._drain.running)
        self._drain.expire()
        self._public.leave(seconds_left)
        await asyncio.wait(running[:1])
        self._admin_drain.expire()  # who watches events would stay for ever
        self._admin.leave(0)
        await asyncio.wait(running)

    async def _wait_for_answers(self) -> float:
        """Wait until nothing runs or the time for it is over, and tell now and then what is waited for; returns the seconds left."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._grace_seconds
        while self._drain.running and loop.time() < deadline:
            seconds_left = deadline - loop.time()
            log.info("waiting_for_answers", answers=self._drain.running, seconds_left=round(seconds_left, 1))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drain.idle(), min(seconds_left, _TELL_SECONDS))
        return max(0.0, deadline - loop.time())

    async def _abandon(self) -> None:
        """End whatever still answers: with an error where it can be told at once, else by dropping its connection."""
        self._drain.expire()
        self._admin_drain.expire()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drain.idle(), _LAST_WORDS_SECONDS)
        for state in (self._public.server_state, self._admin.server_state):
            answers = list(state.tasks)
            for task in answers:
                task.cancel()
            await asyncio.gather(*answers, return_exceptions=True)
            for connection in list(state.connections):
                connection.transport.abort()
        await asyncio.sleep(0)  # a transport lets go of its socket in the loop's next turn


class _Server(uvicorn.Server):
    """uvicorn without its own signals, that tells when it is up."""

    def __init__(self, app: FastAPI, limits: LimitsSettings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=guarded_protocol(limits),
                lifespan="off",
                ws="none",
                log_config=None,
                log_level="warning",  # what it tells of its life is told here already
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_IDLE_CONNECTION_SECONDS,
            )
        )
        self.up = asyncio.Event()

    def leave(self, seconds: float) -> None:
        """Take no more connections, and give those that are there `seconds` for the last of their bytes."""
        self.config.timeout_graceful_shutdown = math.ceil(seconds) + _STUBBORN_SECONDS
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def _first(*works: "asyncio.Future[None] | Coroutine[object, object, object]") -> None:
    """Wait until one of `works` ends, and raise its error if that is how it ended. Coroutines that did not end are cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        mine = [task for task, work in zip(tasks, works, strict=True) if task is not work]
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)
