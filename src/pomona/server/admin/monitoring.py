"""GET /metrics for Prometheus."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import PlainTextResponse, Response

from pomona.core.metrics import Metrics
from pomona.core.ports import EngineStatus
from pomona.server.admin.gauges import EngineGauges, ModelGauges
from pomona.server.services import Management


def monitoring_routes(status: EngineStatus, metrics: Metrics, management: Management | None) -> APIRouter:
    """The routes of this resource."""
    routes = APIRouter(tags=["monitoring"])
    engines, models = EngineGauges(metrics), ModelGauges(metrics)

    @routes.get("/metrics", summary="Metrics in Prometheus' text format", response_class=PlainTextResponse)
    async def scrape() -> Response:
        engines.refresh(status)
        if management:
            models.refresh(management)
        return Response(generate_latest(metrics.registry), headers={"content-type": CONTENT_TYPE_LATEST})

    del scrape
    return routes
