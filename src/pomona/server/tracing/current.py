"""The trace of the request that the present task works for."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from pomona.core.tracing.marks import AnswerTrace, RequestTrace


@dataclass(frozen=True, slots=True)
class Current:
    """A trace, and whom to tell that it has a name."""

    trace: RequestTrace
    named: Callable[[RequestTrace], None]


NAMELESS = "-"
"""The id of what is only counted."""
CURRENT: ContextVar[Current | None] = ContextVar("pomona_trace", default=None)


def name_trace(endpoint: str, call_id: str, caller: str) -> None:
    """The request asks `endpoint` for something, and its answer has the id `call_id`. Only such requests are traced."""
    current = CURRENT.get()
    if current is None or call_id == NAMELESS:
        return
    trace = current.trace
    trace.caller = trace.caller or caller
    if not trace.endpoint:
        trace.endpoint, trace.call_id = endpoint, call_id
        current.named(trace)


def trace_answer(answer_id: str, model: str) -> AnswerTrace | None:
    """The trace of one more answer of the request; None where nothing is traced."""
    current = CURRENT.get()
    if current is None or not current.trace.endpoint:
        return None
    current.trace.model = model
    answer = current.trace.answer(answer_id)
    current.named(current.trace)
    return answer
