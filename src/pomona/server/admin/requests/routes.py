"""GET /admin/requests and /admin/requests/{id}/explain: the last requests, and where the time of one went."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from pomona.core.errors import CODES, ModelNotFound
from pomona.server.admin.requests.wire import Explanation, RequestPage
from pomona.server.admin.services import AdminServices
from pomona.server.describing import described
from pomona.server.recording import INTERNAL_ERROR
from pomona.server.tracing.explaining import explain, summarize
from pomona.server.tracing.store import Kept

MOST_SHOWN = 1000
_OUTCOMES = ("ok", "running", "cancelled", "error", *sorted(CODES - {"cancelled"}), INTERNAL_ERROR)


class Wish(BaseModel):
    """Which requests to list."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(default=None, min_length=1, description="Only those that this model answered, by any of its names.")
    outcome: str | None = Field(
        default=None,
        description="Only those that ended so: ok, cancelled, the code of an error, or error for any.",
        json_schema_extra={"enum": [*_OUTCOMES]},
    )
    running: bool | None = Field(default=None, description="Only those that run, or only those that do not.")
    slower_than: float | None = Field(default=None, ge=0, le=10**6, description="Only those that took more seconds than this.")
    order: Literal["newest", "slowest"] = Field(default="newest", description="What comes first.")
    limit: int = Field(default=50, ge=1, le=MOST_SHOWN)

    @field_validator("outcome")
    @classmethod
    def _check(cls, outcome: str | None) -> str | None:
        if outcome is not None and outcome not in _OUTCOMES:
            raise PydanticCustomError("wrong_outcome", "should be one of {words}", {"words": ", ".join(_OUTCOMES)})
        return outcome

    def fits(self, kept: Kept, names: frozenset[str]) -> bool:
        """Whether the request is wanted; `names` are those of the model."""
        outcome = kept.outcome
        wanted = self.outcome in (None, outcome) or (self.outcome == "error" and outcome not in {"ok", "running", "cancelled"})
        return (
            wanted
            and (self.model is None or kept.model in names)
            and self.running in (None, kept.trace.running)
            and (self.slower_than is None or seconds_of(kept) > self.slower_than)
        )


def request_routes(services: AdminServices) -> APIRouter:
    """The routes of this resource."""
    routes, traces = APIRouter(tags=["requests"]), services.traffic.traces

    @routes.get("/admin/requests", summary="List the last requests", openapi_extra=described(answer=RequestPage))
    async def list_requests(wish: Annotated[Wish, Query()]) -> dict[str, object]:
        names = _names(services, wish.model)
        every = traces.newest_first()
        found = [kept for kept in every if wish.fits(kept, names)]
        if wish.order == "slowest":
            found.sort(key=lambda kept: -seconds_of(kept))
        return {"kept": len(every), "found": len(found), "requests": [summarize(kept) for kept in found[: wish.limit]]}

    @routes.get(
        "/admin/requests/{id}/explain",
        summary="Say where a request's time went",
        openapi_extra=described(answer=Explanation),
    )
    async def explain_request(id: str) -> dict[str, object]:
        return explain(traces.find(id), traces.request_of)

    del list_requests, explain_request
    return routes


def seconds_of(kept: Kept) -> float:
    """How long the request took, or has taken so far."""
    return kept.trace.end - kept.trace.began


def _names(services: AdminServices, model: str | None) -> frozenset[str]:
    """All names of `model`; one that has gone may have answered before."""
    if model is None:
        return frozenset()
    try:
        status = services.find(model)
    except ModelNotFound:
        return frozenset({model})
    return frozenset({model, status.id, *status.aliases})
