"""Moves models in and out of memory for whoever asks: the admin API, the command line, the Python engine."""

from collections.abc import Callable

from pomona.core.status import ModelStatus, UnloadReport
from pomona.fleet.residency.pool import ResidentPool
from pomona.fleet.residency.reports import Reports

RememberPin = Callable[[str, bool], None]
"""(model, pinned) -> kept for the next start."""


class Lifecycle:
    """The Residency of a pool, and what its engines keep."""

    def __init__(self, pool: ResidentPool, reports: Reports, remember_pin: RememberPin) -> None:
        self._pool = pool
        self._reports = reports
        self._remember_pin = remember_pin

    async def load(self, name: str, *, keep_alive_seconds: float | None = None) -> ModelStatus:
        """Load and warm up `name`."""
        slot = await self._pool.load(name, keep_alive_seconds=keep_alive_seconds)
        return self._reports.of(slot.model)

    async def unload(self, name: str, *, force: bool = False) -> UnloadReport:
        """Unload `name` once its answers have ended, or at once."""
        return await self._pool.unload(name, force=force)

    async def pin(self, name: str, *, pinned: bool) -> ModelStatus:
        """Keep `name` where it is, or let go of it."""
        slot = self._pool.pin(name, pinned=pinned)
        self._remember_pin(slot.name, pinned)
        return self._reports.of(slot.model)

    def shrink(self, name: str | None = None, *, disk: bool = False) -> tuple[str, ...]:
        """Have the engine of `name`, or all, give back what no answer needs now."""
        told: list[str] = []
        for slot in self._pool.slots if name is None else (self._pool.slot(name),):
            if slot.stay is not None and slot.stay.resident is not None:
                slot.stay.resident.engine.shrink(disk=disk)
                told.append(slot.name)
        return tuple(told)
