"""The routes of the Responses API."""

from fastapi import APIRouter

from pomona.server.describing import described
from pomona.server.openai.responses.background import Jobs
from pomona.server.openai.responses.compact import Measuring
from pomona.server.openai.responses.create import Creation
from pomona.server.openai.responses.store import MemoryStore
from pomona.server.openai.responses.stored import Keeping
from pomona.server.openai.responses.wire import CompactRequest, InputTokensRequest, ResponseRequest
from pomona.server.services import Services

EXAMPLE = {"model": "", "input": "Say hello."}


def response_routes(services: Services) -> APIRouter:
    """The routes of this API, and the store behind them."""
    settings = services.settings.responses
    store = MemoryStore(max_bytes=settings.store_bytes, ttl_seconds=settings.store_seconds)
    jobs = Jobs(store, services.drain, settings.max_background)
    creation, keeping, measuring = Creation(services, store, jobs), Keeping(services, store, jobs), Measuring(services, store)
    routes = APIRouter(tags=["responses"])
    add = routes.add_api_route
    add(
        "/v1/responses",
        creation.create_response,
        methods=["POST"],
        response_model=None,
        summary="Answer with items",
        openapi_extra=described(body=ResponseRequest, streams=True, errors=(422,), example=EXAMPLE | {"max_output_tokens": 16}),
    )
    for path, work, summary, body in (
        ("input_tokens", measuring.count_input_tokens, "Count the tokens of a prompt", InputTokensRequest),
        ("compact", measuring.compact, "Put a conversation in short", CompactRequest),
    ):
        extra = described(body=body, example=EXAMPLE)
        add(f"/v1/responses/{path}", work, methods=["POST"], response_model=None, summary=summary, openapi_extra=extra)
    for path, method, work, summary, streams in (
        ("", "GET", keeping.show_response, "Show a stored response", True),
        ("", "DELETE", keeping.delete_response, "Forget a stored response", False),
        ("/cancel", "POST", keeping.cancel_response, "Stop a response that is made in the background", False),
        ("/input_items", "GET", keeping.list_input_items, "List what a response was made from", False),
    ):
        extra = described(streams=streams)
        place = f"/v1/responses/{{response_id}}{path}"
        add(place, work, methods=[method], response_model=None, summary=summary, openapi_extra=extra)
    return routes
