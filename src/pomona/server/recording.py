"""One record per request that ended, made in one place, and who listens to it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from collections.abc import Generator as Iterating
from contextlib import aclosing, contextmanager
from dataclasses import replace

from pomona.core.errors import PomonaError
from pomona.core.generation import Finished, FinishReason, GenerateEvent, GenerateRequest, PromptScored, Started, Usage
from pomona.core.metrics import Metrics
from pomona.core.ports import Generator
from pomona.core.records import RequestRecord
from pomona.core.telemetry import get_logger
from pomona.server.tracing.current import name_trace

Listener = Callable[[RequestRecord], None]
Clock = Callable[[], float]
INTERNAL_ERROR = "internal_error"
"""The outcome of a request that ended by a fault of ours."""
log = get_logger(__name__)


class Recorder:
    """Makes the records of one gateway and hands them to its listeners. `clock` is in seconds and only rises."""

    def __init__(self, metrics: Metrics, listeners: Sequence[Listener], clock: Clock = time.perf_counter) -> None:
        self._metrics = metrics
        self._listeners = listeners
        self._clock = clock

    def watch(self, generator: Generator, endpoint: str, *, coalesced: bool = False) -> "RecordingGenerator":
        """`generator`, with each of its requests recorded under `endpoint`; `coalesced` if it joins an answer that runs."""
        return RecordingGenerator(generator, endpoint, self._metrics, self._listeners, self._clock, coalesced=coalesced)

    @contextmanager
    def refusals(self, endpoint: str, request_id: str, caller: str = "") -> Iterating[None]:
        """Record errors raised inside: those of requests that never reach a generator. From here on the request is traced."""
        name_trace(endpoint, request_id, caller)
        arrived = self._clock()
        try:
            yield
        except PomonaError as error:
            self.refuse(endpoint, request_id, caller, error, seconds=self._clock() - arrived)
            raise

    def refuse(self, endpoint: str, request_id: str, caller: str, error: PomonaError, *, seconds: float = 0.0) -> None:
        """Record a request that never reached a generator."""
        record = RequestRecord(id=request_id, endpoint=endpoint, model="", outcome=error.code, seconds=seconds, caller=caller)
        _tell(self._listeners, record)


class RecordingGenerator:
    """A Generator that measures another one. Inter-token gaps go to the metrics as they come, all else with the record."""

    def __init__(
        self,
        inner: Generator,
        endpoint: str,
        metrics: Metrics,
        listeners: Sequence[Listener],
        clock: Clock,
        *,
        coalesced: bool = False,
    ) -> None:
        self._inner = inner
        self._coalesced = coalesced
        self._endpoint = endpoint
        self._gap = metrics.token_gap
        self._listeners = listeners
        self._clock = clock

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateEvent]:
        """Answer `request` as the inner generator does, and record how it went."""
        watch = _Stopwatch(self._clock, self._gap.labels(request.model).observe)
        try:
            async with aclosing(self._inner.generate(request)) as events:
                async for event in events:
                    watch.see(event)
                    yield event
        except (GeneratorExit, asyncio.CancelledError):
            watch.end("cancelled")
            raise
        except PomonaError as error:
            watch.end(error.code)
            raise
        finally:
            if request.trace:
                request.trace.close()
            _tell(self._listeners, replace(watch.record(request, self._endpoint), coalesced=self._coalesced))


class _Stopwatch:
    """The times and the outcome of one request."""

    def __init__(self, clock: Clock, observe_gap: Callable[[float], None]) -> None:
        self._clock = clock
        self._observe_gap = observe_gap
        self._arrived = clock()
        self._last_token: float | None = None
        self._first_token_seconds: float | None = None
        self._usage = Usage()
        self._outcome: str | None = None
        self._finish_reason: FinishReason | None = None

    def see(self, event: GenerateEvent) -> None:
        match event:
            case Started():
                self._usage = Usage(prompt_tokens=event.prompt_tokens)
            case PromptScored():
                pass
            case Finished():
                self._usage = event.usage
                self._finish_reason = event.reason
                self._outcome = "cancelled" if event.reason == "cancelled" else "ok"
            case _:
                self._see_token()

    def _see_token(self) -> None:
        now = self._clock()
        if self._last_token is None:
            self._first_token_seconds = now - self._arrived
        else:
            self._observe_gap(now - self._last_token)
        self._last_token = now

    def end(self, outcome: str) -> None:
        """A stream that is closed after `Finished` keeps its outcome."""
        self._outcome = self._outcome or outcome

    def record(self, request: GenerateRequest, endpoint: str) -> RequestRecord:
        return RequestRecord(
            id=request.id,
            endpoint=endpoint,
            model=request.model,
            outcome=self._outcome or INTERNAL_ERROR,
            seconds=self._clock() - self._arrived,
            first_token_seconds=self._first_token_seconds,
            usage=self._usage,
            caller=request.caller,
            priority=request.priority,
            finish_reason=self._finish_reason,
        )


def count_in(metrics: Metrics) -> Listener:
    """A listener that adds records to `metrics`."""

    def count(record: RequestRecord) -> None:
        metrics.requests.labels(record.endpoint, record.outcome).inc()
        if record.caller:
            _count_caller(metrics, record)
        if record.coalesced:
            metrics.coalesced.labels(record.endpoint).inc()
        if record.first_token_seconds is not None:
            metrics.first_token.labels(record.model).observe(record.first_token_seconds)
        if record.outcome == "ok":
            metrics.prompt_tokens.labels(record.model).inc(record.usage.prompt_tokens)
            metrics.cached_tokens.labels(record.model).inc(record.usage.cached_tokens)
            metrics.completion_tokens.labels(record.model).inc(record.usage.completion_tokens)

    return count


def _count_caller(metrics: Metrics, record: RequestRecord) -> None:
    """As many series as there are keys; callers without one share none."""
    metrics.caller_requests.labels(record.caller, record.outcome).inc()
    if record.outcome == "ok":
        metrics.caller_tokens.labels(record.caller).inc(record.usage.total_tokens)


def write_to_log(record: RequestRecord) -> None:
    """A listener that writes the access log: one line per request."""
    log.info(
        "request_ended",
        id=record.id,
        endpoint=record.endpoint,
        model=record.model,
        outcome=record.outcome,
        seconds=round(record.seconds, 4),
        first_token_seconds=None if record.first_token_seconds is None else round(record.first_token_seconds, 4),
        prompt_tokens=record.usage.prompt_tokens,
        cached_tokens=record.usage.cached_tokens,
        completion_tokens=record.usage.completion_tokens,
        caller=record.caller or None,
        priority=record.priority,
        finish_reason=record.finish_reason,
        coalesced=record.coalesced,
    )


def _tell(listeners: Sequence[Listener], record: RequestRecord) -> None:
    for listener in listeners:
        listener(record)
