"""GET /admin/models and /admin/models/{name}: which models there are and how each one is."""

from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from pomona.core.hub import RegisteredModel
from pomona.core.status import MemoryPlan, ModelStatus, Task
from pomona.server.admin.models.wire import ModelDocument, ModelPage, Source
from pomona.server.admin.services import AdminServices, in_gb, memory_of
from pomona.server.describing import described

MOST_PER_PAGE = 1000
Wanted = Literal["loaded", "unloaded", "waiting", "loading", "ready", "unloading", "failed"]


class Filters(BaseModel):
    """Which models to list, and which page of them."""

    state: Wanted | None = Field(default=None, description="Only those in this state; loaded: ready to answer.")
    task: Task | None = Field(default=None, description="Only those that do this.")
    source: Source | None = Field(default=None, description="Only those from there.")
    registered_by: str | None = Field(default=None, description="Only those that this program registered.")
    q: str | None = Field(default=None, description="Only those with this text in a name, whatever the case.")
    page: int = Field(default=1, ge=1, le=10**6)
    page_size: int = Field(default=100, ge=1, le=MOST_PER_PAGE)

    def fits(self, status: ModelStatus) -> bool:
        """Whether the model is wanted."""
        state = "ready" if self.state == "loaded" else self.state
        pairs = ((state, status.state), (self.task, status.task), (self.source, status.source), (self.registered_by, status.registered_by))
        text = (self.q or "").casefold()
        return all(wanted in (None, found) for wanted, found in pairs) and any(
            text in name.casefold() for name in (status.id, *status.aliases)
        )


def listing_routes(services: AdminServices) -> APIRouter:
    """The routes of this resource."""
    routes = APIRouter(tags=["models"])

    @routes.get("/admin/models", summary="List and filter models", openapi_extra=described(answer=ModelPage))
    async def list_models(wish: Annotated[Filters, Query()]) -> dict[str, object]:
        found = [status for status in services.statuses() if wish.fits(status)]
        shown = found[(wish.page - 1) * wish.page_size : wish.page * wish.page_size]
        return {
            "total_models": len(found),
            "loaded_models": sum(status.state == "ready" for status in found),
            "page": wish.page,
            "page_size": wish.page_size,
            "models": {status.id: model_document(services, status) for status in shown},
        }

    @routes.get("/admin/models/{name:path}", summary="Show one model", openapi_extra=described(answer=ModelDocument))
    @routes.get(
        "/admin/models/{name:path}/status", summary="Show one model", openapi_extra=described(answer=ModelDocument)
    )  # nearest: tried first
    async def show_model(name: str) -> dict[str, object]:
        return model_document(services, services.find(name))

    del list_models, show_model
    return routes


def model_document(services: AdminServices, status: ModelStatus) -> dict[str, object]:
    """A model as a `ModelDocument`."""
    contexts = {card.id: card.max_context for card in services.backend.directory.models()}
    entry = _entries(services).get(status.id)
    is_adapter = status.source == "adapter"
    return {
        "id": status.id,
        "registered": True,
        "loaded": status.state == "ready",
        "state": status.state,
        "task": status.task,
        "vision": status.vision,
        "source": status.source,
        "type": "lora" if is_adapter else "vision" if status.vision else "base",
        "path": status.path,
        "aliases": list(status.aliases),
        "parent": status.parent,
        "base_model": status.parent or status.id,
        "adapter_path": status.path if is_adapter else None,
        "registered_by": status.registered_by,
        "model_id": entry.model_id if entry else None,
        "max_context": contexts.get(status.id),
        **_residency(status),
    }


def _residency(status: ModelStatus) -> dict[str, object]:
    return {
        "pinned": status.pinned,
        "keep_alive_seconds": status.keep_alive_seconds,
        "expires_at": status.expires_at,
        "active_requests": status.active_requests,
        "waiting_requests": status.waiting_requests,
        "last_used_at": status.last_used_at,
        "loaded_at": status.loaded_at,
        "load_seconds": status.load_seconds,
        "memory_gb": in_gb(memory_of(status)),
        "measured_bytes": status.measured_bytes,
        "plan": status.plan and _plan(status.plan),
        "problem": status.problem,
        "breaker": status.breaker,
    }


def _plan(plan: MemoryPlan) -> dict[str, int]:
    return {"weights": plan.weights, "kv": plan.kv, "activations": plan.activations, "process": plan.process, "total": plan.total}


def _entries(services: AdminServices) -> Mapping[str, RegisteredModel]:
    hub = services.management.hub
    return {entry.name: entry for entry in hub.registry.entries()} if hub else {}
