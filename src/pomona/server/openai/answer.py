"""What the answering resources share: run a call, streamed or whole, for as long as the client listens."""

from starlette.requests import Request
from starlette.responses import Response

from pomona.server.answering import begin
from pomona.server.drain import attend
from pomona.server.openai.decode import Call
from pomona.server.openai.encode import Chunks, stream_answer, whole_answer
from pomona.server.services import Services
from pomona.server.sse import EventStream


async def answer(services: Services, request: Request, endpoint: str, call: Call, chunks: Chunks) -> Response:
    """The response to `call`. Errors before the first event are raised; later ones are told inside the stream."""
    answering = begin(services, request, endpoint, call.requests)
    if call.stream:
        seconds = services.settings.server.keepalive_seconds
        return EventStream(
            stream_answer(call, chunks, answering.events), keepalive_seconds=seconds, drain=services.drain, headers=answering.headers
        )
    body = await attend(whole_answer(call, answering.events), request.receive, services.drain)
    return Response(body, headers=answering.headers, media_type="application/json")
