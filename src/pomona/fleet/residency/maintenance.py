"""Once a second, and when a model was loaded: looks at memory and at the clock, and does what is due."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from pomona.core.events import ErrorOccurred, RuntimeStatus
from pomona.core.status import GuardLevel
from pomona.core.telemetry import get_logger
from pomona.fleet.residency.means import Means
from pomona.fleet.residency.memory.guard import LEVELS, MemoryGuard
from pomona.fleet.residency.memory.planning import PROCESS_BYTES
from pomona.fleet.residency.pool import ResidentPool

INTERVAL_SECONDS = 1.0
SHRINK_SECONDS = 10.0
"""While memory is short, engines are asked this often to give back what they can."""

log = get_logger(__name__)


class Maintenance:
    """What each level of the guard means: caution: nobody comes before somebody goes; warning: engines shrink, too, and requests of low
    priority wait; critical: idle models go as well; emergency: and nobody is let in.
    """

    def __init__(self, pool: ResidentPool, guard: MemoryGuard, means: Means) -> None:
        self._pool = pool
        self._guard = guard
        self._means = means
        self._shrunk_at: float | None = None
        self._sooner = asyncio.Event()
        pool.loaded = self._sooner.set
        pool.pressed = lambda: guard.at_least("caution")
        guard.changed = self._tell

    @contextlib.asynccontextmanager
    async def on_duty(self) -> AsyncGenerator[None]:
        """Look every second, at least, for as long as the context lasts."""
        watching = asyncio.ensure_future(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    def look(self) -> None:
        """Look once."""
        self._guard.check()
        for slot in self._pool.slots:
            self._means.weigh(slot)
        self._pool.expire()
        self._look_after_spare()
        if self._guard.at_least("warning"):
            self._shrink()
        else:
            self._shrunk_at = None
        if self._guard.at_least("critical"):
            self._pool.dismiss_idle()

    async def _watch(self) -> None:
        while True:
            self.look()
            self._sooner.clear()
            with contextlib.suppress(TimeoutError):  # not wait_for: Python 3.11's swallows a cancellation that comes with the event
                async with asyncio.timeout(INTERVAL_SECONDS):
                    await self._sooner.wait()

    def _look_after_spare(self) -> None:
        """A spare process is there while there is memory for it, and nothing loads that could do with the processor."""
        room = self._pool.budget - self._pool.planned >= PROCESS_BYTES and not self._guard.at_least("caution")
        if not room:
            self._means.spare.drop_spare()
        elif not self._pool.loads and not self._restarts:
            self._means.spare.keep_spare()

    @property
    def _restarts(self) -> bool:
        """Answers wait for a model to come again."""
        residents = [slot.stay.resident for slot in self._pool.slots if slot.stay is not None and slot.stay.resident is not None]
        return any(resident.engine.report().state == "restarting" for resident in residents)

    def _shrink(self) -> None:
        now = self._means.clock()
        if self._shrunk_at is None or now >= self._shrunk_at + SHRINK_SECONDS:
            self._shrunk_at = now
            for slot in self._pool.slots:
                if slot.stay is not None and slot.stay.resident is not None:
                    slot.stay.resident.engine.shrink()

    def _tell(self, old: GuardLevel, new: GuardLevel) -> None:
        """A line in the log; an event where answers are refused or allowed again."""
        worse = LEVELS.index(new) > LEVELS.index(old)
        say = log.warning if worse else log.info
        say("memory_guard", level=new, before=old, free_bytes=self._guard.free)
        at = self._means.now()
        if worse:
            message = f"Memory is short: {self._guard.free / 2**30:.2f} GiB are free; the guard goes from {old} to {new}."
            self._means.publish(ErrorOccurred(code="RuntimeError", message=message, at=at))
        if "emergency" in (old, new):
            status, previous = ("error", "ready") if new == "emergency" else ("ready", "error")
            self._means.publish(RuntimeStatus(status=status, previous=previous, at=at))
        self._pool.wake()
