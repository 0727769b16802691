"""GET /admin/metrics and /admin/queue: requests in numbers, for people and scripts. Prometheus has `/metrics`."""

from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter

from pomona.control.queue import QueueReport
from pomona.core.settings import LimitsSettings
from pomona.server.admin.services import AdminServices
from pomona.server.admin.traffic import Spread, Traffic, spread
from pomona.server.bodies import WireBody
from pomona.server.describing import described

_MILLISECONDS = 1000


class QueueDocument(WireBody):
    """The queue in mlx-inference-server's words: slots are rows that decode together; the depth is how many answers have no token yet.

    The wait is until the first token: for a row, and for the prompt to be read.
    """

    enabled: Literal[True]
    active_slots: int
    max_slots: int
    queue_depth: int
    max_queue_depth: int
    utilization: float
    waiting_by_priority: dict[str, int]
    totals: dict[str, int]
    avg_wait_time_ms: float
    engines: list[dict[str, Any]]


class MetricsDocument(WireBody):
    """Requests since the start; times in milliseconds, of the last answers."""

    total_requests: int
    successful_requests: int
    failed_requests: int
    cancelled_requests: int
    queue_full_rejects: int
    success_rate: float
    request_duration_ms: dict[str, float]
    time_to_first_token_ms: dict[str, float]
    queue_wait_time_ms: dict[str, float]
    tokens: dict[str, int]
    outcomes: dict[str, int]
    endpoints: dict[str, int]
    models: dict[str, int]
    queue: dict[str, float]
    rate_limiter: dict[str, Any]
    priority_queue: dict[str, Any]


def figure_routes(services: AdminServices) -> APIRouter:
    """The routes of this resource."""
    routes = APIRouter(tags=["monitoring"])

    @routes.get("/admin/metrics", summary="Requests in numbers", openapi_extra=described(answer=MetricsDocument))
    async def show_metrics() -> dict[str, object]:
        return _metrics(services)

    @routes.get("/admin/queue", summary="Who runs and who waits", openapi_extra=described(answer=QueueDocument))
    async def show_queue() -> dict[str, object]:
        return _queue(services)

    del show_metrics, show_queue
    return routes


def _metrics(services: AdminServices) -> dict[str, object]:
    history, report = services.traffic.history, services.traffic.control.queue.report()
    total = history.outcomes.total()
    successful, cancelled = history.outcomes["ok"], history.outcomes["cancelled"]
    failed = total - successful - cancelled
    return {
        "total_requests": total,
        "successful_requests": successful,
        "failed_requests": failed,
        "cancelled_requests": cancelled,
        "queue_full_rejects": history.outcomes["overloaded"],
        "success_rate": round(successful / (successful + failed), 6) if successful + failed else 1.0,
        "request_duration_ms": _times(history.seconds),
        "time_to_first_token_ms": _times(history.first_token_seconds),
        "queue_wait_time_ms": _times(spread(report.waits)),
        "tokens": {"prompt": history.prompt_tokens, "cached": history.cached_tokens, "completion": history.completion_tokens},
        "outcomes": dict(history.outcomes),
        "endpoints": dict(history.endpoints),
        "models": dict(history.models),
        "queue": {
            "max_depth": report.places,
            "active_requests": report.running + sum(report.waiting.values()),
            "available_slots": max(0, report.rows - report.running),
            "utilization": _share(report),
        },
        "rate_limiter": _limiter(services.traffic, services.settings.limits),
        "priority_queue": _priority_queue(report, services.traffic),
    }


def _queue(services: AdminServices) -> dict[str, object]:
    report, outcomes = services.traffic.control.queue.report(), services.traffic.history.outcomes
    totals = {
        "enqueued": report.entered,
        "completed": report.finished,
        "timeouts": outcomes["timed_out"],
        "refused": report.refused,
    }
    engines = [
        {"model": each.model, "running": each.counters.running, "waiting": each.counters.waiting}
        for each in services.backend.status.status()
    ]
    return {**_places(report), "utilization": _share(report), "totals": totals, "engines": engines}


def _priority_queue(report: QueueReport, traffic: Traffic) -> dict[str, object]:
    return {
        **_places(report),
        "total_enqueued": report.entered,
        "total_completed": report.finished,
        "total_timeouts": traffic.history.outcomes["timed_out"],
    }


def _places(report: QueueReport) -> dict[str, object]:
    return {
        "enabled": True,
        "active_slots": report.running,
        "max_slots": report.rows,
        "queue_depth": sum(report.waiting.values()),
        "max_queue_depth": report.places - report.rows,
        "waiting_by_priority": dict(report.waiting),
        "avg_wait_time_ms": _milliseconds(spread(report.waits).average),
    }


def _limiter(traffic: Traffic, limits: LimitsSettings) -> Mapping[str, object]:
    """The limits of callers without a key; keys have limits of their own."""
    anonymous = {
        "requests_per_minute": limits.anonymous_requests_per_minute,
        "tokens_per_minute": limits.anonymous_tokens_per_minute,
        "concurrent": limits.anonymous_concurrent,
    }
    return {
        "enabled": any(value is not None for value in anonymous.values()),
        **anonymous,
        "accounts": traffic.control.limiter.accounts,
        "rejected": traffic.history.outcomes["rate_limit_exceeded"],
    }


def _times(found: Spread) -> dict[str, float]:
    """Empty until there is something to tell."""
    if not found.count:
        return {}
    named = {"p50": found.p50, "p95": found.p95, "p99": found.p99, "avg": found.average, "min": found.least, "max": found.most}
    return {name: _milliseconds(seconds) for name, seconds in named.items()}


def _milliseconds(seconds: float) -> float:
    return round(seconds * _MILLISECONDS, 3)


def _share(report: QueueReport) -> float:
    return round(min(1.0, report.running / report.rows), 6)
