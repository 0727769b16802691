"""What chat completions and completions make of a body: a call, which is one or more requests and how their answers are to look."""

import time
import uuid
from dataclasses import dataclass, field, replace

from pomona.core.errors import InvalidRequest, UnsupportedField
from pomona.core.generation import GenerateRequest, Priority, SamplingParams
from pomona.server.bodies import keep_alive_seconds
from pomona.server.openai.wire import MAX_CHOICES, SamplingBody

_TINY_TOP_P = 1e-6
_TIERS: dict[str, tuple[str, Priority]] = {
    "flex": ("flex", "low"),
    "scale": ("scale", "high"),
    "priority": ("priority", "high"),
    "fast": ("priority", "high"),  # OpenAI answers so too
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One HTTP request: the requests behind its choices, in the order of their indexes, and how the answer is to look.

    `copies` is how many answers each prompt gets: request `prompt_index * copies + copy`. `created` is in Unix seconds.
    """

    id: str
    created: int
    model: str
    """As the client wrote it, whatever model stands in for it."""
    requests: tuple[GenerateRequest, ...]
    copies: int = 1
    stream: bool = False
    include_usage: bool = False
    logprobs: bool = False
    service_tier: str | None = None
    kept: int = 1
    """Of the copies of each prompt, the best so many are shown."""
    echoes: tuple[str, ...] = ()
    """What each text begins with, where the prompts are to be repeated."""
    legacy: bool = False
    """Calls are told as OpenAI's old function_call."""
    custom_tools: frozenset[str] = frozenset()
    show_reasoning: bool = True
    metadata: dict[str, str] = field(default_factory=dict[str, str])


def new_id(prefix: str) -> str:
    """A fresh id such as `chatcmpl-8f1c…`."""
    return f"{prefix}-{uuid.uuid4().hex}"


def call_of(body: SamplingBody, call_id: str, requests: tuple[GenerateRequest, ...], *, copies: int, logprobs: bool) -> Call:
    """`requests`, each `copies` times, as the call of `body`. Raises InvalidRequest where that is too much."""
    if len(requests) * copies > MAX_CHOICES:
        asked = f"{len(requests)} prompts with n = {copies}"
        raise InvalidRequest(f"{asked} make {len(requests) * copies} choices; one request has up to {MAX_CHOICES}. Split it.", param="n")
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("stream_options is only allowed where stream is true. Leave it out, or set stream.", param="stream_options")
    tier, priority = _TIERS.get(body.service_tier or "", ("default" if body.service_tier else None, "normal"))
    session, stay = body.prompt_cache_key or "", keep_alive_seconds(body.keep_alive)
    asked_for = tuple(replace(each, priority=priority, session=session, keep_alive_seconds=stay) for each in requests)
    return Call(
        id=call_id,
        created=int(time.time()),
        model=body.model,
        requests=_copy(asked_for, copies),
        copies=copies,
        kept=copies,
        stream=bool(body.stream),
        include_usage=body.stream_options is not None and bool(body.stream_options.include_usage),
        logprobs=logprobs,
        service_tier=tier,
    )


def sampling_of(body: SamplingBody, logprobs: int | None, defaults: SamplingParams) -> SamplingParams:
    """How tokens are chosen; `defaults` hold for what `body` leaves open."""
    return SamplingParams(
        temperature=_or(body.temperature, defaults.temperature),
        top_k=max(defaults.top_k if body.top_k is None else body.top_k, 0),
        top_p=max(_or(body.top_p, defaults.top_p), _TINY_TOP_P),  # OpenAI takes 0 for "only the most likely token"
        min_p=_or(body.min_p, defaults.min_p),
        repetition_penalty=_or(body.repetition_penalty, defaults.repetition_penalty),
        presence_penalty=_or(body.presence_penalty, 0.0),
        frequency_penalty=_or(body.frequency_penalty, 0.0),
        logit_bias=body.logit_bias or {},
        seed=body.seed,
        logprobs=logprobs,
    )


def stops_of(body: SamplingBody) -> tuple[str, ...]:
    """The stop strings, whether one or several were given."""
    return (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())


def refuse(name: str, value: object, reason: str) -> UnsupportedField:
    """The error for a field that is known but cannot be honoured."""
    return UnsupportedField(f"{name} = {value!r} is not supported: {reason}.", param=name)


def _copy(requests: tuple[GenerateRequest, ...], copies: int) -> tuple[GenerateRequest, ...]:
    """Each request `copies` times, with ids and seeds of their own."""
    if len(requests) * copies == 1:
        return requests
    return tuple(
        replace(request, id=f"{request.id}-{number * copies + copy}", sampling=_reseeded(request.sampling, copy))
        for number, request in enumerate(requests)
        for copy in range(copies)
    )


def _reseeded(sampling: SamplingParams, copy: int) -> SamplingParams:
    return sampling if sampling.seed is None or copy == 0 else replace(sampling, seed=sampling.seed + copy)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
