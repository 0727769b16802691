"""One model's engine as its users see it: it may die under an answer, and the answer goes on."""

import itertools
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from pomona.core.errors import EngineFailed, Overloaded, PomonaError
from pomona.core.generation import Prompt, TokenStep
from pomona.core.settings import FleetSettings
from pomona.core.status import EngineReport, ModelFacts
from pomona.core.telemetry import get_logger
from pomona.engine.protocol import Encoded, TextInput
from pomona.fleet.process.client import EngineClient
from pomona.fleet.survival.breaker import Breaker
from pomona.fleet.survival.quarantine import Quarantine, digest_of, digest_of_texts
from pomona.fleet.survival.readmission import PRIORITIES, Readmission, Survivor
from pomona.fleet.survival.supervisor import Supervisor

STRIKES = 2
"""Engines in a row that a request may kill."""
DOUBT = 0.5
"""Of a strike, where it may have been somebody's hand."""
RELOADS = 3.0
"""An answer that has begun waits for the next engine as long as so many loads took before, where that is more than new ones wait."""
log = get_logger(__name__)


class SurvivingEngine:
    """A token source in front of `supervisor`'s processes. `places` is how many requests it may have at a time, running and waiting;
    `rows` how many of them an engine runs together.

    Every row has a seed, its own or one that is drawn here, so that the next engine chooses what the one before would have chosen.
    """

    def __init__(self, supervisor: Supervisor, settings: FleetSettings, quarantine: Quarantine, *, places: int, rows: int) -> None:
        self._supervisor = supervisor
        self._settings = settings
        self._quarantine = quarantine
        self._places = places
        self._places_taken = 0
        self._arrivals = itertools.count()
        self._resumed = 0
        breaker: Breaker = supervisor.breaker
        self._readmission = Readmission(rows, trial=breaker.state == "half_open", progress=breaker.note_progress)
        supervisor.when_ended = self._note_end

    async def loaded(self) -> ModelFacts:
        """Wait until the model is loaded, however long that takes. Raises what went wrong."""
        return await self._supervisor.loaded()

    def shrink(self, *, disk: bool = False) -> None:
        """Ask the engine to give back memory that it can do without, and what it keeps on `disk`."""
        self._supervisor.shrink(disk=disk)

    def report(self) -> EngineReport:
        """How the engine is, from what it said last."""
        return replace(self._supervisor.report(), resumed=self._resumed, quarantined=len(self._quarantine))

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[ModelFacts]:
        """A place among the requests that the engine may have, and the facts of its model. Waits like `stream`; raises Overloaded."""
        if self._places_taken >= self._places:
            raise Overloaded(f"{self._places} requests run or wait already. Try again later, or raise engine.max_waiting.")
        self._places_taken += 1
        try:
            await self._supervisor.client(self._settings.ready_wait_seconds)
            yield await self.loaded()
        finally:
            self._places_taken -= 1

    async def stream(self, prompt: Prompt) -> AsyncGenerator[TokenStep]:
        """Continue `prompt`, in as many engines as it takes; each token is handed out once. Closing the iterator cancels the row.

        While the engine loads or restarts it waits for at most `fleet.ready_wait_seconds`, then raises NotReady. Raises EngineFailed where
        engines died too often under this answer, Quarantined where they died of it, EngineSuspended where the model is left alone.
        """
        row = Survivor(digest=lambda: digest_of(prompt), priority=PRIORITIES[prompt.priority], arrival=next(self._arrivals))
        seeded = _seeded(prompt)
        while True:
            client = await self._enter(row)
            now = replace(seeded, answered_ids=(*prompt.answered_ids, *row.answered))
            try:
                async with aclosing(client.stream(now, lambda finished: self._note(row, finished))) as steps:
                    async for step in steps:
                        row.answered += step.token_ids
                        yield replace(step, cached_tokens=0) if now.answered_ids else step
                        if step.finish_reason is not None:
                            return
            except EngineFailed as error:
                self._resume(row, client, error)
            finally:
                self._readmission.leave(row)

    async def encode(self, texts: Sequence[TextInput]) -> Encoded:
        """A vector or score of each text, again in the next engine where one dies. Waits and raises as `stream`."""
        given = list(texts)
        row = Survivor(digest=lambda: digest_of_texts(given), priority=PRIORITIES["normal"], arrival=next(self._arrivals))
        while True:
            client = await self._enter(row)
            try:
                encoded = await client.encode(given)
                self._readmission.moved(row)
                return encoded
            except EngineFailed as error:
                self._resume(row, client, error)
            finally:
                self._readmission.leave(row)

    async def _enter(self, row: Survivor) -> EngineClient:
        """An engine that is ready for `row`, when it is its turn."""
        while True:
            self._quarantine.check(row.digest)
            client = await self._supervisor.client(self._patience(row))
            if await self._readmission.enter(row, client):
                return client

    def _patience(self, row: Survivor) -> float:
        facts = self._supervisor.report().facts
        reload_seconds = RELOADS * facts.load_seconds if facts and row.resumes else 0.0
        return max(self._settings.ready_wait_seconds, reload_seconds)

    def _note(self, row: Survivor, finished: bool) -> None:
        """Something came for `row`: this is before its reader takes it."""
        self._readmission.moved(row)
        if finished:
            self._readmission.leave(row)

    def _note_end(self, client: EngineClient) -> None:
        """An engine has died: who is to blame is known at once, although slow readers will hear of it later."""
        suspect = self._readmission.fell(client, strike=_strike_for(client))
        if suspect is not None:
            log.warning("row_suspected", pid=client.pid, strikes=suspect.strikes, answered_tokens=len(suspect.answered))
            if suspect.strikes >= STRIKES:
                self._quarantine.add(suspect.digest(), f"{client.death.what}. {client.death.hint}".rstrip())

    def _resume(self, row: Survivor, client: EngineClient, error: PomonaError) -> None:
        """Let `row` come back after `client`'s engine has died. Raises why it cannot."""
        if not client.ended.done():
            raise error  # the row alone was lost
        if row.strikes >= STRIKES:
            self._quarantine.check(row.digest)
        if row.resumes >= self._settings.max_resumes or row.strikes >= STRIKES:
            raise EngineFailed(_too_often(row, error))
        row.resumes += 1
        self._resumed += 1


def _strike_for(client: EngineClient) -> float:
    if client.death.by_hand or not isinstance(client.ended.result(), EngineFailed):
        return 0.0
    return DOUBT if client.death.doubtful else 1.0


def _seeded(prompt: Prompt) -> Prompt:
    if prompt.sampling.seed is not None or prompt.sampling.temperature == 0:
        return prompt
    return replace(prompt, sampling=replace(prompt.sampling, seed=secrets.randbits(63)))


def _too_often(row: Survivor, error: PomonaError) -> str:
    if not row.resumes:
        return error.message
    return f"{error.message} The engine died {row.resumes + 1} times while it worked for this request; it is not tried again."
