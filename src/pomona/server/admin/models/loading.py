"""Models in and out of memory: load, unload, pin, by name and in mlx-inference-server's forms."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse

from pomona.core.errors import Cancelled, Conflict, InvalidRequest, PomonaError
from pomona.core.ports import Residency
from pomona.core.status import ModelStatus, UnloadReport
from pomona.core.telemetry import get_logger
from pomona.server.admin.models.listing import model_document
from pomona.server.admin.models.wire import (
    LoadAnswer,
    LoadBody,
    LoadedAnswer,
    ModelDocument,
    PinBody,
    UnloadAllAnswer,
    UnloadAnswer,
    UnloadBody,
)
from pomona.server.admin.services import AdminServices, in_gb, memory_of
from pomona.server.bodies import keep_alive_seconds, read_optional_body
from pomona.server.describing import answering_later, described, without_need

log = get_logger(__name__)
_CANNOT_LOAD = (409, 502, 507)
_WHICH = "GET /admin/models?state=loaded lists those that are."


def loading_routes(services: AdminServices) -> APIRouter:
    """The routes of this resource."""
    routes = APIRouter(tags=["models"])
    _add_loading(routes, services, Loads(services.management.residency, services))
    _add_unloading(routes, services)
    _add_pinning(routes, services)
    return routes


class Loads:
    """Loads that go on whether or not their clients stay; the end of the server ends them."""

    def __init__(self, residency: Residency, services: AdminServices) -> None:
        self._residency = residency
        self._running: set[asyncio.Task[ModelStatus]] = set()
        services.drain.when_begun(self._cancel)

    def start(self, name: str, *, keep_alive_seconds: float | None, pin: bool) -> asyncio.Task[ModelStatus]:
        """Begin to load `name`, and pin it if that goes well."""
        task = asyncio.ensure_future(self._load(name, keep_alive_seconds, pin=pin))
        self._running.add(task)
        task.add_done_callback(self._end)
        return task

    async def finish(self, task: asyncio.Task[ModelStatus]) -> ModelStatus:
        """Wait for a load. Raises what went wrong."""
        await asyncio.wait([task])  # unlike `await task`, a client that leaves does not end it
        if task.cancelled():
            raise Cancelled("The server is shutting down and did not finish loading.")
        return task.result()

    async def _load(self, name: str, keep_alive_seconds: float | None, *, pin: bool) -> ModelStatus:
        status = await self._residency.load(name, keep_alive_seconds=keep_alive_seconds)
        return await self._residency.pin(name, pinned=True) if pin else status

    def _end(self, task: asyncio.Task[ModelStatus]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, PomonaError):
            log.warning("load_failed", code=error.code, problem=error.message)
        elif error is not None:
            log.error("load_failed", exc_info=error)

    def _cancel(self) -> None:
        for task in self._running:
            task.cancel()


def _add_loading(routes: APIRouter, services: AdminServices, loads: Loads) -> None:
    operation = answering_later(without_need(described(body=LoadBody, answer=LoadAnswer, errors=_CANNOT_LOAD)))

    @routes.post("/admin/models/{name:path}/load", summary="Load a model", openapi_extra=operation)
    @routes.post("/admin/models/{name:path}/preload", summary="Load a model", openapi_extra=operation)
    async def load_model(
        request: Request, name: str, wait: Annotated[bool, Query(description="false: answer 202 at once and load on.")] = True
    ) -> JSONResponse:
        body = await read_optional_body(request, LoadBody)
        keep_alive, status = keep_alive_seconds(body.keep_alive), services.find(name)
        task = loads.start(status.id, keep_alive_seconds=keep_alive, pin=body.pin)
        if wait or (status.state == "ready" and not body.pin):
            return JSONResponse(_load_document(services, await loads.finish(task)))
        return JSONResponse(_load_document(services, status, done=False), status_code=202)

    @routes.post(
        "/admin/load",
        summary="Load a model, as mlx-inference-server does",
        openapi_extra=described(answer=LoadedAnswer, errors=_CANNOT_LOAD),
    )
    async def load_by_path(model_path: Annotated[str, Query(min_length=1, description="Any name of the model.")]) -> dict[str, object]:
        task = loads.start(services.find(model_path).id, keep_alive_seconds=None, pin=False)
        status = await loads.finish(task)
        return {
            "status": "success",
            "model_name": status.id,
            "memory_gb": in_gb(memory_of(status)),
            "load_time": status.load_seconds,
        }

    del load_model, load_by_path


def _add_unloading(routes: APIRouter, services: AdminServices) -> None:
    residency = services.management.residency
    operation = without_need(described(body=UnloadBody, answer=UnloadAnswer, errors=(409,)))

    @routes.post("/admin/models/{name:path}/unload", summary="Unload a model", openapi_extra=operation)
    async def unload_model(
        request: Request, name: str, force: Annotated[bool, Query(description="As in the body.")] = False
    ) -> dict[str, object]:
        body = await read_optional_body(request, UnloadBody)
        report = await residency.unload(services.find(name).id, force=force or body.force)
        return {
            "status": "unloaded",
            "model": report.id,
            "freed_bytes": report.freed_bytes,
            "memory_freed_gb": in_gb(report.freed_bytes),
            "unload_time": report.seconds,
        }

    @routes.post(
        "/admin/unload",
        summary="Unload all models, or one; 400 where none is loaded",
        openapi_extra=described(answer=UnloadAllAnswer),
    )
    async def unload_all(
        model_path: Annotated[str | None, Query(min_length=1, description="Only this one.")] = None,
        force: Annotated[bool, Query(description="End their answers rather than wait for them.")] = False,
    ) -> dict[str, object]:
        if model_path is None:
            return _unload_document(
                [report for status in services.loaded() if (report := await _unload(residency, status.id, force=force))]
            )
        report = await _unload(residency, services.find(model_path).id, force=force)
        if report is None:
            raise InvalidRequest(f"{model_path!r} is not loaded. {_WHICH}", param="model_path")
        return _unload_document([report])

    del unload_model, unload_all


def _add_pinning(routes: APIRouter, services: AdminServices) -> None:
    residency = services.management.residency
    operation = without_need(described(body=PinBody, answer=ModelDocument, errors=(409,)))

    @routes.post("/admin/models/{name:path}/pin", summary="Keep a model in memory", openapi_extra=operation)
    async def pin_model(request: Request, name: str) -> dict[str, object]:
        body = await read_optional_body(request, PinBody)
        return model_document(services, await residency.pin(services.find(name).id, pinned=body.pinned))

    @routes.delete("/admin/models/{name:path}/pin", summary="Let go of a model", openapi_extra=described(answer=ModelDocument))
    async def unpin_model(name: str) -> dict[str, object]:
        return model_document(services, await residency.pin(services.find(name).id, pinned=False))

    del pin_model, unpin_model


async def _unload(residency: Residency, name: str, *, force: bool) -> UnloadReport | None:
    """What it gave back; None where it is not loaded, or not any more."""
    try:
        return await residency.unload(name, force=force)
    except Conflict:
        return None


def _load_document(services: AdminServices, status: ModelStatus, *, done: bool = True) -> dict[str, object]:
    return {
        "status": "loaded" if done else "loading",
        "model": status.id,
        "model_name": status.id,
        "memory_gb": in_gb(memory_of(status)),
        "load_time": status.load_seconds,
        "details": model_document(services, status),
    }


def _unload_document(reports: list[UnloadReport]) -> dict[str, object]:
    if not reports:
        raise InvalidRequest(f"No model is loaded. {_WHICH}")
    return {
        "status": "success",
        "model_name": reports[0].id,
        "model_unloaded": reports[0].id,
        "models": [report.id for report in reports],
        "memory_freed_gb": in_gb(sum(report.freed_bytes for report in reports)),
        "unload_time": round(sum(report.seconds for report in reports), 6),
    }
