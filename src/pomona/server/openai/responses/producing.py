"""A response while it is produced: the generator's events through the composer, and what is kept of it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from pomona.core.errors import InvalidRequest, PomonaError
from pomona.core.generation import GenerateEvent
from pomona.core.telemetry import get_logger
from pomona.server.answering import Events
from pomona.server.openai.responses.reading.call import Call
from pomona.server.openai.responses.reading.context import to_json
from pomona.server.openai.responses.store import StoredResponse
from pomona.server.openai.responses.writing.composer import Composer
from pomona.server.openai.responses.writing.document import encode_items

_PATIENCE_SECONDS = 1.0  # a wait for a place may be long, and Codex wants to hear of a response at once
log = get_logger(__name__)


class Production:
    """One response from its first event to its last."""

    def __init__(self, call: Call, events: Events) -> None:
        self.call = call
        self.composer = Composer(call)
        self._events = events

    async def run(self) -> AsyncGenerator[list[bytes]]:
        """The server-sent events as they are due. Errors of the generator are raised, in the words of this API."""
        try:
            async with aclosing(self._events):
                first = asyncio.ensure_future(_take(self._events))
                try:
                    await asyncio.wait((first,), timeout=_PATIENCE_SECONDS)
                    if not first.done() and not self.call.background:
                        yield self.composer.begin()
                    event = await first
                finally:
                    first.cancel()
                    await asyncio.gather(first, return_exceptions=True)
                if event is not None:
                    yield self.composer.push(event)
                async for _, event in self._events:
                    yield self.composer.push(event)
        except InvalidRequest as error:
            error.param = "input" if error.param == "messages" else error.param
            raise

    def fail(self, error: Exception) -> list[bytes]:
        """The last events after `error`. Unexpected errors are logged, for the client is told nothing of them."""
        if not isinstance(error, PomonaError):
            log.error("request_failed", exc_info=error)
        return self.composer.fail(error)

    def stored(self, events: tuple[bytes, ...] | None = None) -> StoredResponse:
        """The response as it is kept."""
        document = self.composer.document
        ids = [item.get("id") for item in (*self.call.input, *document.output)]
        return StoredResponse(
            id=self.call.id,
            caller=self.call.request.caller,
            session=self.call.request.session,
            document=document.encode(),
            input=to_json(self.call.input),
            output=encode_items(document.output),
            item_ids=tuple(each for each in ids if isinstance(each, str)),
            events=events,
        )


async def _take(events: Events) -> GenerateEvent | None:
    """The first event. A task must not end in StopAsyncIteration."""
    async for _, event in events:
        return event
    return None
