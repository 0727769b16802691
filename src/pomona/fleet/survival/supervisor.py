"""One model's engine, kept alive: started, watched, started again."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pomona.core.errors import Cancelled, NotReady, PomonaError, error_of
from pomona.core.settings import FleetSettings
from pomona.core.status import EngineCounters, EngineReport, EngineState, ModelFacts
from pomona.core.telemetry import get_logger
from pomona.engine.protocol import Ready
from pomona.fleet.process.client import EngineClient
from pomona.fleet.survival.breaker import Breaker

LONGEST_PAUSE_SECONDS = 30.0
FIRST_LOADS = 3
"""Of a model that has never been loaded, while processes die and say nothing."""
STEADY_SECONDS = 10.0
"""An idle process that had worked for so long when it died did not die of its start."""
KV_SHARE_STEP, LEAST_KV_SHARE = 0.8, 0.4
"""Of the memory that was planned for keys and values, after each death for want of memory."""
LEAST_RELOAD_SECONDS, RELOADS = 60.0, 10.0
"""A model that was loaded before gets so many times as long as it took the last time: files may have left the cache of the disk."""
Spawn = Callable[[float], EngineClient]
Note = Callable[[EngineState | None], None]
log = get_logger(__name__)


def _ignore(_: EngineState | None) -> None:
    """Nobody wants to know."""


class Supervisor:
    """Sees to it that there is a process. `async with` starts and ends it; `spawn` starts one process, with so large a share of the
    memory that was planned for keys and values; `note` is told each state, and None at the end.

    What the first load says is the user's to mend, so it is tried once, and again where the process died and said nothing. A process that
    dies later is replaced, at once the first time and after growing pauses when that does not help, until `breaker` opens.
    """

    def __init__(self, model: str, spawn: Spawn, settings: FleetSettings, *, breaker: Breaker | None = None, note: Note = _ignore) -> None:
        self._model = model
        self._spawn = spawn
        self._settings = settings
        self._note = note
        self.breaker = breaker or Breaker(settings.max_restarts)
        self.when_ended: Callable[[EngineClient], None] = lambda _: None
        """Is told of a process that is of no use any more, before its streams are."""
        self._ending = False
        self._state: EngineState = "loading"
        self._settled = asyncio.Event()
        self._client: EngineClient | None = None
        self._facts: ModelFacts | None = None
        self._problem: PomonaError | None = None
        self._restarts = 0
        self._first_loads = 0
        self._kv_share = 1.0
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

    async def client(self, wait_seconds: float) -> EngineClient:
        """The process, ready. Waits while one loads or restarts, then raises NotReady; raises why there will be none."""
        if self._state == "ready":
            self._notice_end()
        if not self._settled.is_set():
            await self._wait_until_settled(wait_seconds)
        if self._state != "ready" or self._client is None:
            raise self._failure()
        return self._client

    def shrink(self, *, disk: bool = False) -> None:
        """Ask the engine to give back memory that it can do without; nothing happens while it loads or restarts."""
        if self._state == "ready" and self._client is not None:
            self._client.shrink(disk=disk)

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
            breaker=self.breaker.state,
            patient_seconds=0.0 if client is None else client.patient_seconds,
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

    async def _wait_until_settled(self, wait_seconds: float) -> None:
        try:
            async with asyncio.timeout(wait_seconds):
                await self._settled.wait()
        except TimeoutError:
            raise NotReady(f"The engine of {self._model!r} is {self._state}. Try again in a few seconds.") from None

    def _failure(self) -> PomonaError:
        if self._state == "failed" and not self._ending and self.breaker.state != "closed":
            return self.breaker.refusal()
        if self._problem is None:
            return NotReady(f"The engine of {self._model!r} is {self._state}. Try again in a few seconds.")
        return error_of(self._problem.code, self._problem.message)

    async def _keep_alive(self) -> None:
        while True:
            life = await self._live_once()
            if not self._may_start_again(life):
                return self._give_up()
            self._restarts += 1
            failures = self.breaker.failures
            log.warning("engine_restarts", model=self._model, problem=self._failure().message, in_a_row=failures)
            await asyncio.sleep(_pause_seconds(failures))

    def _may_start_again(self, life: "_Life") -> bool:
        """Deaths by somebody's hand say nothing of the model."""
        if life.lost or life.by_hand:
            return not life.lost
        if self._facts is None:
            self._first_loads += 1
            return life.sudden and self._first_loads < FIRST_LOADS
        return not self.breaker.note_end(self._failure(), steady=life.steady)

    async def _live_once(self) -> "_Life":
        """The life of one process."""
        client: EngineClient | None = None
        ready_at: float | None = None
        try:
            client = self._client = self._spawn(self._kv_share)
            client.ended.add_done_callback(partial(self._note_end, client))
            self._note_ready(await client.start(self._longest_load()), client.pid)
            ready_at = time.monotonic()
            self._problem = await asyncio.shield(client.ended)
        except PomonaError as error:
            self._problem = error
        finally:
            lived = 0.0 if ready_at is None else time.monotonic() - ready_at
            self._client = None
            self._notice_end()
            if client is not None:
                await client.stop()
        if client is None:
            return _Life(by_hand=False, sudden=False, lost=False, steady=False)
        self._save_memory(client)
        death, steady = client.death, client.was_idle and lived >= STEADY_SECONDS
        return _Life(by_hand=death.by_hand, sudden=death.sudden, lost=client.lost, steady=steady)

    def _note_end(self, client: EngineClient, _: object) -> None:
        self.when_ended(client)

    def _longest_load(self) -> float:
        """Seconds. What has been loaded before does not take for ever."""
        return math.inf if self._facts is None else max(LEAST_RELOAD_SECONDS, RELOADS * self._facts.load_seconds)

    def _save_memory(self, client: EngineClient) -> None:
        """After a death for want of memory, the next process plans for less; a doubtful one counts from the second in a row."""
        again = client.death.doubtful and self.breaker.failures > 0
        if (client.death.of_memory or again) and self._kv_share > LEAST_KV_SHARE:
            self._kv_share = max(LEAST_KV_SHARE, self._kv_share * KV_SHARE_STEP)
            log.warning("engine_gets_less_memory", model=self._model, kv_share=round(self._kv_share, 2))

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

    def _give_up(self) -> None:
        self._enter("failed")
        log.error("engine_failed", model=self._model, problem=self._failure().message, in_a_row=self.breaker.failures)
        self._settled.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Life:
    """How a process ended. `sudden`: it said nothing. `steady`: it had nothing to do and had worked for a while."""

    by_hand: bool
    sudden: bool
    lost: bool
    steady: bool


def _pause_seconds(failures: int) -> float:
    """0, 0.5, 1, 2, 4, … after the first, second, third, … failure in a row."""
    return 0.0 if failures <= 1 else min(LONGEST_PAUSE_SECONDS, 2.0 ** (failures - 3))
