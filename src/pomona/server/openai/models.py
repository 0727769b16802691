"""GET /v1/models and /v1/models/{id}: what can be asked for, in the shape that the client's headers ask for."""

from typing import Any, Literal

from fastapi import APIRouter
from starlette.requests import Request

from pomona.core.errors import Forbidden
from pomona.core.status import ModelCard
from pomona.server.anthropic.models import anthropic_model, anthropic_models_page
from pomona.server.bodies import WireBody
from pomona.server.describing import described
from pomona.server.errors import shape_of
from pomona.server.openai.codex_models import codex_model
from pomona.server.services import Services


class Model(WireBody):
    """OpenAI's fields, and five of ours: the longest context in tokens if it is known, whether the model is loaded, whether it takes
    pictures, what it does, and the model that an adapter or alias stands on.
    """

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_context: int | None
    loaded: bool
    vision: bool
    task: Literal["generate", "embed", "rerank"]
    parent: str | None


class ModelList(WireBody):
    """All models, the default one first. `models` are those that write text, as Codex reads them."""

    object: Literal["list"]
    data: list[Model]
    models: list[dict[str, Any]]


def model_routes(services: Services) -> APIRouter:
    """The routes of this resource."""
    routes = APIRouter(tags=["models"])

    @routes.get("/v1/models", summary="List the models that can be asked for", openapi_extra=described(answer=ModelList))
    async def list_models(request: Request) -> dict[str, object]:
        cards = services.directory.models()
        if shape_of(request.scope) == "anthropic":
            return anthropic_models_page(cards, request.query_params)
        entries = [codex_model(card, priority) for priority, card in enumerate(cards) if card.task == "generate"]
        return {"object": "list", "data": [_document(card) for card in cards], "models": entries}

    @routes.get("/v1/models/{model:path}", summary="Show one model", openapi_extra=described(answer=Model))
    async def show_model(request: Request, model: str) -> dict[str, object]:
        card = services.directory.find(model)
        return anthropic_model(card) if shape_of(request.scope) == "anthropic" else _document(card)

    @routes.delete("/v1/models/{model:path}", summary="Refused: models are not deleted over HTTP", openapi_extra=described())
    async def delete_model(model: str) -> dict[str, object]:
        card = services.directory.find(model)
        raise Forbidden(f"{card.id!r} is not deleted over the API: its files are yours. Remove them, and restart the server without it.")

    del list_models, show_model, delete_model
    return routes


def _document(card: ModelCard) -> dict[str, object]:
    return {
        "id": card.id,
        "object": "model",
        "created": card.created,
        "owned_by": card.owned_by,
        "max_context": card.max_context,
        "loaded": card.loaded,
        "vision": card.vision,
        "task": card.task,
        "parent": card.parent,
    }
