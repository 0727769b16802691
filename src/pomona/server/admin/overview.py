"""GET /admin/health and /admin/status: the whole server in one document."""

import platform
import time
from collections.abc import Sequence
from typing import Any, Literal

from fastapi import APIRouter
from starlette.requests import Request

import pomona
from pomona.core.status import EngineReport, GuardLevel, ModelStatus
from pomona.server.admin.memory import memory_document
from pomona.server.admin.probes import engine_documents, find_problems
from pomona.server.admin.services import AdminServices, in_gb, memory_of
from pomona.server.bodies import WireBody
from pomona.server.describing import described
from pomona.server.drain import Drain
from pomona.server.services import Backend

WorkerState = Literal["no_worker", "healthy", "dead"]


class HealthDocument(WireBody):
    """`worker_status` is of all engines together: dead where one failed or hangs."""

    status: Literal["healthy", "degraded"]
    worker_status: WorkerState
    memory_status: GuardLevel
    version: str
    models_count: int
    loaded_count: int
    problems: list[str]


class StatusDocument(WireBody):
    """`model` is the loaded model that was used last; `models` are all, the default one first."""

    status: Literal["running", "draining"]
    version: str
    uptime_seconds: float
    draining: bool
    ports: dict[str, int]
    problems: list[str]
    engines: list[dict[str, Any]]
    model: dict[str, Any]
    models: list[dict[str, Any]]
    worker: dict[str, Any]
    config: dict[str, Any]
    memory: dict[str, Any]


def overview_routes(services: AdminServices) -> APIRouter:
    """The routes of this resource."""
    routes = APIRouter(tags=["monitoring"])
    started = time.monotonic()

    @routes.get(
        "/admin/health", summary="Always 200: healthy or degraded, with the reasons", openapi_extra=described(answer=HealthDocument)
    )
    async def show_health() -> dict[str, object]:
        return _health(services)

    @routes.get(
        "/admin/status", summary="Engines, models, memory and problems, in one document", openapi_extra=described(answer=StatusDocument)
    )
    async def show_status(request: Request) -> dict[str, object]:
        return {"uptime_seconds": round(time.monotonic() - started, 3), **_status(services, request)}

    del show_health, show_status
    return routes


def plain_status_routes(backend: Backend, drain: Drain, hang_seconds: float) -> APIRouter:
    """GET /admin/status of a server whose models nobody manages."""
    routes, started = APIRouter(tags=["monitoring"]), time.monotonic()

    @routes.get("/admin/status", summary="Engines, models and problems, in one document")
    async def show_status() -> dict[str, object]:
        reports = backend.status.status()
        return {
            "version": pomona.__version__,
            "uptime_seconds": round(time.monotonic() - started, 3),
            "draining": drain.begun,
            "problems": find_problems(reports, hang_seconds),
            "engines": engine_documents(reports),
            "models": [
                {"id": card.id, "owned_by": card.owned_by, "max_context": card.max_context, "loaded": card.loaded}
                for card in backend.directory.models()
            ],
        }

    del show_status
    return routes


def _health(services: AdminServices) -> dict[str, object]:
    reports, statuses = services.backend.status.status(), services.statuses()
    problems = find_problems(reports, services.settings.fleet.hang_seconds)
    return {
        "status": "degraded" if problems else "healthy",
        "worker_status": _worker(reports, problems),
        "memory_status": services.management.residents.memory().guard,
        "version": pomona.__version__,
        "models_count": len(statuses),
        "loaded_count": sum(status.state == "ready" for status in statuses),
        "problems": problems,
    }


def _status(services: AdminServices, request: Request) -> dict[str, object]:
    reports, statuses = services.backend.status.status(), services.statuses()
    problems = find_problems(reports, services.settings.fleet.hang_seconds)
    return {
        "status": "draining" if services.drain.begun else "running",
        "version": pomona.__version__,
        "draining": services.drain.begun,
        "ports": {"main": services.settings.server.port, "admin": request.url.port or services.settings.server.admin_port},
        "problems": problems,
        "engines": engine_documents(reports),
        "model": _current(statuses),
        "models": _models(services, statuses),
        "worker": {"healthy": not problems, "status": _worker(reports, problems)},
        "config": _config(services, statuses),
        "memory": memory_document(services),
    }


def _current(statuses: Sequence[ModelStatus]) -> dict[str, object]:
    loaded = [status for status in statuses if status.state == "ready"]
    if not loaded:
        return {"loaded": False, "name": None, "memory_gb": None}
    last = max(loaded, key=lambda status: status.last_used_at or 0.0)
    return {"loaded": True, "name": last.id, "memory_gb": in_gb(memory_of(last))}


def _models(services: AdminServices, statuses: Sequence[ModelStatus]) -> list[dict[str, object]]:
    states = {name: status for status in statuses for name in (status.id, *status.aliases)}
    return [
        {
            "id": card.id,
            "owned_by": card.owned_by,
            "max_context": card.max_context,
            "loaded": card.loaded,
            "task": card.task,
            "vision": card.vision,
            "parent": card.parent,
            "state": states[card.id].state if card.id in states else None,
            "pinned": states[card.id].pinned if card.id in states else None,
        }
        for card in services.backend.directory.models()
    ]


def _config(services: AdminServices, statuses: Sequence[ModelStatus]) -> dict[str, object]:
    idle = [status.keep_alive_seconds for status in statuses if status.keep_alive_seconds is not None]
    return {
        "machine_type": f"{platform.system()} {platform.machine()}",
        "total_ram_gb": in_gb(services.management.residents.memory().total),
        "idle_timeout_seconds": max(idle) if idle else services.settings.residency.keep_alive_seconds,
    }


def _worker(reports: Sequence[EngineReport], problems: Sequence[str]) -> WorkerState:
    return "dead" if problems else "healthy" if reports else "no_worker"
