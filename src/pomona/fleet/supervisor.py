"""One model's engine, kept alive: started, watched, started again."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

from pomona.core.errors import Cancelled, NotReady, Overloaded, PomonaError, error_of
from pomona.core.generation import Prompt, TokenStep
from pomona.core.settings import FleetSettings
from pomona.core.status import EngineCounters, EngineReport, EngineState, ModelFacts
from pomona.core.telemetry import get_logger
from pomona.engine.protocol import Encoded, Ready, TextInput
from pomona.fleet.process.client import EngineClient

LONGEST_PAUSE_SECONDS = 30.0
Note = Callable[[EngineState | None], None]
log = get_logger(__name__)


def _ignore(_: EngineState | None) -> None:
    """Nobody wants to know."""


class Supervisor:
    """A token source that outlives its processes. `async with` starts and ends it; `spawn` starts one process,
    `places` is how many requests it may have at a time, running and waiting; `note` is told each state, and None at the end.

    The first load is the user's to mend, so it is tried once. A process that dies later is replaced, at once the first time
    and after growing pauses when that does not help.
    """

    def __init__(
        self, model: str, spawn: Callable[[], EngineClient], settings: FleetSettings, *, places: int, note: Note = _ignore
    ) -> None:
        self._model = model
        self._spawn = spawn
        self._settings = settings
        self._places = places
        self._note = note
        self._ending = False
        self._places_taken = 0
        self._state: EngineState = "loading"
        self._settled = asyncio.Event()
        self._client: EngineClient | None = None
        self._facts: ModelFacts | None = None
        self._problem: PomonaError | None = None
        self._restarts = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Supervisor":
        self._note(self._state)
        self._task = asyncio.ensure_future(self._keep_alive())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._problem = Cancelled("Pomona is shutting down.")
        self._state = "failed"
        self._settled.set()
        self._note(None)

    async def loaded(self) -> ModelFacts:
        """Wait until the model is loaded, however long that takes. Raises what went wrong."""
        await self._settled.wait()
        if self._facts is None or self._state == "failed":
            raise self._failure()
        return self._facts

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[ModelFacts]:
        """A place among the requests that the engine may have, and the facts of its model. Waits like `stream`; raises Overloaded."""
        if self._places_taken >= self._places:
            raise Overloaded(f"{self._places} requests run or wait already. Try again later, or raise engine.max_waiting.")
        self._places_taken += 1
        try:
            await self._ready_client()
            yield await self.loaded()
        finally:
            self._places_taken -= 1

    async def stream(self, prompt: Prompt) -> AsyncGenerator[TokenStep]:
        """Continue `prompt`. While the engine loads or restarts it waits for at most `fleet.ready_wait_seconds`, then raises NotReady."""
        client = await self._ready_client()
        async with aclosing(client.stream(prompt)) as steps:
            async for step in steps:
                yield step

    async def encode(self, texts: Sequence[TextInput]) -> Encoded:
        """A vector or score of each text. Waits and raises as `stream`."""
        client = await self._ready_client()
        return await client.encode(texts)

    def shrink(self) -> None:
        """Ask the engine to give back memory that it can do without; nothing happens while it loads or restarts."""
        if self._state == "ready" and self._client is not None:
            self._client.shrink()

    def report(self) -> EngineReport:
        """How the engine is, from what it said last."""
        if self._state == "ready":
            self._notice_end()
        client = self._client
        proved_at = None if client is None else client.proved_at
        return EngineReport(
            model=self._model,
            state=self._state,
            seconds_since_step=None if proved_at is None else time.monotonic() - proved_at,
            restarts=self._restarts,
            counters=EngineCounters() if client is None else client.stats,
            facts=self._facts,
            problem=None if self._problem is None else self._problem.message,
            pid=None if client is None else client.pid,
        )

    def _notice_end(self) -> None:
        """The end of a process counts from the moment it is known, not from when this task next runs."""
        if self._client is None or self._client.ended.done():
            self._settled.clear()
            self._enter("loading" if self._facts is None else "restarting")

    def _enter(self, state: EngineState) -> None:
        if state != self._state and not self._ending:
            self._state = state
            self._note(state)

    async def _ready_client(self) -> EngineClient:
        if self._state == "ready":
            self._notice_end()
        if not self._settled.is_set():
            await self._wait_until_settled()
        if self._state != "ready" or self._client is None:
            raise self._failure()
        return self._client

    async def _wait_until_settled(self) -> None:
        try:
            async with asyncio.timeout(self._settings.ready_wait_seconds):
                await self._settled.wait()
        except TimeoutError:
            raise NotReady(f"The engine of {self._model!r} is {self._state}. Try again in a few seconds.") from None

    def _failure(self) -> PomonaError:
        if self._problem is None:
            return NotReady(f"The engine of {self._model!r} is {self._state}. Try again in a few seconds.")
        return error_of(self._problem.code, self._problem.message)

    async def _keep_alive(self) -> None:
        failures = 0
        while True:
            finished_rows = await self._live_once()
            failures = 1 if finished_rows else failures + 1
            if self._facts is None or failures > self._settings.max_restarts:
                return self._give_up(failures)
            self._restarts += 1
            log.warning("engine_restarts", model=self._model, problem=self._failure().message, in_a_row=failures)
            await asyncio.sleep(_pause_seconds(failures))

    async def _live_once(self) -> int:
        """The life of one process; returns how many answers it finished."""
        client: EngineClient | None = None
        try:
            client = self._client = self._spawn()
            self._note_ready(await client.start(), client.pid)
            self._problem = await asyncio.shield(client.ended)
        except PomonaError as error:
            self._problem = error
        finally:
            self._client = None
            self._notice_end()
            if client is not None:
                await client.stop()
        return client.finished_rows if client is not None else 0

    def _note_ready(self, ready: Ready, pid: int) -> None:
        self._facts = ModelFacts(
            architecture=ready.architecture,
            device=ready.device,
            max_context=ready.max_context,
            vocabulary=ready.vocabulary,
            weight_bytes=ready.weight_bytes,
            kv_budget_bytes=ready.kv_budget_bytes,
            load_seconds=ready.load_seconds,
            dimensions=ready.dimensions,
            warnings=tuple(ready.warnings),
        )
        self._problem = None
        self._enter("ready")
        self._settled.set()
        log.info("engine_ready", model=self._model, pid=pid, device=ready.device, load_seconds=round(ready.load_seconds, 3))
        for warning in ready.warnings:
            log.warning("engine_warning", model=self._model, warning=warning)

    def _give_up(self, failures: int) -> None:
        problem = self._failure()
        log.error("engine_failed", model=self._model, problem=problem.message, in_a_row=failures)
        self._enter("failed")
        self._settled.set()


def _pause_seconds(failures: int) -> float:
    """0, 0.5, 1, 2, 4, … after the first, second, third, … failure in a row."""
    return 0.0 if failures <= 1 else min(LONGEST_PAUSE_SECONDS, 2.0 ** (failures - 3))
