"""/admin/models/register, DELETE /admin/models, /admin/models/scan and /admin/aliases: names for what is on this machine."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pomona.core.errors import InvalidRequest, ModelNotFound, ModelUnusable, NotFound
from pomona.core.hub import LONGEST_NAME, NAME_PATTERN, RegisteredModel
from pomona.core.status import Task
from pomona.server.bodies import WireBody, needs, read_body, rules
from pomona.server.describing import answering_with, described
from pomona.server.services import HubPorts

_EXAMPLE = {"name": "legal", "base_model": "pomona-tiny", "adapter_path": "/data/adapters/legal", "registered_by": "mlx-model-hub"}
_NAME: dict[str, Any] = {"pattern": NAME_PATTERN, "maxLength": LONGEST_NAME}
Alias = Annotated[str, Path(json_schema_extra=_NAME)]
_NONE: dict[str, Any] = {"type": "null"}
_ONLY_PATH = {**needs("path"), "properties": {**needs("path")["properties"], "adapter_path": _NONE, "base_model": _NONE}}
_ADAPTER = rules(needs("adapter_path"), needs("base_model"), {"properties": {"path": _NONE}})


class RegisterBody(WireBody):
    """A model (`path`), or an adapter (`adapter_path` and `base_model`), in a folder of the server's machine."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [_ONLY_PATH, _ADAPTER]})

    name: str = Field(json_schema_extra=_NAME)
    path: str | None = Field(default=None, min_length=1, description="Folder of a model.")
    adapter_path: str | None = Field(default=None, min_length=1, description="Folder of an adapter; needs base_model.")
    base_model: str | None = Field(default=None, min_length=1, description="The model that the adapter stands on.")
    type: str | None = Field(default=None, description="Taken for old clients; the files say what it is.")
    task: Task | None = None
    registered_by: str = ""
    model_id: str | None = Field(default=None, description="Its id in the system that registers it.")
    config: dict[str, Any] | None = Field(default=None, description="Kept with the metadata.")
    metadata: dict[str, Any] | None = None


class AliasBody(WireBody):
    """What an alias stands for."""

    model: str = Field(min_length=1, description="A name, with @REVISION and +ADAPTER or without.")


class RegisteredDocument(BaseModel):
    """An entry of the registry."""

    name: str
    path: str
    base: str | None
    task: Task | None
    registered_by: str
    model_id: str | None
    metadata: dict[str, Any]


class Scanned(BaseModel):
    """What looking through a folder brought."""

    registered: list[RegisteredDocument]
    skipped: dict[str, str] = Field(description="Folder: why it could not be registered.")


class Removed(BaseModel):
    """What became of a model."""

    name: str
    removed: Literal["entry", "files"]
    freed_bytes: int


class AliasDocument(BaseModel):
    """One alias."""

    alias: str
    model: str


class AliasList(BaseModel):
    """Alias to reference."""

    aliases: dict[str, str]


def registry_routes(ports: HubPorts) -> APIRouter:
    """The routes of this resource. They come after all others below /admin/models: one path takes every name."""
    routes = APIRouter(tags=["registry"])
    _add_models(routes, ports)
    _add_aliases(routes, ports)
    return routes


def _add_models(routes: APIRouter, ports: HubPorts) -> None:
    @routes.post(
        "/admin/models/register",
        summary="Register a model or an adapter of this machine",
        status_code=201,
        openapi_extra=answering_with(201, described(body=RegisterBody, answer=RegisteredDocument, errors=(409,), example=_EXAMPLE)),
    )
    async def register(request: Request) -> Response:
        entry = _entry(await read_body(request, RegisterBody))
        try:
            await asyncio.to_thread(ports.registry.register, entry)
        except ModelUnusable as error:
            raise InvalidRequest(error.message, param="adapter_path" if entry.base else "path") from None
        return JSONResponse(_document(_registered(ports, entry.name)), status_code=201)

    @routes.post("/admin/models/scan", summary="Find models and adapters in a folder", openapi_extra=described(answer=Scanned))
    async def scan(
        directory: Annotated[str, Query(min_length=1, description="A folder inside those of the settings.")],
    ) -> dict[str, object]:
        report = await asyncio.to_thread(ports.scanner.scan, directory)
        return {"registered": [_document(entry) for entry in report.registered], "skipped": dict(report.skipped)}

    @routes.delete(
        "/admin/models/{name:path}",
        summary="Forget a registered model, or delete the files of one that was pulled",
        openapi_extra=described(answer=Removed, errors=(409,)),
    )
    async def remove(name: str) -> dict[str, object]:
        try:
            await asyncio.to_thread(ports.registry.forget, name)
        except ModelNotFound:
            freed = await ports.hub.delete(name)
            return {"name": name, "removed": "files", "freed_bytes": freed}
        return {"name": name, "removed": "entry", "freed_bytes": 0}

    del register, scan, remove


def _add_aliases(routes: APIRouter, ports: HubPorts) -> None:
    @routes.get("/admin/aliases", summary="All aliases", openapi_extra=described(answer=AliasList))
    async def list_aliases() -> dict[str, object]:
        return {"aliases": ports.aliases.aliases()}

    @routes.get("/admin/aliases/{alias:path}", summary="What an alias stands for", openapi_extra=described(answer=AliasDocument))
    async def show_alias(alias: str) -> dict[str, object]:
        found = ports.aliases.aliases().get(alias)
        if found is None:
            raise NotFound(f"There is no alias {alias!r}. GET /admin/aliases lists them.")
        return {"alias": alias, "model": found}

    @routes.put(
        "/admin/aliases/{alias:path}",
        summary="Let an alias stand for a model",
        openapi_extra=described(body=AliasBody, answer=AliasDocument, errors=(409,), example={"model": "pomona-tiny"}),
    )
    async def set_alias(alias: Alias, request: Request) -> dict[str, object]:
        body = await read_body(request, AliasBody)
        await asyncio.to_thread(ports.aliases.set_alias, alias, body.model)
        return {"alias": alias, "model": body.model}

    @routes.delete(
        "/admin/aliases/{alias:path}", summary="Take an alias back", openapi_extra=described(answer=AliasDocument, errors=(409,))
    )
    async def remove_alias(alias: str) -> dict[str, object]:
        model = ports.aliases.aliases().get(alias, "")
        await asyncio.to_thread(ports.aliases.remove_alias, alias)
        return {"alias": alias, "model": model}

    del list_aliases, show_alias, set_alias, remove_alias


def _entry(body: RegisterBody) -> RegisteredModel:
    if (body.path is None) == (body.adapter_path is None):
        raise InvalidRequest("Give either path, the folder of a model, or adapter_path, the folder of an adapter.", param="path")
    if (body.adapter_path is None) != (body.base_model is None):
        raise InvalidRequest("adapter_path and base_model belong together: an adapter stands on a model.", param="base_model")
    config = {"config": body.config} if body.config else {}
    return RegisteredModel(
        name=body.name,
        path=body.path or body.adapter_path or "",
        base=body.base_model,
        task=body.task,
        registered_by=body.registered_by,
        model_id=body.model_id,
        metadata={**config, **(body.metadata or {})},
    )


def _registered(ports: HubPorts, name: str) -> RegisteredModel:
    return next(entry for entry in ports.registry.entries() if entry.name == name)


def _document(entry: RegisteredModel) -> Mapping[str, Any]:
    return {**asdict(entry), "metadata": dict(entry.metadata)}
