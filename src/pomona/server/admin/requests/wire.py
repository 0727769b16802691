"""Requests as the admin address shows them. Times are in seconds, from the request's arrival; `arrived_at` is in Unix seconds."""

from pydantic import Field

from pomona.server.bodies import WireBody


class Longest(WireBody):
    """What most of a request's time went into."""

    name: str
    phase: str
    seconds: float


class RequestSummary(WireBody):
    """One request in a list."""

    id: str
    answer_ids: list[str]
    endpoint: str
    model: str | None
    outcome: str = Field(description="running, ok, cancelled (the client left), or the code of an error.")
    running: bool
    arrived_at: float
    seconds: float
    first_token_seconds: float | None
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    now: str | None = Field(description="What a request that runs does just now.")
    longest: Longest


class RequestPage(WireBody):
    """Some of the requests that are kept."""

    kept: int = Field(description="Requests that are kept, whatever the filters.")
    found: int = Field(description="Those that fit the filters.")
    requests: list[RequestSummary]


class TraceParentDocument(WireBody):
    """What the request's header `traceparent` said."""

    trace_id: str
    span_id: str
    sampled: bool


class Phase(WireBody):
    """Seconds that one kind of work or waiting took. All phases add up to the whole."""

    name: str
    seconds: float
    share: float


class Part(WireBody):
    """Part of an item of the timeline."""

    name: str
    phase: str
    seconds: float


class TimelineItem(WireBody):
    """What the request did or waited for, one after the other and without gaps. Its parts mingled, so only their sums are known."""

    name: str
    phase: str
    text: str
    start: float
    seconds: float
    parts: list[Part]


class DelayDocument(WireBody):
    """Time in which the request stood by while the prompt of another was computed: before its own was (behind), or between tokens (stall).

    Without ids: several that took little.
    """

    kind: str
    request: str | None
    answer: str | None
    seconds: float
    tokens: int


class TokenCounts(WireBody):
    """Tokens of the prompt, where they came from, and of the answer."""

    prompt: int
    cached: int
    cached_from_disk: int
    computed: int
    completion: int
    guessed: int
    guessed_right: int


class EngineWork(WireBody):
    """What the device did for the request; of `decode_share_seconds` each pass counts by the rows that shared it."""

    prefill_passes: int
    prefill_seconds: float
    decode_passes: int
    decode_seconds: float
    decode_share_seconds: float
    resumed: int = Field(description="Times that another engine took over, because the one before had died.")


class Beside(WireBody):
    """The gateway's own work, most of it while the engine worked, too."""

    parse_seconds: float
    encode_seconds: float
    write_seconds: float


class AnswerSummary(WireBody):
    """One answer of the request."""

    id: str
    joined: str | None = Field(description="The answer that ran already, where this one was sent again and joined it.")
    start: float
    seconds: float


class Explanation(WireBody):
    """Where the time of one request went."""

    id: str
    answer_ids: list[str]
    endpoint: str
    model: str | None
    outcome: str
    running: bool
    arrived_at: float
    caller: str | None
    status: int | None
    trace_parent: TraceParentDocument | None
    seconds: float
    first_byte_seconds: float | None
    first_token_seconds: float | None
    summary: list[str]
    phases: list[Phase]
    timeline: list[TimelineItem]
    delays: list[DelayDocument]
    tokens: TokenCounts
    engine: EngineWork | None
    beside: Beside
    answers: list[AnswerSummary]
