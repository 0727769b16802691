"""Which models are in memory: leases, loads, and who goes to make room. One event loop; between two awaits nothing else happens.

A lease on a model that is there is granted at once, and counted in the same moment: what is counted is never unloaded. Else the
request waits in its model's line. Models that are wanted stand in one line themselves. The first of them gets the memory that it needs,
from idle models if there are any, else busy ones take no new requests and go when their answers have ended. Then it loads,
while the next one's turn comes.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial

from pomona.core.errors import Cancelled, Conflict, EngineFailed, Overloaded, PomonaError
from pomona.core.events import ErrorOccurred, ModelInvalidated, ModelLoaded, ModelUnloaded, runtime_code
from pomona.core.settings import ResidencySettings
from pomona.core.status import MemoryPlan, UnloadReport
from pomona.core.telemetry import get_logger
from pomona.fleet.residency.eviction import choose
from pomona.fleet.residency.means import Means
from pomona.fleet.residency.memory.planning import Needs
from pomona.fleet.residency.refusals import does_not_fit, no_room, overdue, refuse
from pomona.fleet.residency.slots import Leaving, Slot, Stay
from pomona.fleet.resident import Resident

log = get_logger(__name__)


class ResidentPool:
    """`async with` begins it; at its end no engine is left. `budget` is in bytes."""

    def __init__(self, means: Means, settings: ResidencySettings, budget: int) -> None:
        self.budget = budget
        self.pressed: Callable[[], bool] = lambda: False
        """Memory is so short that nobody comes before somebody has gone."""
        self.loaded: Callable[[], None] = lambda: None
        """A model has come."""
        self._means = means
        self._settings = settings
        self._slots: dict[str, Slot] = {}
        self._wanted: deque[Slot] = deque()
        self._changed = asyncio.Event()
        self._departures = 0
        self._porter: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "ResidentPool":
        self._porter = asyncio.ensure_future(self._carry())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._porter is not None:
            self._porter.cancel()
            await asyncio.wait([self._porter])
        for slot in self._slots.values():
            refuse(slot, Cancelled("Pomona is shutting down."))
        tasks = [stay.task for stay in self._stays() if stay.task]
        for stay in self._stays():
            stay.leaving = "shutdown"
            stay.end.set()
        if tasks:
            await asyncio.wait(tasks)
            await asyncio.sleep(0)  # so that what is done at their end is done

    @property
    def slots(self) -> Iterable[Slot]:
        """All that were asked for since the start."""
        return self._slots.values()

    @property
    def planned(self) -> int:
        """Bytes planned for all models that are in memory, on their way in, or on their way out."""
        return sum(stay.plan.total for stay in self._stays())

    @property
    def loads(self) -> bool:
        """A model is loaded, or waits for its turn."""
        return bool(self._wanted) or any(stay.resident is None for stay in self._stays())

    @asynccontextmanager
    async def lease(self, name: str, *, keep_alive_seconds: float | None = None) -> AsyncGenerator[Resident]:
        """`name` in memory, for as long as the context lasts. Waits for `residency.load_wait_seconds` at most.

        Raises ModelNotFound, why the model cannot be loaded, and Overloaded where pinned models leave no room or the wait was too long.
        """
        slot = self.slot(name)
        slot.requests += 1
        try:
            stay = await self._enter(slot, self._settings.load_wait_seconds)
        finally:
            slot.requests -= 1
            self._break_off_unwanted(slot)
        try:
            yield _resident(stay)
        finally:
            self._leave(slot, stay, keep_alive_seconds)

    async def load(self, name: str, *, keep_alive_seconds: float | None = None) -> Slot:
        """As `lease`, only to have it there, however long that takes; a failure a moment ago does not count."""
        slot = self.slot(name)
        slot.care.breaker.reset()
        stay = await self._enter(slot, None)
        self._leave(slot, stay, keep_alive_seconds)
        return slot

    async def unload(self, name: str, *, force: bool = False) -> UnloadReport:
        """Unload `name` once its answers have ended, those too that wait for it to be loaded; with `force`, or where nobody waits, at once.

        Raises Conflict where it is not loaded.
        """
        slot = self.slot(name)
        stay = slot.stay
        if stay is None:
            raise Conflict(f"The model {slot.name!r} is not loaded.")
        began, freed = self._means.clock(), _bytes(slot, stay)
        if stay.resident is None and (force or not slot.requests):
            refuse(slot, Cancelled(f"The model {slot.name!r} was unloaded while it was loaded. Send the request again."))
        self._dismiss(slot, stay, "asked", force=force)
        await stay.gone.wait()
        return UnloadReport(id=slot.name, freed_bytes=freed, seconds=self._means.clock() - began)

    def pin(self, name: str, *, pinned: bool) -> Slot:
        """Keep `name` where it is, or let go of it."""
        slot = self.slot(name)
        slot.pinned = pinned
        self.wake()
        return slot

    def slot(self, name: str) -> Slot:
        """What is known of the model that `name` stands for. Raises ModelNotFound."""
        model = self._means.resolve(name)
        key = str(model.path)
        if key not in self._slots:
            self._slots[key] = self._means.enrol(model)
        return self._slots[key]

    def expire(self) -> None:
        """Let go of idle models whose time is over, and of those whose engines were given up. To be called now and then."""
        now = self._means.clock()
        for slot in list(self._slots.values()):
            stay = slot.stay
            if stay is None or not stay.open:
                continue
            if _is_dead(stay):
                self._give_up(slot, stay)
            elif stay.expires_at is not None and now >= stay.expires_at and not slot.pinned:
                self._dismiss(slot, stay, "idle")

    def dismiss_idle(self) -> None:
        """Let go of every idle model that is not pinned: the memory guard's last resort but one."""
        for slot in list(self._slots.values()):
            if slot.stay is not None and slot.stay.open and not slot.stay.leases and not slot.pinned:
                self._dismiss(slot, slot.stay, "guard")

    async def _enter(self, slot: Slot, wait_seconds: float | None) -> Stay:
        """A lease, counted when this returns."""
        stay = slot.stay
        if stay is not None and stay.open:
            if not _is_dead(stay):
                return self._grant(slot, stay)
            self._give_up(slot, stay)
        slot.care.breaker.check()
        waiter: asyncio.Future[Stay] = asyncio.get_running_loop().create_future()
        slot.waiters.append(waiter)
        self._want(slot)
        try:
            async with asyncio.timeout(wait_seconds):
                return await waiter
        except BaseException as error:
            self._abandon(slot, waiter)
            if isinstance(error, TimeoutError):
                raise overdue(slot, wait_seconds) from None
            raise

    def _grant(self, slot: Slot, stay: Stay) -> Stay:
        stay.leases += 1
        slot.used_at = stay.used_at = self._means.clock()
        return stay

    def _abandon(self, slot: Slot, waiter: asyncio.Future[Stay]) -> None:
        """A request stops waiting. It may have got its lease in the same moment."""
        if waiter in slot.waiters:
            slot.waiters.remove(waiter)
        elif waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            self._leave(slot, waiter.result(), None)
        self.wake()

    def _leave(self, slot: Slot, stay: Stay, keep_alive_seconds: float | None) -> None:
        stay.leases -= 1
        slot.used_at = stay.used_at = self._means.clock()
        if keep_alive_seconds is not None:
            stay.keep_alive = None if keep_alive_seconds < 0 else keep_alive_seconds
        if not stay.leases:
            if stay.leaving is not None:
                stay.end.set()
            elif stay.keep_alive == 0 and not slot.pinned:
                self._dismiss(slot, stay, "idle")
        self.wake()

    def _want(self, slot: Slot) -> None:
        """Get in line, unless it loads already. Where it goes for other reasons than to make room, only once it is gone."""
        if (slot.stay is None or slot.stay.leaving == "evicted") and slot not in self._wanted:
            self._wanted.append(slot)
        self.wake()

    async def _carry(self) -> None:
        """The porter: brings the first of those that are wanted, then the next."""
        while True:
            while not self._wanted:
                await self._change()
            slot = self._wanted[0]
            try:
                await self._bring(slot)
            except PomonaError as error:
                self._note_failure(slot, error)
            finally:
                self._wanted.remove(slot)
                self._reprieve()

    async def _bring(self, slot: Slot) -> None:
        """Start loading `slot` as soon as there is room for it. Ends as well when nobody waits for it any more."""
        needs = await self._means.estimate(slot)
        departures = self._departures
        while slot.waiters:
            if slot.stay is None:
                plan = self._plan(slot, needs, somebody_went=self._departures > departures)
                if plan is not None:
                    self._start(slot, plan)
                    return
            elif slot.stay.open:
                self._serve_waiters(slot, slot.stay)
                return
            await self._change()

    def _plan(self, slot: Slot, needs: Needs, *, somebody_went: bool) -> MemoryPlan | None:
        """The plan if there is room now; else None, and those who are in the way have been told. Raises DoesNotFit, Overloaded."""
        slot.plan = needs.plan(self.budget)
        if slot.plan is None:
            raise does_not_fit(slot, needs, self.budget)
        alive = list(self._stays())
        pressed = self.pressed() and not somebody_went and any(stay.resident for stay in alive)
        plan = needs.plan(self.budget - self.planned)
        if plan is not None and len(alive) < self._settings.max_models and not pressed:
            slot.plan = plan
            return plan
        going = [stay for stay in alive if stay.leaving is not None or stay.resident is None]
        leaving = [stay for stay in alive if stay.leaving is not None]
        bytes_short = needs.least - (self.budget - self.planned) - sum(stay.plan.total for stay in leaving)
        places_short = len(alive) + 1 - self._settings.max_models - len(leaving)
        if pressed and not leaving:
            places_short = max(places_short, 1)
        chosen = choose(list(self._slots.values()), bytes_short=bytes_short, places_short=places_short)
        if chosen is None and not going and not pressed:
            raise no_room(slot, self._slots.values())
        for other in chosen or ():
            self._dismiss(other, _stay(other), "evicted")
        return None

    def _start(self, slot: Slot, plan: MemoryPlan) -> None:
        stay = slot.stay = Stay(plan=plan, keep_alive=slot.keep_alive, begun_at=self._means.clock())
        stay.task = asyncio.ensure_future(self._live(slot, stay))
        stay.task.add_done_callback(partial(self._note_gone, slot, stay))
        log.info("model_loads", model=slot.name, planned_bytes=plan.total)

    async def _live(self, slot: Slot, stay: Stay) -> None:
        """From the first byte to the last."""
        async with self._means.open(slot, stay.plan) as resident:
            if not await _comes(resident, stay.end):
                return
            stay.resident = resident
            stay.loaded_at = stay.used_at = self._means.clock()
            slot.load_seconds = stay.loaded_at - stay.begun_at
            slot.care.breaker.note_load()
            slot.required = False
            self._means.weigh(slot)
            self._means.publish(ModelLoaded(model=slot.name, seconds=slot.load_seconds, at=self._means.now()))
            self._serve_waiters(slot, stay)
            if stay.leaving is not None and not stay.leases:
                stay.end.set()
            self.wake()
            self.loaded()
            await stay.end.wait()
            self._means.weigh(slot)

    def _serve_waiters(self, slot: Slot, stay: Stay) -> None:
        while slot.waiters:
            waiter = slot.waiters.popleft()
            if not waiter.done():
                waiter.set_result(self._grant(slot, stay))

    def _dismiss(self, slot: Slot, stay: Stay, why: Leaving, *, force: bool = False) -> None:
        """No new leases; gone when the last has ended, or with `force` at once. A load is broken off."""
        stay.leaving = stay.leaving or why
        wanted = stay.leases if stay.resident is not None else slot.requests
        if force or not wanted:
            stay.end.set()  # never by cancelling: a second time that would break off the end of the process, too
        self.wake()

    def _break_off_unwanted(self, slot: Slot) -> None:
        """A load that went on only for requests that waited, when the last of them has gone."""
        stay = slot.stay
        if stay is not None and stay.resident is None and stay.leaving is not None and not slot.requests:
            stay.end.set()

    def _reprieve(self) -> None:
        """Whoever was to make room, and has not gone, stays if nobody needs the room any more."""
        for slot in self._slots.values():
            stay = slot.stay
            if stay is not None and stay.leaving == "evicted" and not stay.end.is_set():
                stay.leaving = None
                self._serve_waiters(slot, stay)
                with suppress(ValueError):
                    self._wanted.remove(slot)

    def _note_gone(self, slot: Slot, stay: Stay, task: asyncio.Task[None]) -> None:
        """Its process is gone and its memory free."""
        slot.stay = None
        self._departures += 1
        stay.gone.set()
        error = task.exception()
        if error is not None:
            if not isinstance(error, PomonaError):
                log.error("resident_failed", model=slot.name, exc_info=error)
                error = EngineFailed(f"The model {slot.name!r} failed: {type(error).__name__}: {error}")
            self._note_failure(slot, error)
        elif stay.resident is not None and stay.leaving not in (None, "failed"):
            freed = _bytes(slot, stay)
            log.info("model_unloaded", model=slot.name, reason=stay.leaving, freed_bytes=freed)
            self._means.publish(ModelUnloaded(model=slot.name, reason=stay.leaving, freed_bytes=freed, at=self._means.now()))
        if slot.waiters:
            self._want(slot)
        self.wake()

    def _note_failure(self, slot: Slot, error: PomonaError) -> None:
        """Those who wait are told; the others are not concerned."""
        log.warning("model_failed", model=slot.name, problem=error.message)
        if not isinstance(error, Overloaded):
            slot.care.breaker.note_load_failure(error)
        at = self._means.now()
        self._means.publish(ErrorOccurred(code=runtime_code(error), message=error.message, model=slot.name, at=at))
        refuse(slot, error)

    def _give_up(self, slot: Slot, stay: Stay) -> None:
        """Its engine has died too often."""
        message = _resident(stay).engine.report().problem or f"The engine of {slot.name!r} failed."
        self._means.publish(ModelInvalidated(model=slot.name, reason="error", at=self._means.now()))
        if slot.care.breaker.state == "closed":
            slot.care.breaker.note_load_failure(EngineFailed(message))
        self._dismiss(slot, stay, "failed", force=True)

    def _stays(self) -> Iterable[Stay]:
        return [slot.stay for slot in self._slots.values() if slot.stay is not None]

    def wake(self) -> None:
        """Something has changed that may make room."""
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


async def _comes(resident: Resident, end: asyncio.Event) -> bool:
    """Wait until its model is loaded; False if that was broken off. Raises why it cannot be loaded."""
    loading, ending = asyncio.ensure_future(resident.engine.loaded()), asyncio.ensure_future(end.wait())
    try:
        await asyncio.wait([loading, ending], return_when=asyncio.FIRST_COMPLETED)
        if not end.is_set():
            loading.result()
        return not end.is_set()
    finally:
        loading.cancel()
        ending.cancel()


def _resident(stay: Stay) -> Resident:
    if stay.resident is None:
        raise RuntimeError("a lease was granted on a model that is not loaded")
    return stay.resident


def _stay(slot: Slot) -> Stay:
    if slot.stay is None:
        raise RuntimeError("a model that is not loaded was chosen to go")
    return slot.stay


def _bytes(slot: Slot, stay: Stay) -> int:
    return slot.measured or stay.plan.total


def _is_dead(stay: Stay) -> bool:
    return stay.resident is not None and stay.resident.engine.report().state == "failed"
