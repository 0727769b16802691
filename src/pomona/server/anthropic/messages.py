"""POST /v1/messages and /v1/messages/count_tokens, and the address that Claude Code probes before."""

import uuid
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

import pomona
from pomona.server.answering import begin, count_request
from pomona.server.anthropic.attribution import REMOVED_HEADER
from pomona.server.anthropic.decode import Call, decode_count, decode_messages
from pomona.server.anthropic.diagnostics import Lineage, session_of
from pomona.server.anthropic.edits import apply_edits, count
from pomona.server.anthropic.encode import ANTHROPIC_STYLE, stream_message, whole_message
from pomona.server.anthropic.wire import CountTokensRequest, MessagesRequest
from pomona.server.bodies import read_body
from pomona.server.describing import described
from pomona.server.drain import attend
from pomona.server.services import Services, find_for
from pomona.server.sse import EventStream

ENDPOINT = "messages"
EXAMPLE = {"model": "", "messages": [{"role": "user", "content": "Say hello."}]}


def message_routes(services: Services) -> APIRouter:
    """The routes of this resource."""
    routes = APIRouter(tags=["messages"])
    resource = _Messages(services)
    for path, work, body, summary in (
        ("/v1/messages", resource.create, MessagesRequest, "Answer a conversation (Anthropic)"),
        ("/v1/messages/count_tokens", resource.count_tokens, CountTokensRequest, "Count the tokens of a conversation (Anthropic)"),
    ):
        streams = body is MessagesRequest
        example = EXAMPLE | ({"max_tokens": 16} if streams else {})
        described_as = described(body=body, streams=streams, errors=(422,) if streams else (), shapes=("anthropic",), example=example)
        routes.add_api_route(path, work, methods=["POST"], response_model=None, summary=summary, openapi_extra=described_as)
    routes.add_api_route("/", _probe, methods=["GET", "HEAD"], response_model=None, include_in_schema=False)
    return routes


class _Messages:
    """The resource: remembers which conversation an answer belongs to."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._strip = services.settings.anthropic.strip_attribution
        self._lineage = Lineage()

    async def create(self, request: Request) -> Response:
        """Answer whole, or as a stream."""
        services = self._services
        call_id = f"msg_{uuid.uuid4().hex}"
        with services.recorder.refusals(ENDPOINT, call_id):
            body = await read_body(request, MessagesRequest)
            card = find_for(services.directory, body.model, "generate")
            call = self._in_session(decode_messages(body, call_id, card, strip_attribution=self._strip), body, request)
            call, _ = await apply_edits(call, services.tokenization)
        return await self._answer(call, request)

    async def count_tokens(self, request: Request) -> dict[str, Any]:
        """What the prompt comes to, and what it came to before edits."""
        count_request(self._services, request)
        body = await read_body(request, CountTokensRequest)
        card = find_for(self._services.directory, body.model, "generate")
        call = decode_count(body, "count", card, strip_attribution=self._strip)
        call, before = await apply_edits(call, self._services.tokenization)
        tokens = await count(call.request, self._services.tokenization)
        if call.edits is None:
            return {"input_tokens": tokens}
        return {"input_tokens": tokens, "context_management": {"original_input_tokens": tokens if before is None else before}}

    def _in_session(self, call: Call, body: MessagesRequest, request: Request) -> Call:
        session = session_of(body, request)
        if body.diagnostics is None:
            return replace(call, request=replace(call.request, session=session))
        previous = body.diagnostics.previous_message_id
        known = None if previous is None else self._lineage.knows(previous)
        session = self._lineage.join(call.id, previous, session)
        return replace(call, previous_known=known, request=replace(call.request, session=session))

    async def _answer(self, call: Call, request: Request) -> Response:
        services = self._services
        answering = begin(services, request, ENDPOINT, (call.request,))
        headers = {**answering.headers, **({REMOVED_HEADER: ", ".join(call.removed)} if call.removed else {})}
        if call.stream:
            return EventStream(
                stream_message(call, answering.events),
                keepalive_seconds=services.settings.server.keepalive_seconds,
                drain=services.drain,
                style=ANTHROPIC_STYLE,
                headers=headers,
            )
        body = await attend(whole_message(call, answering.events), request.receive, services.drain)
        return Response(body, headers=headers, media_type="application/json")


async def _probe() -> dict[str, str]:
    """Says that somebody is here: Claude Code asks before it sends anything."""
    return {"name": "pomona", "version": pomona.__version__}
