"""The one door from HTTP to the generator, for every API: who asks and how urgently, the record, several choices as one stream, and
pictures only for models that take some.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from starlette.requests import Request

from pomona.control.callers import Caller, priority_for
from pomona.control.stack import Admission, Call
from pomona.core.errors import RateLimited
from pomona.core.generation import GenerateEvent, GenerateRequest, TokenText
from pomona.core.ports import ModelDirectory, RenderedPrompt, Tokenization
from pomona.pictures.blindness import holds_pictures, without_pictures
from pomona.server.access.hosts import is_loopback
from pomona.server.access.visits import caller_of, limit_headers, origins_of, tell, wanted_priority
from pomona.server.errors import shape_of
from pomona.server.merging import merge
from pomona.server.services import Services
from pomona.server.tracing.current import trace_answer

Events = AsyncGenerator[tuple[int, GenerateEvent]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """Work that begins with the first event taken. `events` are (index of the request, event); `headers` belong on the response."""

    events: Events
    headers: Mapping[str, str]


def begin(services: Services, http: Request, endpoint: str, requests: Sequence[GenerateRequest]) -> Answering:
    """Answer `requests` as one stream, recorded under `endpoint`. Raises RateLimited and Overloaded before any work.

    Nothing is taken before the first event is asked for, so that nothing is left over of an answer that nobody began to read.
    """
    caller = caller_of(http.scope)
    with services.recorder.refusals(endpoint, requests[0].id, caller.id):
        call = _call(services, http, caller, [for_its_model(request, services.directory) for request in requests])
        admission = _check(services, http, call)
    watched = [services.recorder.watch(generator, endpoint, coalesced=admission.coalesced) for generator in call.generators]
    streams = [generator.generate(request) for generator, request in zip(watched, call.requests, strict=True)]
    refused = partial(services.recorder.refuse, endpoint, requests[0].id, caller.id)
    headers = limit_headers(admission.standing, admission.wait, shape_of(http.scope))
    tell(http.scope, headers)
    return Answering(events=services.control.guard(call, merge(streams), refused), headers=headers)


def _call(services: Services, http: Request, caller: Caller, requests: Sequence[GenerateRequest]) -> Call:
    """The call with what is known of its caller. Raises InvalidRequest."""
    wish = wanted_priority(http.headers)
    priority = priority_for(caller, wish, requests[0].priority)
    asked = [
        replace(
            request,
            caller=caller.id,
            account=_account(http, caller, request),
            priority=priority,
            trace=trace_answer(request.id, request.model),
        )
        for request in requests
    ]
    return services.control.call(caller, asked, origins_of(http.headers, caller, len(asked)))


def _account(http: Request, caller: Caller, request: GenerateRequest) -> str:
    """Programs on this machine have one address and no keys, so their sessions count one by one. Elsewhere a new session must not be
    worth a new share.
    """
    at_home = not caller.id and http.client is not None and is_loopback(http.client.host)
    return f"{caller.account} {request.session}" if at_home and request.session else caller.account


def _check(services: Services, http: Request, call: Call) -> Admission:
    try:
        return services.control.check(call)
    except RateLimited:
        tell(http.scope, limit_headers(services.control.limiter.standing(call.caller), None, shape_of(http.scope)))
        raise


def count_request(services: Services, http: Request) -> None:
    """Count a request that the tokenizer alone answers against the caller's requests a minute. Raises RateLimited."""
    limiter, caller = services.control.limiter, caller_of(http.scope)
    try:
        limiter.count(caller)
    finally:
        tell(http.scope, limit_headers(limiter.standing(caller), None, shape_of(http.scope)))


def for_its_model(request: GenerateRequest, directory: ModelDirectory) -> GenerateRequest:
    """`request` as its model may have it: to one that takes no pictures, those in results of tools are only named.

    Raises UnsupportedField for pictures of a person, which names the models here that take some.
    """
    if request.messages is None or not holds_pictures(request.messages) or directory.find(request.model).vision:
        return request
    seeing = [card.id for card in directory.models() if card.vision]
    return replace(request, messages=without_pictures(request.messages, request.model, seeing))


class SightedTokenization:
    """A Tokenization that refuses such pictures as `for_its_model` does."""

    def __init__(self, inner: Tokenization, directory: ModelDirectory) -> None:
        self._inner = inner
        self._directory = directory

    async def render(self, request: GenerateRequest) -> RenderedPrompt:
        """The prompt of `request`."""
        return await self._inner.render(for_its_model(request, self._directory))

    async def encode(self, model: str, text: str, *, special_tokens: bool = True) -> list[TokenText]:
        """The tokens of `text`."""
        return await self._inner.encode(model, text, special_tokens=special_tokens)

    async def decode(self, model: str, token_ids: Sequence[int]) -> str:
        """The text of `token_ids`."""
        return await self._inner.decode(model, token_ids)
