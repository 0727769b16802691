"""GET /v1/models and /v1/models/{id}: what can be asked for."""

from fastapi import APIRouter

from pomona.core.status import ModelCard
from pomona.server.services import Services


def model_routes(services: Services) -> APIRouter:
    """The routes of this resource."""
    routes = APIRouter(tags=["models"])

    @routes.get("/v1/models", summary="List the models that can be asked for")
    async def list_models() -> dict[str, object]:
        return {"object": "list", "data": [_document(card) for card in services.directory.models()]}

    @routes.get("/v1/models/{model:path}", summary="Show one model")
    async def show_model(model: str) -> dict[str, object]:
        return _document(services.directory.find(model))

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
