"""Requests, cancellations, loads, failures and time in any order: no model is loaded twice, none goes that is in use, all are served.

`Street` checks the first two at each load and unload. This checks the books after each step, and that all who wait are served in the end.
"""

import asyncio
from contextlib import suppress
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pomona.core.errors import Conflict, ModelUnusable, PomonaError
from pomona.core.settings import ResidencySettings
from pomona.fleet.residency.memory.guard import LEVELS
from pomona.fleet.residency.pool import ResidentPool
from pomona.fleet.survival.breaker import PAUSE_SECONDS
from tests.unit.fleet.residency.street import Street, settle

SIZES = {"a": 4, "b": 4, "c": 6, "d": 1, "e": 10}
names = st.sampled_from(sorted(SIZES))


class AnyOrder(RuleBasedStateMachine):
    """One loop, run by hand between the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.street = Street(SIZES, default="a", keep_alive={"b": 5.0, "d": 0.0}, prompt=False)
        self.work: list[tuple[asyncio.Task[None], asyncio.Event]] = []
        self.others: list[asyncio.Task[Any]] = []
        self.pressed = False
        self.context = self.street.pool(ResidencySettings(max_models=3))
        self.pool: ResidentPool = self.run(self.context.__aenter__())
        self.pool.pressed = lambda: self.pressed

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    @rule(name=names, keep_alive=st.sampled_from([None, None, 0.0, 3.0, -1.0]))
    def ask(self, name: str, keep_alive: float | None) -> None:
        done = asyncio.Event()
        self.work.append((self.loop.create_task(self._request(name, keep_alive, done)), done))

    async def _request(self, name: str, keep_alive: float | None, done: asyncio.Event) -> None:
        with suppress(PomonaError):
            async with self.street.using(self.pool, name, keep_alive):
                await done.wait()

    @rule(number=st.integers(0, 99))
    def answer(self, number: int) -> None:
        if self.work:
            self.work[number % len(self.work)][1].set()

    @rule(number=st.integers(0, 99))
    def leave(self, number: int) -> None:
        if self.work:
            self.work[number % len(self.work)][0].cancel()

    @rule(number=st.integers(0, 99), fails=st.booleans())
    def load_ends(self, number: int, fails: bool) -> None:
        loading = self.street.loading()
        if loading:
            name = loading[number % len(loading)]
            if fails:
                self.street.failures[name] = ModelUnusable("It is broken.")
            self.street.finish_load(name)

    @rule(number=st.integers(0, 99))
    def process_is_gone(self, number: int) -> None:
        gone = [each for each in self.street.departures.values() if not each.done()]
        if gone:
            gone[number % len(gone)].set_result(None)

    @rule(name=names)
    def unload(self, name: str) -> None:
        async def ask() -> None:
            with suppress(Conflict):
                await self.pool.unload(name)

        self.others.append(self.loop.create_task(ask()))

    @rule(name=names)
    def load(self, name: str) -> None:
        async def ask() -> None:
            with suppress(PomonaError):
                await self.pool.load(name)

        self.others.append(self.loop.create_task(ask()))

    @rule(name=names, pinned=st.booleans())
    def pin(self, name: str, pinned: bool) -> None:
        self.pool.pin(name, pinned=pinned)

    @rule(name=names)
    def engine_is_given_up(self, name: str) -> None:
        if name in self.street.alive and self.street.alive[name].state == "ready":
            self.street.alive[name].state = "failed"
            self.street.forced.add(name)  # its answers have failed

    @rule(seconds=st.floats(0, 10))
    def time_passes(self, seconds: float) -> None:
        self.street.time += seconds
        self.pool.expire()

    @rule(level=st.sampled_from(LEVELS))
    def memory_changes(self, level: str) -> None:
        self.pressed = level != "safe"
        if level == "critical":
            self.pool.dismiss_idle()
        self.pool.wake()

    @rule(turns=st.integers(1, 40))
    def things_happen(self, turns: int) -> None:
        async def turn() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.run(turn())

    @invariant()
    def the_books_are_right(self) -> None:
        for name, engine in self.street.alive.items():
            slot = self.pool.slot(name)
            assert slot.stay is not None, f"{name} is alive and the pool does not know"
            assert slot.stay.resident is None or slot.stay.resident.engine is engine
        assert self.pool.planned <= self.street.budget
        assert sum(slot.stay is not None for slot in self.pool.slots) <= 3
        for slot in self.pool.slots:
            if slot.stay is not None:
                assert slot.stay.leases >= self.street.in_use.get(slot.name, 0)

    def teardown(self) -> None:
        self.run(self._end())
        self.loop.close()

    async def _end(self) -> None:
        """Let everything come to its end: nobody may be left waiting."""
        self.pressed = False
        self.street.prompt = True
        for slot in self.pool.slots:
            self.pool.pin(slot.name, pinned=False)
        for _, done in self.work:
            done.set()
        for _ in range(60):
            for name in self.street.loading():
                self.street.finish_load(name)
            for leaving in self.street.departures.values():
                if not leaving.done():
                    leaving.set_result(None)
            self.street.time += PAUSE_SECONDS / 10
            self.pool.expire()
            await settle()
        assert all(task.done() for task, _ in self.work), "a request was forgotten"
        assert all(task.done() for task in self.others), "a load or unload was forgotten"
        assert all(slot.stay is None or slot.stay.leases == 0 for slot in self.pool.slots), "a lease was lost"
        for task in (*(task for task, _ in self.work), *self.others):
            if not task.cancelled():
                task.result()
        await self.context.__aexit__(None, None, None)
        assert self.street.alive == {}


AnyOrder.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
