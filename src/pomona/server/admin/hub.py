"""/admin/pull, /admin/pulls and /admin/hub: getting models from the hub, and looking what it has."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import asdict
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pomona.core.errors import NotFound
from pomona.core.hub import NAME_PATTERN, REFERENCE_PATTERN, FitReport, HubModel, PullRequest, PullState, PullStatus, Quantization
from pomona.server.bodies import WireBody, read_body
from pomona.server.describing import answering_with, described
from pomona.server.drain import Drain
from pomona.server.services import HubPorts
from pomona.server.sse import EventStream

LOOK_SECONDS = 0.25
"""How often the events of a pull are looked for."""
_ENDED = frozenset({"finished", "failed", "cancelled"})
_EXAMPLE = {"model": "acme/tiny", "quantize": "4bit"}


class PullBody(WireBody):
    """What to get."""

    model: str = Field(
        description="ORGANISATION/NAME, with @REVISION or without, or ORGANISATION/NAME/FILE.gguf.",
        json_schema_extra={"pattern": REFERENCE_PATTERN},
    )
    quantize: Quantization | None = Field(default=None, description="Make a smaller copy of the weights.")
    force: bool = Field(default=False, description="Also where it does not fit into memory or cannot be loaded.")
    name: str | None = Field(default=None, description="An alias to give it.", json_schema_extra={"pattern": NAME_PATTERN})


class PullDocument(BaseModel):
    """A download, now. Bytes are of all its files."""

    id: str
    reference: str
    state: PullState
    done_bytes: int
    total_bytes: int | None
    bytes_per_second: float
    file: str | None
    model: str | None = Field(description="What to ask for, once it is finished.")
    problem: str | None


class PullList(BaseModel):
    """All downloads since the start, the newest first."""

    pulls: list[PullDocument]


class Fitting(BaseModel):
    """Whether a model fits, by form of its weights. Sizes in bytes."""

    memory: dict[str, Literal["fits", "tight", "no"]]
    required_bytes: dict[str, int]
    memory_bytes: int
    download_bytes: int
    disk_free_bytes: int
    best: str | None


class HubModelReport(BaseModel):
    """A repository of the hub, and whether it fits here. Where the hub does not say how large it is, `memory` is empty."""

    id: str
    downloads: int
    likes: int
    updated_at: str | None
    tags: list[str]
    gated: bool
    private: bool
    model_type: str | None
    parameters: int | None
    weight_bytes: int | None
    quantization: str | None
    mlx: bool
    gguf_files: list[str]
    loadable: bool | None
    fit: Fitting


class SearchAnswer(BaseModel):
    """What the hub found."""

    models: list[HubModelReport]


def hub_routes(ports: HubPorts, drain: Drain, keepalive_seconds: float) -> APIRouter:
    """The routes of this resource."""
    routes = APIRouter(tags=["hub"])
    _add_pulls(routes, ports, drain, keepalive_seconds)
    _add_search(routes, ports)
    return routes


def _add_pulls(routes: APIRouter, ports: HubPorts, drain: Drain, keepalive_seconds: float) -> None:
    pulls = ports.pulls

    @routes.post(
        "/admin/pull",
        summary="Get a model in the background",
        status_code=202,
        openapi_extra=answering_with(202, described(body=PullBody, answer=PullDocument, errors=(409,), example=_EXAMPLE)),
    )
    async def pull(request: Request) -> Response:
        body = await read_body(request, PullBody)
        status = pulls.start(PullRequest(reference=body.model, quantize=body.quantize, force=body.force, name=body.name))
        return JSONResponse(asdict(status), status_code=202, headers={"location": f"/admin/pulls/{status.id}"})

    @routes.get("/admin/pulls", summary="Downloads since the start", openapi_extra=described(answer=PullList))
    async def list_pulls() -> dict[str, object]:
        return {"pulls": [asdict(status) for status in pulls.pulls()]}

    @routes.get("/admin/pulls/{id}", summary="One download", openapi_extra=described(answer=PullDocument))
    async def show_pull(id: str) -> dict[str, object]:
        return asdict(_find(ports, id))

    @routes.get("/admin/pulls/{id}/events", summary="Watch a download", openapi_extra=described(answer=PullDocument, streams=True))
    async def watch_pull(id: str) -> Response:
        _find(ports, id)
        return EventStream(_events(ports, id), keepalive_seconds=keepalive_seconds, drain=drain)

    @routes.delete("/admin/pulls/{id}", summary="Stop a download; what it has is kept", openapi_extra=described(answer=PullDocument))
    async def cancel_pull(id: str) -> dict[str, object]:
        return asdict(await pulls.cancel(id))

    del pull, list_pulls, show_pull, watch_pull, cancel_pull


def _add_search(routes: APIRouter, ports: HubPorts) -> None:
    @routes.get("/admin/hub/search", summary="Look for models on the hub", openapi_extra=described(answer=SearchAnswer, errors=(502,)))
    async def search(
        q: Annotated[str, Query(description="Words of the name.")] = "",
        limit: Annotated[int, Query(ge=1, le=200)] = 20,
        sort: Literal["downloads", "likes", "created", "updated"] = "downloads",
        mlx_only: Annotated[bool, Query(description="Only models made for MLX.")] = True,
    ) -> dict[str, object]:
        found = await ports.hub.search(q, limit=limit, sort=sort, mlx_only=mlx_only)
        return {"models": [_report(model, fit) for model, fit in found]}

    @routes.get(
        "/admin/hub/models/{id:path}",
        summary="One model of the hub, and whether it fits here",
        openapi_extra=described(answer=HubModelReport, errors=(502,)),
    )
    async def show(id: Annotated[str, Path(json_schema_extra={"pattern": REFERENCE_PATTERN})]) -> dict[str, object]:
        return _report(*await ports.hub.describe(id))

    del search, show


def _find(ports: HubPorts, id: str) -> PullStatus:
    found = next((status for status in ports.pulls.pulls() if status.id == id), None)
    if found is None:
        raise NotFound(f"There is no pull {id!r}. GET /admin/pulls lists those of the last time.")
    return found


async def _events(ports: HubPorts, id: str) -> AsyncGenerator[bytes]:
    """The state whenever it has changed, until the pull has ended."""
    last: PullStatus | None = None
    while last is None or last.state not in _ENDED:
        now = _find(ports, id)
        if now != last:
            yield b"event: " + now.state.encode() + b"\ndata: " + msgspec.json.encode(now) + b"\n\n"
            last = now
        else:
            await asyncio.sleep(LOOK_SECONDS)


def _report(model: HubModel, fit: FitReport) -> dict[str, object]:
    return {**asdict(model), "fit": asdict(fit)}
