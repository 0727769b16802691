"""POST /v1/chat/completions, and the answers that are kept."""

from dataclasses import replace

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from pomona.server.bodies import read_body
from pomona.server.describing import described
from pomona.server.openai.answer import Document, Form, answer
from pomona.server.openai.call import new_id
from pomona.server.openai.chat.choices import ChatChoices
from pomona.server.openai.chat.chunks import ChatChunks
from pomona.server.openai.chat.decode import decode_chat
from pomona.server.openai.chat.store import ChatStore
from pomona.server.openai.chat.stored import PATH, kept_of, stored_routes
from pomona.server.openai.wire import ChatCompletion, ChatCompletionRequest
from pomona.server.services import Services, find_for

ENDPOINT = "chat.completions"
FORM = Form(whole="chat.completion", chunk="chat.completion.chunk", chunks=ChatChunks, choices=ChatChoices)
EXAMPLE = {"model": "", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 16}


def chat_routes(services: Services) -> APIRouter:
    """The routes of this resource."""
    routes = APIRouter(tags=["chat"])
    limits = services.settings.responses
    store = ChatStore(max_bytes=limits.store_bytes, ttl_seconds=limits.store_seconds)

    async def create_chat_completion(request: Request) -> Response:
        call_id = new_id("chatcmpl")
        with services.recorder.refusals(ENDPOINT, call_id):
            body = await read_body(request, ChatCompletionRequest)
            card = find_for(services.directory, body.model, "generate")
            call = decode_chat(body, call_id, card)

        def keep(document: Document) -> None:
            store.keep(kept_of(request, body, document))

        return await answer(services, request, ENDPOINT, call, replace(FORM, keep=keep) if body.store else FORM)

    routes.add_api_route(
        PATH,
        create_chat_completion,
        methods=["POST"],
        response_model=None,
        summary="Answer a conversation",
        openapi_extra=described(body=ChatCompletionRequest, answer=ChatCompletion, streams=True, errors=(422,), example=EXAMPLE),
    )
    routes.include_router(stored_routes(store))
    return routes
