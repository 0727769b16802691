"""What a pool works with: the world outside, given to it."""

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from pomona.core.events import Event
from pomona.core.status import MemoryPlan
from pomona.fleet.residency.memory.planning import Needs
from pomona.fleet.residency.slots import Slot
from pomona.fleet.resident import Resident
from pomona.models.references import ResolvedModel


class Spare(Protocol):
    """A process that waits for the next model: `pomona.fleet.process.starting`."""

    @property
    def has_spare(self) -> bool:
        """It is there."""
        ...

    def keep_spare(self) -> None:
        """Start it."""
        ...

    def drop_spare(self) -> None:
        """End it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a pool works with."""

    resolve: Callable[[str], ResolvedModel]
    """Raises ModelNotFound."""
    enrol: Callable[[ResolvedModel], Slot]
    """What holds for a model that is asked for the first time."""
    estimate: Callable[[Slot], Awaitable[Needs]]
    """What it will need. Raises ModelUnusable."""
    open: Callable[[Slot, MemoryPlan], AbstractAsyncContextManager[Resident]]
    publish: Callable[[Event], None]
    spare: Spare
    weigh: Callable[[Slot], None]
    """Measure a model that is in memory; its plan is corrected by that."""
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
