"""GET /v1/models and /v1/models/{id}: what can be asked for, in the shape that the client's headers ask for."""

from fastapi import APIRouter
from starlette.requests import Request

from pomona.core.status import ModelCard
from pomona.server.anthropic.models import anthropic_model, anthropic_models_page
from pomona.server.errors import shape_of
from pomona.server.services import Services


def model_routes(services: Services) -> APIRouter:
    """The routes of this resource."""
    routes = APIRouter(tags=["models"])

    @routes.get("/v1/models", summary="List the models that can be asked for")
    async def list_models(request: Request) -> dict[str, object]:
        if shape_of(request.scope) == "anthropic":
            return anthropic_models_page(services.directory.models(), request.query_params)
        return {"object": "list", "data": [_document(card) for card in services.directory.models()]}

    @routes.get("/v1/models/{model:path}", summary="Show one model")
    async def show_model(request: Request, model: str) -> dict[str, object]:
        card = services.directory.find(model)
        return anthropic_model(card) if shape_of(request.scope) == "anthropic" else _document(card)

    del list_models, show_model
    return routes


def _document(card: ModelCard) -> dict[str, object]:
    """OpenAI's fields, and two of ours."""
    return {
        "id": card.id,
        "object": "model",
        "created": card.created,
        "owned_by": card.owned_by,
        "max_context": card.max_context,
        "loaded": card.loaded,
    }
