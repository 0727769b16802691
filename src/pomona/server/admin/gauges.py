"""Carries what the ports report into the metrics: levels at each scrape, counts as events come."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import get_args

from prometheus_client import Gauge

from pomona.core.events import ErrorOccurred, Event, ModelLoaded, ModelUnloaded
from pomona.core.hub import PullState, PullStatus
from pomona.core.metrics import Metrics
from pomona.core.ports import EngineStatus
from pomona.core.status import BreakerState, EngineCounters, EngineReport, GuardLevel, MemoryReport, ModelStatus
from pomona.server.admin.services import holds_memory
from pomona.server.services import Management

_BREAKERS: tuple[BreakerState, ...] = ("closed", "half_open", "open")
_LEVELS = get_args(GuardLevel)


class EngineGauges:
    """Carries what the engines report into the metrics, at each scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._counted: dict[str, tuple[int, int]] = {}
        """Restarts and resumed answers by model, as of the last scrape."""
        self._sources: list[tuple[Gauge, Callable[[EngineCounters], int]]] = [
            (metrics.running, lambda counters: counters.running),
            (metrics.waiting, lambda counters: counters.waiting),
            (metrics.pages_used, lambda counters: counters.pages_used),
            (metrics.pages_cached, lambda counters: counters.pages_cached),
            (metrics.pages_total, lambda counters: counters.pages_total),
            (metrics.kv_bytes, lambda counters: counters.kv_bytes),
            (metrics.steps, lambda counters: counters.steps),
            (metrics.preemptions, lambda counters: counters.preemptions),
            (metrics.parked, lambda counters: counters.parked),
            (metrics.parkings, lambda counters: counters.parkings),
            (metrics.held_back, lambda counters: counters.held_back),
            (metrics.chunk_tokens, lambda counters: counters.chunk_tokens),
            (metrics.adapters, lambda counters: counters.adapters),
            (metrics.adapter_bytes, lambda counters: counters.adapter_bytes),
            (metrics.picture_bytes, lambda counters: counters.picture_bytes),
            (metrics.pictures_made, lambda counters: counters.pictures_made),
            (metrics.pictures_spared, lambda counters: counters.pictures_spared),
            (metrics.drafted_tokens, lambda counters: counters.drafted_tokens),
            (metrics.accepted_tokens, lambda counters: counters.accepted_tokens),
            (metrics.disk_files, lambda counters: counters.disk_files),
            (metrics.disk_bytes, lambda counters: counters.disk_bytes),
            (metrics.disk_read, lambda counters: counters.disk_blocks_read),
            (metrics.disk_bytes_read, lambda counters: counters.disk_bytes_read),
            (metrics.disk_written, lambda counters: counters.disk_blocks_written),
            (metrics.disk_bytes_written, lambda counters: counters.disk_bytes_written),
        ]

    def refresh(self, status: EngineStatus) -> None:
        """Set all gauges anew, so that engines which are gone leave none behind, and count the restarts since the last time."""
        reports = status.status()
        for gauge, read in self._sources:
            gauge.clear()
            for report in reports:
                gauge.labels(report.model).set(read(report.counters))
        self._set_late(reports)
        self._set_survival(reports)

    def _set_survival(self, reports: Iterable[EngineReport]) -> None:
        """Counts of engines that were loaded anew begin at 0 again, and metrics must not."""
        metrics, counted = self._metrics, self._counted
        metrics.quarantined.clear()
        metrics.breaker.clear()
        for report in reports:
            restarts, resumed = counted.get(report.model, (0, 0))
            metrics.restarts.labels(report.model).inc(max(report.restarts - restarts, 0))
            metrics.resumed.labels(report.model).inc(max(report.resumed - resumed, 0))
            counted[report.model] = (report.restarts, report.resumed)
            metrics.quarantined.labels(report.model).set(report.quarantined)
            metrics.breaker.labels(report.model).set(_BREAKERS.index(report.breaker))

    def _set_late(self, reports: Iterable[EngineReport]) -> None:
        self._metrics.late_first_tokens.clear()
        self._metrics.late_gaps.clear()
        for report in reports:
            for priority, count in report.counters.late_first_tokens.items():
                self._metrics.late_first_tokens.labels(report.model, priority).set(count)
            for priority, count in report.counters.late_gaps.items():
                self._metrics.late_gaps.labels(report.model, priority).set(count)


class ModelGauges:
    """Carries models, memory and downloads into the metrics, at each scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def refresh(self, management: Management) -> None:
        """Set all gauges anew, so that models which are gone leave none behind."""
        self._set_models(management.residents.statuses())
        self._set_memory(management.residents.memory())
        if management.hub:
            self._set_pulls(management.hub.pulls.pulls())

    def _set_models(self, statuses: tuple[ModelStatus, ...]) -> None:
        metrics = self._metrics
        metrics.models_loaded.set(sum(status.state == "ready" for status in statuses))
        for gauge in (
            metrics.model_state,
            metrics.model_planned_bytes,
            metrics.model_measured_bytes,
            metrics.model_active,
            metrics.model_waiting,
        ):
            gauge.clear()
        for status in statuses:
            if status.state != "unloaded":
                self._set_model(status)

    def _set_model(self, status: ModelStatus) -> None:
        metrics = self._metrics
        metrics.model_state.labels(status.id, status.state).set(1)
        metrics.model_active.labels(status.id).set(status.active_requests)
        metrics.model_waiting.labels(status.id).set(status.waiting_requests)
        if status.plan and holds_memory(status):
            metrics.model_planned_bytes.labels(status.id).set(status.plan.total)
        if status.measured_bytes is not None and holds_memory(status):
            metrics.model_measured_bytes.labels(status.id).set(status.measured_bytes)

    def _set_memory(self, report: MemoryReport) -> None:
        metrics = self._metrics
        metrics.memory_free.set(report.free)
        metrics.memory_budget.set(report.budget)
        metrics.memory_planned.set(report.planned)
        metrics.guard_level.set(_LEVELS.index(report.guard))

    def _set_pulls(self, pulls: tuple[PullStatus, ...]) -> None:
        states = Counter(pull.state for pull in pulls)
        for state in get_args(PullState):
            self._metrics.pulls.labels(state).set(states[state])
        self._metrics.pull_bytes_per_second.set(sum(pull.bytes_per_second for pull in pulls if pull.state == "downloading"))


def count_events(metrics: Metrics) -> Callable[[Event], None]:
    """A listener of events that counts loads and unloads."""

    def count(event: Event) -> None:
        match event:
            case ModelLoaded():
                metrics.model_loads.labels(event.model, "ok").inc()
                metrics.model_load_seconds.labels(event.model).observe(event.seconds)
            case ModelUnloaded():
                metrics.model_unloads.labels(event.model, event.reason).inc()
            case ErrorOccurred(model=str(), request=None):
                metrics.model_loads.labels(event.model, "failed").inc()
            case _:
                pass

    return count
