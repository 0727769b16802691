"""POST /v1/responses."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from pomona.core.errors import ContextOverflow
from pomona.server.access.visits import caller_of
from pomona.server.answering import begin
from pomona.server.bodies import read_body
from pomona.server.drain import attend
from pomona.server.openai.responses.background import Jobs
from pomona.server.openai.responses.ids import fresh_id
from pomona.server.openai.responses.producing import Production
from pomona.server.openai.responses.reading.call import Call, decode
from pomona.server.openai.responses.reading.context import context_of
from pomona.server.openai.responses.reading.fitting import fit
from pomona.server.openai.responses.store import ResponseStore
from pomona.server.openai.responses.wire import ResponseRequest
from pomona.server.services import Services, find_for
from pomona.server.sse import EventStream, StreamStyle

ENDPOINT = "responses"
KEEPALIVE = b": keepalive\n\n"


class Creation:
    """The resource that makes responses."""

    def __init__(self, services: Services, store: ResponseStore, jobs: Jobs) -> None:
        self._services = services
        self._store = store
        self._jobs = jobs

    async def create_response(self, request: Request) -> Response:
        """Answer, as a whole, as a stream, or in the background."""
        services, response_id = self._services, fresh_id("resp")
        with services.recorder.refusals(ENDPOINT, response_id):
            call = await self._read(request, response_id)
            if call.background:
                self._jobs.make_room()
        answering = begin(services, request, ENDPOINT, [call.request])
        production = Production(call, answering.events)
        if call.background:
            return self._detach(production)
        if call.stream:
            return EventStream(
                self._stream(production),
                keepalive_seconds=services.settings.server.keepalive_seconds,
                drain=services.drain,
                style=StreamStyle(keepalive=KEEPALIVE, error=lambda error: self._failed(production, error)),
                headers=answering.headers,
            )
        body = await attend(self._whole(production), request.receive, services.drain)
        return Response(body, headers=answering.headers, media_type="application/json")

    async def _read(self, request: Request, response_id: str) -> Call:
        body = await read_body(request, ResponseRequest)
        card = find_for(self._services.directory, body.model, "generate")
        caller = caller_of(request.scope).id
        call = decode(body, context_of(body, self._store, caller), card, response_id, caller)
        if body.truncation == "auto" or call.compacts:
            call = replace(call, request=await fit(call.request, self._services.tokenization, card))
        return call

    async def _stream(self, production: Production) -> AsyncGenerator[bytes]:
        """The stream. That a prompt is too long is told inside of it, as OpenAI does: only there Codex knows to put it in short."""
        try:
            async with aclosing(production.run()) as chunks:
                async for events in chunks:
                    if events:
                        self._keep_at_end(production)
                        yield b"".join(events)
        except ContextOverflow as error:
            yield self._failed(production, error)

    async def _whole(self, production: Production) -> bytes:
        async with aclosing(production.run()) as chunks:
            async for _ in chunks:
                pass
        self._keep_at_end(production)
        return production.composer.document.encode()

    def _failed(self, production: Production, error: Exception) -> bytes:
        events = production.fail(error)
        self._keep_at_end(production)
        return b"".join(events)

    def _keep_at_end(self, production: Production) -> None:
        """Before the client hears of the end, so that it can go on from there at once."""
        if production.call.store and production.composer.ended:
            self._store.keep(production.stored())

    def _detach(self, production: Production) -> Response:
        job = self._jobs.start(production)
        if not production.call.stream:
            return Response(production.composer.document.encode(), media_type="application/json")
        return follow(self._services, job.follow(-1))


def follow(services: Services, chunks: AsyncGenerator[bytes]) -> EventStream:
    """A stream of events that are made elsewhere: the client may leave and come again."""
    return EventStream(chunks, keepalive_seconds=services.settings.server.keepalive_seconds, drain=services.drain)
