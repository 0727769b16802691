"""What the answering resources share: run a call, streamed or whole, for as long as the client listens."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

import pomona
from pomona.core.generation import CacheReport, Delta, Finished, PromptScored, Started
from pomona.server.answering import Events, begin
from pomona.server.drain import attend
from pomona.server.openai.call import Call
from pomona.server.openai.usage import Tally
from pomona.server.services import Services
from pomona.server.sse import EventStream

FINGERPRINT = f"pomona-{pomona.__version__}"
DONE = b"data: [DONE]\n\n"
Document = Mapping[str, object]
to_json = msgspec.json.Encoder().encode


class Chunks(Protocol):
    """The chunks of one endpoint's stream, as complete server-sent events. Empty ones are not sent."""

    def opening(self, index: int) -> bytes:
        """What choice `index` begins with."""
        ...

    def delta(self, index: int, event: Delta | PromptScored) -> bytes:
        """More of choice `index`."""
        ...

    def closing(self, index: int, event: Finished) -> bytes:
        """The last chunk of choice `index`."""
        ...


class Choices(Protocol):
    """The choices of one endpoint's whole answer, while they grow."""

    def add(self, index: int, event: Delta | PromptScored | Finished) -> None:
        """More of choice `index`, or its end."""
        ...

    def documents(self) -> Sequence[Document]:
        """All choices as they are shown."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How one endpoint writes its answers. `keep`, where there is one, gets every whole answer, also of streams."""

    whole: str
    chunk: str
    """What `object` says in whole answers and in chunks."""
    chunks: Callable[[Call, bytes], Chunks]
    """Made of the call and the JSON of what all chunks begin with, its last brace left out."""
    choices: Callable[[Call], Choices]
    keep: Callable[[Document], None] | None = None


async def answer(services: Services, request: Request, endpoint: str, call: Call, form: Form) -> Response:
    """The response to `call`. Errors before the first event are raised; later ones are told inside the stream."""
    answering = begin(services, request, endpoint, call.requests)
    if call.stream:
        seconds = services.settings.server.keepalive_seconds
        chunks = stream_answer(call, form, answering.events)
        return EventStream(chunks, keepalive_seconds=seconds, drain=services.drain, headers=answering.headers)
    body = await attend(whole_answer(call, form, answering.events), request.receive, services.drain)
    return Response(body, headers=answering.headers, media_type="application/json")


async def stream_answer(call: Call, form: Form, events: Events) -> AsyncGenerator[bytes]:
    """The events of all choices as server-sent events: opening, deltas, closing, usage where asked for, [DONE]."""
    chunks = form.chunks(call, to_json(_head(call, form.chunk))[:-1])
    whole = _Whole(call, form)
    async with aclosing(events):
        async for index, event in events:
            match event:
                case Started():
                    yield chunks.opening(index)
                case Finished():
                    whole.end(index, event)
                    yield chunks.closing(index, event)
                case _:
                    if chunk := chunks.delta(index, event):
                        yield chunk
                    if form.keep is not None:
                        whole.choices.add(index, event)
    if call.include_usage:
        yield b"data: " + to_json({**_head(call, form.chunk), "choices": [], "usage": whole.tally.usage(), **whole.diagnostics()}) + b"\n\n"
    if form.keep is not None:
        form.keep(whole.document())
    yield DONE


async def whole_answer(call: Call, form: Form, events: Events) -> bytes:
    """The events of all choices as one JSON object."""
    whole = _Whole(call, form)
    async with aclosing(events):
        async for index, event in events:
            match event:
                case Started():
                    pass
                case Finished():
                    whole.end(index, event)
                case _:
                    whole.choices.add(index, event)
    document = whole.document()
    if form.keep is not None:
        form.keep(document)
    return to_json(document)


class _Whole:
    """A whole answer while it grows."""

    def __init__(self, call: Call, form: Form) -> None:
        self._call = call
        self._form = form
        self._cache: CacheReport | None = None
        self.choices = form.choices(call)
        self.tally = Tally(call.copies)

    def end(self, index: int, event: Finished) -> None:
        """Choice `index` is complete. Raises Cancelled where it was stopped from inside."""
        self.tally.add(index, event)
        self.choices.add(index, event)
        self._cache = self._cache or event.cache

    def document(self) -> Document:
        """The answer, once all choices are complete."""
        document: dict[str, object] = {
            **_head(self._call, self._form.whole),
            "choices": self.choices.documents(),
            "usage": self.tally.usage(),
        }
        if self.tally.warnings:
            document["warnings"] = self.tally.warnings
        document |= self.diagnostics()
        if self._call.metadata:
            document["metadata"] = self._call.metadata
        return document

    def diagnostics(self) -> dict[str, object]:
        """Why the prefix cache spared less than it might have; of one answer only, because its siblings share its prompt."""
        return {} if self._cache is None else {"cache_diagnostics": self._cache}


def _head(call: Call, kind: str) -> dict[str, object]:
    head: dict[str, object] = {"id": call.id, "object": kind, "created": call.created, "model": call.model}
    if call.service_tier is not None:
        head["service_tier"] = call.service_tier
    return {**head, "system_fingerprint": FINGERPRINT}
