"""A request whose every second is known."""

from pomona.core.generation import Usage
from pomona.core.records import RequestRecord
from pomona.core.tracing.marks import AnswerTrace, RequestTrace
from pomona.core.tracing.times import Delay, RowTimes, Span
from pomona.server.tracing.store import Kept

SECOND_SPANS = (
    Span(name="turn", start=0.0, seconds=1.0, behind=1.0),
    Span(name="prefill", start=1.0, seconds=4.0, own=2.0, behind=1.5),
    Span(name="decode", start=5.0, seconds=8.0, own=5.0, behind=2.0),
)
DELAYS = (
    Delay(by="long", seconds=2.5, tokens=2048, decoding=False),
    Delay(by="long", seconds=1.5, tokens=1024, decoding=True),
    Delay(by="", seconds=0.5, tokens=64, decoding=True),
)


class Clock:
    """Moved by hand; what it shows are multiples of 1/8."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


def times(began: float, spans: tuple[Span, ...] = SECOND_SPANS, delays: tuple[Delay, ...] = DELAYS) -> RowTimes:
    """What an engine told."""
    seconds = sum(span.seconds for span in spans)
    return RowTimes(began=began, seconds=seconds, spans=spans, delays=delays, prefill_tokens=100, prefill_passes=2, decode_passes=9)


def arrive(clock: Clock, id: str = "req_1") -> RequestTrace:
    """A request that was read: 1 s for its body, half a second to check it."""
    trace = RequestTrace(id, clock=clock, now=lambda: 5.0)
    trace.endpoint, trace.call_id, trace.model = "chat.completions", f"chatcmpl-{id}", "tiny"
    clock.pass_(1.0)
    trace.enter("read")
    clock.pass_(0.5)
    return trace


def go_to_engine(trace: RequestTrace, clock: Clock) -> AnswerTrace:
    """Half a second of limits, 2 s to load, 1 s of template."""
    answer = trace.answer(trace.call_id)
    clock.pass_(0.5)
    answer.enter("load")
    clock.pass_(2.0)
    answer.enter("threads")
    clock.pass_(0.25)
    answer.enter("template")
    clock.pass_(0.75)
    answer.enter_engine()
    return answer


def answer_it(trace: RequestTrace, clock: Clock) -> Kept:
    """The whole of it: 0.25 s on the way to the engine, 13 s there, half a second to write it down."""
    answer = go_to_engine(trace, clock)
    clock.pass_(13.25)
    answer.note_awaited()
    answer.note_times(times(clock.now - 13.0), last=True)
    clock.pass_(0.125)
    answer.note_parsed()
    clock.pass_(0.125)
    answer.note_handed()
    answer.close()
    clock.pass_(0.25)
    trace.close()
    return kept_of(trace)


def kept_of(trace: RequestTrace, outcome: str = "ok") -> Kept:
    """With the record of its answer."""
    usage = Usage(prompt_tokens=160, cached_tokens=60, completion_tokens=9)
    record = RequestRecord(id=trace.call_id, endpoint=trace.endpoint, model="tiny", outcome=outcome, seconds=1.0, usage=usage)
    return Kept(trace=trace, records=[record])
