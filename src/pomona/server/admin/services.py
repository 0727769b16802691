"""What every admin resource works with, and finding a model by any of its names."""

from collections.abc import Iterator
from dataclasses import dataclass

from pomona.core.errors import ModelNotFound
from pomona.core.settings import Settings
from pomona.core.status import ModelStatus
from pomona.server.admin.traffic import Traffic
from pomona.server.drain import Drain
from pomona.server.services import Backend, Management

GB = 2**30
SHOWN_NAMES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminServices:
    """The ports and what the admin resources share."""

    backend: Backend
    management: Management
    settings: Settings
    drain: Drain
    traffic: Traffic

    def statuses(self) -> tuple[ModelStatus, ...]:
        """Every model that can be asked for, the default one first."""
        return self.management.residents.statuses()

    def loaded(self) -> list[ModelStatus]:
        """Those that hold memory."""
        return [status for status in self.statuses() if holds_memory(status)]

    def find(self, name: str) -> ModelStatus:
        """The model called `name`: its id, an alias, or a name that stands for it. Raises ModelNotFound."""
        statuses = self.statuses()
        wanted = name
        found = _named(statuses, wanted)
        if found is None:
            wanted = self.backend.directory.find(name).id
            found = _named(statuses, wanted)
        if found is None:
            names = ", ".join(repr(status.id) for status in statuses[:SHOWN_NAMES]) or "none"
            raise ModelNotFound(f"There is no model {name!r} here. Available: {names}.", param="model")
        return found


def holds_memory(status: ModelStatus) -> bool:
    """Whether the model takes memory now."""
    return status.state in {"loading", "ready", "unloading"}


def in_gb(size: int | None) -> float | None:
    """Bytes in GB of 2**30."""
    return None if size is None else round(size / GB, 3)


def memory_of(status: ModelStatus) -> int | None:
    """What the model takes or will take, in bytes: as measured, else as planned."""
    if status.measured_bytes is not None:
        return status.measured_bytes
    return None if status.plan is None else status.plan.total


def _named(statuses: tuple[ModelStatus, ...], name: str) -> ModelStatus | None:
    def names(status: ModelStatus) -> Iterator[str]:
        yield status.id
        yield from status.aliases

    return next((status for status in statuses if name in names(status)), None)
