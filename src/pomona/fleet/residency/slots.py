"""What the pool knows of one model, and of one time that it is in memory."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from pomona.core.errors import PomonaError
from pomona.core.settings import FleetSettings
from pomona.core.status import MemoryPlan, ResidencyState
from pomona.fleet.resident import Resident
from pomona.fleet.survival.care import Care
from pomona.models.references import ResolvedModel

Leaving = Literal["idle", "evicted", "asked", "guard", "shutdown", "failed"]
"""Why a model goes."""


@dataclass(slots=True, kw_only=True, eq=False)
class Stay:
    """One time in memory, from the first byte loaded until the process is gone. Times are those of the pool's clock."""

    plan: MemoryPlan
    keep_alive: float | None
    begun_at: float
    resident: Resident | None = None
    """None while it loads."""
    leases: int = 0
    loaded_at: float = 0.0
    used_at: float = 0.0
    resting: int | None = None
    """Bytes right after loading, without keys and values."""
    working: int = 0
    """Bytes beyond that, at most."""
    leaving: Leaving | None = None
    """No new leases: it goes when the last one has ended."""
    end: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """It takes leases."""
        return self.resident is not None and self.leaving is None

    @property
    def expires_at(self) -> float | None:
        """When nobody has wanted it for long enough, unless it is pinned; None while somebody has it, and where it stays."""
        return None if self.leases or not self.open or self.keep_alive is None else self.used_at + self.keep_alive


@dataclass(slots=True, kw_only=True, eq=False)
class Slot:
    """One model, in memory or not. `keep_alive` is in seconds after its last request; None: for ever."""

    model: ResolvedModel
    name: str
    keep_alive: float | None
    pinned: bool = False
    default: bool = False
    required: bool = False
    """Pomona is not ready before this one is."""
    waiters: deque[asyncio.Future[Stay]] = field(default_factory=deque[asyncio.Future[Stay]])
    requests: int = 0
    """Of those who wait, they want an answer, not only the model."""
    stay: Stay | None = None
    plan: MemoryPlan | None = None
    """The last one."""
    measured: int | None = None
    care: Care = field(default_factory=lambda: Care.of(FleetSettings()))
    used_at: float | None = None
    load_seconds: float | None = None

    @property
    def problem(self) -> PomonaError | None:
        """Why it could not be loaded, or was left alone, the last time."""
        return self.care.breaker.problem

    @property
    def state(self) -> ResidencyState:
        """For people."""
        if self.stay is None:
            return "waiting" if self.waiters else "failed" if self.problem else "unloaded"
        if self.stay.resident is None:
            return "loading"
        return "unloading" if self.stay.end.is_set() else "ready"
