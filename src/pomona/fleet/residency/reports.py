"""What people are told of the models in memory. Everything is answered at once, from what is known."""

from pomona.core.status import EngineReport, MemoryReport, ModelStatus
from pomona.fleet.directory import Directory, sees
from pomona.fleet.residency.means import Means
from pomona.fleet.residency.memory.guard import MemoryGuard
from pomona.fleet.residency.memory.planning import PROCESS_BYTES
from pomona.fleet.residency.pool import ResidentPool
from pomona.fleet.residency.slots import Slot
from pomona.models.catalog import CatalogEntry
from pomona.models.probe import Probe
from pomona.models.references import ResolvedModel


class Reports:
    """The status of all models, of their engines, and of memory."""

    def __init__(self, pool: ResidentPool, directory: Directory, guard: MemoryGuard, probe: Probe, means: Means) -> None:
        self._pool = pool
        self._directory = directory
        self._guard = guard
        self._total = probe().total_bytes
        self._means = means

    def memory(self) -> MemoryReport:
        """Memory and what of it is planned for."""
        guard, pool = self._guard, self._pool
        return MemoryReport(
            total=self._total,
            free=guard.free,
            budget=pool.budget,
            planned=pool.planned + (PROCESS_BYTES if self._means.spare.has_spare else 0),
            guard=guard.level,
            guard_enabled=guard.enabled,
        )

    def status(self) -> tuple[EngineReport, ...]:
        """One report per engine, the default model's first. A model that is not in memory has none, unless Pomona waits for it."""
        slots = sorted(self._pool.slots, key=lambda slot: not slot.default)
        return tuple(report for slot in slots if (report := _engine_report(slot)) is not None)

    def statuses(self) -> tuple[ModelStatus, ...]:
        """Every model that can be asked for, the default one first."""
        default = self._directory.default
        found = {str(default.path): self._status(self._pool.slot(default.id))}
        for entry in self._directory.entries():
            if entry.path is None or entry.kind is None:
                found[entry.id] = ModelStatus(
                    id=entry.id, source="adapter" if entry.id.startswith("+") else "folder", path="", state="failed", problem=entry.problem
                )
            elif entry.base is not None:
                found[entry.id] = self._of_adapter(entry)
            elif str(entry.path) not in found:
                model = ResolvedModel(id=entry.alias_of or entry.id, path=entry.path, kind=entry.kind, reference=entry.alias_of or entry.id)
                found[str(entry.path)] = self.of(model, problem=entry.problem)
        for slot in self._pool.slots:
            found.setdefault(str(slot.model.path), self._status(slot))
        return tuple(found.values())

    def of(self, model: ResolvedModel, *, problem: str | None = None) -> ModelStatus:
        """The status of one model; `problem` is what its files are known to suffer from."""
        slot = next((each for each in self._pool.slots if each.model.path == model.path), None) or self._means.enrol(model)
        return self._status(slot, problem=problem)

    def _of_adapter(self, entry: CatalogEntry) -> ModelStatus:
        """An adapter is as much in memory as its model."""
        slot = next((each for each in self._pool.slots if each.model.path == entry.path), None)
        state = "failed" if entry.problem else slot.state if slot else "unloaded"
        path = str(entry.adapter.path) if entry.adapter else ""
        return ModelStatus(id=entry.id, source="adapter", path=path, state=state, parent=entry.base, problem=entry.problem)

    def _status(self, slot: Slot, *, problem: str | None = None) -> ModelStatus:
        stay, model = slot.stay, slot.model
        expires_at = None if stay is None or slot.pinned else stay.expires_at
        return ModelStatus(
            id=slot.name,
            source=model.kind,
            path=str(model.path),
            vision=sees(model.path),
            state=slot.state if problem is None or stay is not None else "failed",
            aliases=self._directory.names_of(model),
            pinned=slot.pinned,
            keep_alive_seconds=slot.keep_alive if stay is None else stay.keep_alive,
            expires_at=self._unix(expires_at),
            active_requests=0 if stay is None else stay.leases,
            waiting_requests=len(slot.waiters),
            last_used_at=self._unix(slot.used_at),
            loaded_at=self._unix(stay.loaded_at) if stay is not None and stay.resident is not None else None,
            load_seconds=slot.load_seconds,
            plan=slot.plan if stay is None else stay.plan,
            measured_bytes=slot.measured,
            problem=slot.problem.message if slot.problem else problem,
            breaker=slot.care.breaker.state,
        )

    def _unix(self, at: float | None) -> float | None:
        return None if at is None else self._means.now() - (self._means.clock() - at)


def _engine_report(slot: Slot) -> EngineReport | None:
    """None for a model that is not in memory and need not be."""
    stay, problem = slot.stay, slot.problem
    if stay is not None and stay.resident is not None and not stay.end.is_set():
        return stay.resident.engine.report()
    if stay is not None and stay.resident is None:
        return EngineReport(model=slot.name, state="loading", seconds_since_step=None, required=slot.required)
    if not slot.required and not (slot.default and problem):
        return None
    state = "failed" if problem else "loading"
    text = problem.message if problem else None
    breaker = slot.care.breaker.state
    return EngineReport(model=slot.name, state=state, seconds_since_step=None, problem=text, required=slot.required, breaker=breaker)
