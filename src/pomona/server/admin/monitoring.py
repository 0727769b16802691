"""GET /metrics for Prometheus and GET /admin/status for people and scripts."""

import time
from collections.abc import Callable

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest
from starlette.responses import Response

import pomona
from pomona.core.metrics import Metrics
from pomona.core.ports import EngineStatus, ModelDirectory
from pomona.core.status import EngineCounters
from pomona.server.admin.probes import engine_documents, find_problems
from pomona.server.drain import Drain


def monitoring_routes(directory: ModelDirectory, status: EngineStatus, metrics: Metrics, drain: Drain, hang_seconds: float) -> APIRouter:
    """The routes of this resource."""
    routes = APIRouter(tags=["monitoring"])
    gauges = EngineGauges(metrics)
    started = time.monotonic()

    @routes.get("/metrics", summary="Metrics in Prometheus' text format", response_model=None)
    async def scrape() -> Response:
        gauges.refresh(status)
        return Response(generate_latest(metrics.registry), headers={"content-type": CONTENT_TYPE_LATEST})

    @routes.get("/admin/status", summary="Engines, models and problems, in one document")
    async def show_status() -> JSONResponse:
        reports = status.status()
        return JSONResponse(
            {
                "version": pomona.__version__,
                "uptime_seconds": round(time.monotonic() - started, 3),
                "draining": drain.begun,
                "problems": find_problems(reports, hang_seconds),
                "engines": engine_documents(reports),
                "models": [
                    {"id": card.id, "owned_by": card.owned_by, "max_context": card.max_context, "loaded": card.loaded}
                    for card in directory.models()
                ],
            }
        )

    del scrape, show_status
    return routes


class EngineGauges:
    """Carries what the engines report into the metrics, at each scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._restarts_counted: dict[str, int] = {}
        self._sources: list[tuple[Gauge, Callable[[EngineCounters], int]]] = [
            (metrics.running, lambda counters: counters.running),
            (metrics.waiting, lambda counters: counters.waiting),
            (metrics.pages_used, lambda counters: counters.pages_used),
            (metrics.pages_cached, lambda counters: counters.pages_cached),
            (metrics.pages_total, lambda counters: counters.pages_total),
            (metrics.kv_bytes, lambda counters: counters.kv_bytes),
            (metrics.steps, lambda counters: counters.steps),
            (metrics.preemptions, lambda counters: counters.preemptions),
        ]

    def refresh(self, status: EngineStatus) -> None:
        """Set all gauges anew, so that engines which are gone leave none behind, and count the restarts since the last time."""
        reports = status.status()
        for gauge, read in self._sources:
            gauge.clear()
            for report in reports:
                gauge.labels(report.model).set(read(report.counters))
        for report in reports:
            new = report.restarts - self._restarts_counted.get(report.model, 0)
            self._metrics.restarts.labels(report.model).inc(max(new, 0))
            self._restarts_counted[report.model] = report.restarts
