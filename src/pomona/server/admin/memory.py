"""GET /admin/memory: the memory of this machine and what models have of it."""

from fastapi import APIRouter

from pomona.core.settings import ResidencySettings
from pomona.server.admin.models.wire import MemoryDocument
from pomona.server.admin.services import AdminServices, holds_memory, in_gb
from pomona.server.describing import described

_BELOW = ("caution", "warning", "critical", "emergency")


def memory_routes(services: AdminServices) -> APIRouter:
    """The routes of this resource."""
    routes = APIRouter(tags=["monitoring"])

    @routes.get("/admin/memory", summary="Memory, and what models have of it", openapi_extra=described(answer=MemoryDocument))
    async def show_memory() -> dict[str, object]:
        return memory_document(services)

    del show_memory
    return routes


def memory_document(services: AdminServices) -> dict[str, object]:
    """A `MemoryDocument`."""
    report = services.management.residents.memory()
    models = [status for status in services.statuses() if holds_memory(status) or status.state == "waiting"]
    return {
        "status": report.guard,
        "guard_enabled": report.guard_enabled,
        "accepting_requests": report.guard != "emergency",
        "available_gb": in_gb(report.free),
        "total_bytes": report.total,
        "free_bytes": report.free,
        "budget_bytes": report.budget,
        "planned_bytes": report.planned,
        "measured_bytes": sum(status.measured_bytes or 0 for status in models if holds_memory(status)),
        "levels_gb": _levels(services.settings.residency),
        "models": [
            {
                "id": status.id,
                "state": status.state,
                "planned_bytes": status.plan.total if status.plan else None,
                "measured_bytes": status.measured_bytes,
                "active_requests": status.active_requests,
                "pinned": status.pinned,
            }
            for status in models
        ],
    }


def _levels(settings: ResidencySettings) -> dict[str, float]:
    return dict(zip(_BELOW, settings.guard_levels, strict=True))
