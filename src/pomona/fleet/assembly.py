"""All models of one Pomona behind their ports: what servers and the Python engine work with."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pomona.core.errors import PomonaError
from pomona.core.events import EventBus, RuntimeState, RuntimeStatus
from pomona.core.ports import (
    Embedder,
    EngineStatus,
    Generator,
    KeptMemory,
    ModelDirectory,
    Reranker,
    Residency,
    ResidencyStatus,
    Tokenization,
)
from pomona.core.settings import ModelOverrides
from pomona.core.status import ModelFacts
from pomona.fleet.residency.lifecycle import Lifecycle
from pomona.fleet.residency.maintenance import Maintenance
from pomona.fleet.residency.means import Means
from pomona.fleet.residency.memory.guard import MemoryGuard
from pomona.fleet.residency.observing import ObservedEngines, ObservedGenerator
from pomona.fleet.residency.pool import ResidentPool
from pomona.fleet.residency.reports import Reports
from pomona.fleet.residency.routing import PooledEmbedder, PooledGenerator, PooledReranker, PooledTokenization
from pomona.fleet.residency.slots import Slot
from pomona.fleet.residency.supply import Supply, Surroundings
from pomona.fleet.resident import Workshop
from pomona.models.probe import budget_of, probe_of
from pomona.models.references import ResolvedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The ports of one Pomona. Nothing is loaded before it is asked for; `preload` loads what the settings say."""

    generator: Generator
    tokenization: Tokenization
    embedder: Embedder
    reranker: Reranker
    directory: ModelDirectory
    residency: Residency
    residents: ResidencyStatus
    status: EngineStatus
    events: EventBus
    kept: KeptMemory
    pool: ResidentPool
    override: Callable[[str, ModelOverrides], None]
    """What differs for one model from its next load on. Raises ModelNotFound."""

    def loaded_folders(self) -> list[Path]:
        """Folders of the models that are in memory, or on their way."""
        return [slot.model.path for slot in self.pool.slots if slot.stay is not None]

    async def preload(self) -> ModelFacts:
        """Load and warm up all that is to be there from the start; the facts of the default model. Raises the first failure."""
        wanted = [slot for slot in self.pool.slots if slot.required]
        self._tell("starting", None)
        try:
            await asyncio.gather(*(self.pool.load(slot.name) for slot in wanted))
        except PomonaError:
            self._tell("error", "starting")
            raise
        self._tell("ready", "starting")
        return _facts_of(wanted[0])

    def _tell(self, status: RuntimeState, previous: RuntimeState | None) -> None:
        self.events.publish(RuntimeStatus(status=status, previous=previous, at=time.time()))


@asynccontextmanager
async def open_fleet(default: ResolvedModel, workshop: Workshop, around: Surroundings) -> AsyncGenerator[Fleet]:
    """A fleet whose engines are all gone at the end."""
    settings, events = workshop.settings, EventBus()
    probe = around.probe or probe_of(settings.models)
    residency = settings.residency
    guard = MemoryGuard(probe, residency.guard_levels, enabled=residency.guard, park_seconds=residency.load_wait_seconds)
    workshop = replace(workshop, note=ObservedEngines(events.publish).note, pressed=lambda: guard.at_least("caution"))
    supply = Supply(default, workshop, budget_of(residency, probe()), around)
    means = Means(
        resolve=supply.directory.resolve,
        enrol=supply.enrol,
        estimate=supply.estimate,
        open=supply.open,
        publish=events.publish,
        spare=workshop.starter,
        weigh=supply.scales.weigh,
    )
    async with AsyncExitStack() as stack:
        stack.callback(lambda: events.publish(RuntimeStatus(status="stopped", at=time.time())))
        stack.push_async_callback(workshop.starter.close)
        pool = await stack.enter_async_context(ResidentPool(means, residency, supply.budget))
        supply.pool = pool
        for name in supply.required():
            pool.slot(name).required = True
        reports = Reports(pool, supply.directory, guard, probe, means)
        lifecycle = Lifecycle(pool, reports, around.remember_pin)
        fleet = Fleet(
            generator=ObservedGenerator(PooledGenerator(pool, guard.admit), events),
            tokenization=PooledTokenization(supply.words),
            embedder=PooledEmbedder(pool, guard.admit),
            reranker=PooledReranker(pool, guard.admit),
            directory=supply.directory,
            residency=lifecycle,
            residents=reports,
            status=reports,
            events=events,
            kept=lifecycle,
            pool=pool,
            override=supply.override,
        )
        await stack.enter_async_context(Maintenance(pool, guard, means).on_duty())
        yield fleet


def _facts_of(slot: Slot) -> ModelFacts:
    facts = None if slot.stay is None or slot.stay.resident is None else slot.stay.resident.engine.report().facts
    if facts is None:
        raise RuntimeError(f"{slot.name!r} was loaded and is not there")
    return facts
