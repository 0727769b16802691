"""What is remembered of a model's engines from one stay in memory to the next."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from pomona.core.settings import FleetSettings
from pomona.fleet.survival.breaker import Breaker
from pomona.fleet.survival.quarantine import Quarantine


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """One model's."""

    breaker: Breaker
    quarantine: Quarantine

    @classmethod
    def of(cls, settings: FleetSettings, clock: Callable[[], float] = time.monotonic) -> "Care":
        """As the settings have it."""
        return cls(breaker=Breaker(settings.max_restarts, clock), quarantine=Quarantine(settings.quarantine_seconds, clock))
