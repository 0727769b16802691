"""POST /v1/chat/completions."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from pomona.server.bodies import read_body
from pomona.server.describing import described
from pomona.server.openai.answer import Form, answer
from pomona.server.openai.call import new_id
from pomona.server.openai.chat.choices import ChatChoices
from pomona.server.openai.chat.chunks import ChatChunks
from pomona.server.openai.chat.decode import decode_chat
from pomona.server.openai.wire import ChatCompletion, ChatCompletionRequest
from pomona.server.services import Services

ENDPOINT = "chat.completions"
FORM = Form(whole="chat.completion", chunk="chat.completion.chunk", chunks=ChatChunks, choices=ChatChoices)


def chat_routes(services: Services) -> APIRouter:
    """The routes of this resource."""
    routes = APIRouter(tags=["chat"])

    async def create_chat_completion(request: Request) -> Response:
        call_id = new_id("chatcmpl")
        with services.recorder.refusals(ENDPOINT, call_id):
            body = await read_body(request, ChatCompletionRequest)
            card = services.directory.find(body.model)
            call = decode_chat(body, call_id, card)
        return await answer(services, request, ENDPOINT, call, FORM)

    routes.add_api_route(
        "/v1/chat/completions",
        create_chat_completion,
        methods=["POST"],
        response_model=None,
        summary="Answer a conversation",
        openapi_extra=described(body=ChatCompletionRequest, answer=ChatCompletion, streams=True),
    )
    return routes
