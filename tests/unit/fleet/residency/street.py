"""A pool of models that are not there: what loads and unloads is decided by the test, and so is the time."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pomona.core.errors import ModelNotFound, PomonaError
from pomona.core.events import Event
from pomona.core.generation import Priority
from pomona.core.ports import Generator
from pomona.core.settings import ResidencySettings
from pomona.core.status import EngineReport, EngineState, MemoryPlan, ModelFacts
from pomona.fleet.residency.means import Means
from pomona.fleet.residency.memory.planning import Needs
from pomona.fleet.residency.pool import ResidentPool
from pomona.fleet.residency.slots import Slot
from pomona.fleet.resident import Resident
from pomona.fleet.survival.breaker import Breaker
from pomona.fleet.survival.care import Care
from pomona.fleet.survival.quarantine import Quarantine
from pomona.models.references import ResolvedModel
from tests.doubles import ScriptedGenerator, answer

FACTS = ModelFacts(architecture="Double", device="cpu", max_context=64, vocabulary=10, weight_bytes=1, kv_budget_bytes=1, load_seconds=0.0)


@dataclass(slots=True, eq=False)
class DoubleEngine:
    """An engine that loads when the test says so."""

    model: str
    arrival: asyncio.Future[None]
    state: EngineState = "loading"
    shrunk: int = 0

    async def loaded(self) -> ModelFacts:
        await asyncio.shield(self.arrival)
        self.state = "ready"
        return FACTS

    def shrink(self, *, disk: bool = False) -> None:
        self.shrunk += 1

    def report(self) -> EngineReport:
        problem = "it died" if self.state == "failed" else None
        return EngineReport(model=self.model, state=self.state, seconds_since_step=0.0, facts=FACTS, problem=problem)


@dataclass(slots=True)
class DoubleSpare:
    """A process that is there or not."""

    has_spare: bool = False

    def keep_spare(self) -> None:
        self.has_spare = True

    def drop_spare(self) -> None:
        self.has_spare = False


@dataclass(slots=True, eq=False)
class Street:
    """Models by name with the bytes that each needs. `loads` and `unloads` are finished by hand, or at once with `prompt`.

    It checks what must hold at any time: one engine per model, never more bytes than the budget, nothing gone that is in use.
    """

    sizes: dict[str, int]
    budget: int = 10
    default: str = ""
    pinned: frozenset[str] = frozenset()
    keep_alive: dict[str, float] = field(default_factory=dict[str, float])
    prompt: bool = True
    time: float = 0.0
    alive: dict[str, DoubleEngine] = field(default_factory=dict[str, DoubleEngine])
    departures: dict[str, asyncio.Future[None]] = field(default_factory=dict[str, asyncio.Future[None]])
    begun: list[str] = field(default_factory=list[str])
    """Every load, in order."""
    events: list[Event] = field(default_factory=list[Event])
    in_use: dict[str, int] = field(default_factory=dict[str, int])
    forced: set[str] = field(default_factory=set[str])
    failures: dict[str, PomonaError] = field(default_factory=dict[str, PomonaError])
    """What loads end with."""
    weigh: Callable[[Slot], None] = lambda _: None
    spare: DoubleSpare = field(default_factory=DoubleSpare)
    generator: Generator = field(default_factory=lambda: ScriptedGenerator(script=answer("one", " two")))

    @asynccontextmanager
    async def pool(self, settings: ResidencySettings | None = None) -> AsyncGenerator[ResidentPool]:
        async with ResidentPool(self.means, settings or ResidencySettings(), self.budget) as pool:
            yield pool

    @property
    def means(self) -> Means:
        """What the pool works with."""
        return Means(
            resolve=self._resolve,
            enrol=self._enrol,
            estimate=self._estimate,
            open=self._open,
            publish=self.events.append,
            spare=self.spare,
            weigh=self.weigh,
            clock=lambda: self.time,
            now=lambda: self.time,
        )

    async def let_in(self, _: Priority) -> None:
        """Memory is no matter here."""

    def finish_load(self, name: str) -> None:
        """The load of `name` ends."""
        failure = self.failures.pop(name, None)
        if failure is None:
            self.alive[name].arrival.set_result(None)
        else:
            self.alive[name].arrival.set_exception(failure)

    def loading(self) -> list[str]:
        """Models whose loads the test may finish."""
        return [name for name, engine in self.alive.items() if not engine.arrival.done()]

    def _resolve(self, name: str) -> ResolvedModel:
        if name not in self.sizes:
            raise ModelNotFound(f"There is no model {name!r} here.", param="model")
        return ResolvedModel(id=name, path=Path("/street") / name, kind="folder", reference=name)

    def _enrol(self, model: ResolvedModel) -> Slot:
        keep_alive = self.keep_alive.get(model.id)
        care = Care(breaker=Breaker(clock=lambda: self.time), quarantine=Quarantine(60.0))
        return Slot(
            model=model,
            name=model.id,
            keep_alive=keep_alive,
            pinned=model.id in self.pinned,
            default=model.id == self.default,
            care=care,
        )

    async def _estimate(self, slot: Slot) -> Needs:
        return Needs(weights=self.sizes[slot.name], activations=0, process=0, kv_least=0, kv_most=0, kv_share=None)

    @asynccontextmanager
    async def _open(self, slot: Slot, plan: MemoryPlan) -> AsyncGenerator[Resident]:
        name = slot.name
        assert name not in self.alive, f"{name} is loaded twice"
        engine = self.alive[name] = DoubleEngine(name, asyncio.get_running_loop().create_future())
        assert sum(self.sizes[each] for each in self.alive) <= self.budget, "the budget is exceeded"
        self.begun.append(name)
        if self.prompt:
            self.finish_load(name)
        try:
            yield Resident(model=slot.model, engine=engine, generator=self.generator)
        finally:
            assert not self.in_use.get(name) or name in self.forced, f"{name} was unloaded while it was in use"
            if not self.prompt:
                leaving = self.departures[name] = asyncio.get_running_loop().create_future()
                await asyncio.shield(leaving)
                del self.departures[name]
            del self.alive[name]

    @asynccontextmanager
    async def using(self, pool: ResidentPool, name: str, keep_alive: float | None = None) -> AsyncGenerator[Resident]:
        """A request at work."""
        async with pool.lease(name, keep_alive_seconds=keep_alive) as resident:
            assert resident.engine is self.alive.get(name), "a lease on an engine that is gone"
            self.in_use[name] = self.in_use.get(name, 0) + 1
            try:
                yield resident
            finally:
                self.in_use[name] -= 1


async def settle() -> None:
    """Let everything that can happen now happen."""
    for _ in range(40):
        await asyncio.sleep(0)
