"""POST /v1/completions."""

from dataclasses import replace

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from pomona.core.generation import GenerateRequest
from pomona.core.ports import Tokenization
from pomona.server.bodies import read_body
from pomona.server.describing import described
from pomona.server.openai.answer import Form, answer
from pomona.server.openai.call import Call, new_id
from pomona.server.openai.completions.choices import CompletionChoices
from pomona.server.openai.completions.chunks import CompletionChunks
from pomona.server.openai.completions.decode import decode_completion
from pomona.server.openai.wire import Completion, CompletionRequest
from pomona.server.services import Services, find_for

ENDPOINT = "completions"
FORM = Form(whole="text_completion", chunk="text_completion", chunks=CompletionChunks, choices=CompletionChoices)
EXAMPLE = {"model": "", "prompt": "Once upon a time", "max_tokens": 16}


def completion_routes(services: Services) -> APIRouter:
    """The routes of this resource."""
    routes = APIRouter(tags=["completions"])

    async def create_completion(request: Request) -> Response:
        call_id = new_id("cmpl")
        with services.recorder.refusals(ENDPOINT, call_id):
            body = await read_body(request, CompletionRequest)
            card = find_for(services.directory, body.model, "generate")
            call = decode_completion(body, call_id, card)
            if body.echo:
                call = replace(call, echoes=await echoes_of(call, services.tokenization))
        return await answer(services, request, ENDPOINT, call, FORM)

    routes.add_api_route(
        "/v1/completions",
        create_completion,
        methods=["POST"],
        response_model=None,
        summary="Continue a text",
        openapi_extra=described(body=CompletionRequest, answer=Completion, streams=True, errors=(422,), example=EXAMPLE),
    )
    return routes


async def echoes_of(call: Call, tokenization: Tokenization) -> tuple[str, ...]:
    """The prompt of each request as text. Raises InvalidRequest for ids that are no tokens."""
    first_copies = [await _text_of(request, tokenization) for request in call.requests[:: call.copies]]
    return tuple(text for text in first_copies for _ in range(call.copies))


async def _text_of(request: GenerateRequest, tokenization: Tokenization) -> str:
    return request.text if request.text is not None else await tokenization.decode(request.model, request.token_ids or ())
