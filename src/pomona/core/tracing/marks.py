"""What a request collects on its way through the gateway: when it did what. Made so that a token costs three looks at the clock."""

import time
from collections.abc import Callable
from typing import NamedTuple

from pomona.core.tracing.times import RowTimes

Clock = Callable[[], float]
SLOW_WRITE_SECONDS = 0.001
MOST_SLOW_WRITES = 128


class Mark(NamedTuple):
    """Something that was done, by the clock of its trace."""

    name: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


class Course:
    """One thing after the other, without a gap. `clock` is in seconds, the one that engines use: `time.monotonic`."""

    __slots__ = ("_marks", "_name", "_since", "clock", "ended")

    def __init__(self, name: str, clock: Clock = time.monotonic) -> None:
        self.clock = clock
        self.ended: float | None = None
        self._name = name
        self._since = clock()
        self._marks: list[Mark] = []

    @property
    def name(self) -> str:
        """What is done now."""
        return self._name

    @property
    def since(self) -> float:
        """Since when."""
        return self._since

    @property
    def began(self) -> float:
        """When it all began."""
        return self._marks[0].start if self._marks else self._since

    def enter(self, name: str) -> None:
        """Something else begins. After `close` nothing does."""
        if self.ended is None:
            now = self.clock()
            self._marks.append(Mark(self._name, self._since, now))
            self._name, self._since = name, now

    def close(self) -> None:
        """It is done. Only the first time counts."""
        if self.ended is None:
            self.enter(self._name)
            self.ended = self._since

    def marks(self) -> list[Mark]:
        """All that was done, and what is being done now as far as it has come."""
        return list(self._marks) if self.ended is not None else [*self._marks, Mark(self._name, self._since, self.clock())]


class AnswerTrace(Course):
    """One answer: from what is decided about it to its last event.

    While the engine works, the gateway's own work overlaps with it; `awaited`, `parsed` and `handed` divide that time from the
    gateway's side: waiting for the engine, reading its tokens, handing events on until the next one is asked for.
    """

    __slots__ = (
        "_lap",
        "awaited",
        "cached_tokens",
        "complete",
        "first_at",
        "handed",
        "id",
        "joined",
        "lives",
        "parsed",
        "prompt_tokens",
        "tokens",
    )

    def __init__(self, id: str = "", clock: Clock = time.monotonic) -> None:
        super().__init__("control", clock)
        self.id = id
        self.joined: str | None = None
        """The id of the answer that ran already, where this one joined it."""
        self.lives: list[tuple[RowTimes, float]] = []
        """What engines told, and when; more than one where an engine died and another went on."""
        self.complete = False
        """What the engine told is all of it."""
        self.first_at: float | None = None
        """When its first token was taken."""
        self.awaited = self.parsed = self.handed = 0.0
        self.prompt_tokens = self.cached_tokens = self.tokens = 0
        """Of its prompt, of that out of the cache, and made so far."""
        self._lap = self._since

    @property
    def started(self) -> bool:
        """Somebody began to work for it."""
        return bool(self._marks)

    def join(self, id: str) -> None:
        """It joins the answer `id`."""
        self.joined = id
        self.enter("joined")

    def enter_engine(self, prompt_tokens: int = 0) -> None:
        """From now on the engine works."""
        self.enter("engine")
        self.prompt_tokens = prompt_tokens
        self._lap = self._since

    def note_awaited(self) -> None:
        """A step of the engine is there."""
        now = self.clock()
        self.awaited += now - self._lap
        self._lap = now

    def note_parsed(self) -> None:
        """Its next event was made."""
        now = self.clock()
        self.parsed += now - self._lap
        self._lap = now

    def note_handed(self) -> None:
        """The event was handed on, and the next is asked for."""
        now = self.clock()
        self.handed += now - self._lap
        self._lap = now

    def note_times(self, times: RowTimes, *, last: bool) -> None:
        """An engine tells of the row. What it told before of the same row is out of date; nothing comes behind the `last`."""
        self.complete = last
        if self.first_at is None:
            self.first_at = self._lap
        if self.lives and self.lives[-1][0].began == times.began:
            self.lives.pop()
        self.lives.append((times, self._lap))


class RequestTrace(Course):
    """One HTTP request: from its first byte to the last one of its response. Its `id` is the one in the response's headers."""

    __slots__ = (
        "answers",
        "arrived_at",
        "call_id",
        "caller",
        "endpoint",
        "first_byte",
        "id",
        "model",
        "parent",
        "slow_writes",
        "status",
        "written",
    )

    def __init__(self, id: str, parent: "TraceParent | None" = None, clock: Clock = time.monotonic, now: Clock = time.time) -> None:
        super().__init__("receive", clock)
        self.id = id
        self.parent = parent
        self.arrived_at = now()
        """Unix seconds."""
        self.endpoint = self.call_id = self.model = self.caller = ""
        self.status: int | None = None
        self.first_byte: float | None = None
        self.written = 0.0
        """Seconds in all writes."""
        self.slow_writes: list[Mark] = []
        self.answers: list[AnswerTrace] = []

    @property
    def running(self) -> bool:
        """It is answered still, be it without a client."""
        return self.ended is None or any(answer.started and answer.ended is None for answer in self.answers)

    @property
    def end(self) -> float:
        """When all of it was over; now, while it runs."""
        if self.running or self.ended is None:
            return self.clock()
        return max(self.ended, *(answer.ended or 0.0 for answer in self.answers), 0.0)

    def answer(self, id: str) -> AnswerTrace:
        """One more answer of this request."""
        answer = AnswerTrace(id, self.clock)
        self.answers.append(answer)
        self.enter("answer")
        return answer

    def note_write(self, start: float, end: float) -> None:
        """Part of the response was written; a slow client makes that last."""
        self.written += end - start
        if end - start < SLOW_WRITE_SECONDS:
            return
        if len(self.slow_writes) < MOST_SLOW_WRITES:
            self.slow_writes.append(Mark("write", start, end))
        else:  # too many to tell apart
            last = self.slow_writes[-1]
            self.slow_writes[-1] = Mark("write", end - (last.seconds + end - start), end)


class TraceParent(NamedTuple):
    """The trace of the caller that this request belongs to, as the W3C header `traceparent` names it."""

    trace_id: str
    span_id: str
    sampled: bool
