"""POST /v1/completions."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from pomona.server.bodies import read_body
from pomona.server.describing import described
from pomona.server.openai.answer import answer
from pomona.server.openai.decode import decode_completion, new_id
from pomona.server.openai.encode import CompletionChunks
from pomona.server.openai.wire import CompletionRequest
from pomona.server.services import Services

ENDPOINT = "completions"


def completion_routes(services: Services) -> APIRouter:
    """The routes of this resource."""
    routes = APIRouter(tags=["completions"])

    async def create_completion(request: Request) -> Response:
        call_id = new_id("cmpl")
        with services.recorder.refusals(ENDPOINT, call_id):
            body = await read_body(request, CompletionRequest)
            card = services.directory.find(body.model)
            call = decode_completion(body, call_id, card)
        return await answer(services, request, ENDPOINT, call, CompletionChunks(call))

    routes.add_api_route(
        "/v1/completions",
        create_completion,
        methods=["POST"],
        response_model=None,
        summary="Continue a text",
        openapi_extra=described(body=CompletionRequest, streams=True),
    )
    return routes
