"""The traces of the last requests, those that run included. Bounded by count and by bytes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pomona.core.errors import NotFound
from pomona.core.generation import Usage
from pomona.core.records import RequestRecord
from pomona.core.tracing.marks import AnswerTrace, RequestTrace

_TRACE_BYTES = 2000
_PART_BYTES = 300  # a mark, a span or a delay, measured
_UNSETTLED_PARTS = 40  # what a trace that still grows is taken for


@dataclass(slots=True, kw_only=True, eq=False)
class Kept:
    """A trace, and the records of its answers that ended."""

    trace: RequestTrace
    records: list[RequestRecord] = field(default_factory=list[RequestRecord])
    done: bool = False
    bytes: int = _TRACE_BYTES + _UNSETTLED_PARTS * _PART_BYTES

    @property
    def outcome(self) -> str:
        """`running`, `ok`, or what the first answer that did not end well ended with."""
        if self.trace.running:
            return "running"
        return next((record.outcome for record in self.records if record.outcome != "ok"), "ok" if self.records else "cancelled")

    @property
    def model(self) -> str:
        """The model that answers."""
        return self.trace.model or next((record.model for record in self.records if record.model), "")

    @property
    def usage(self) -> Usage:
        """The tokens of all answers, as far as they have come; of prompts that are the same, each counts."""
        known = {answer.id: _usage_so_far(answer) for answer in self.trace.answers}
        known |= {record.id: record.usage for record in self.records if record.outcome == "ok"}
        return Usage(**{name: sum(getattr(usage, name) for usage in known.values()) for name in Usage.__slots__})

    def names(self) -> Iterator[str]:
        """All by which it can be found."""
        trace = self.trace
        yield from (trace.id, trace.call_id)
        yield from (answer.id for answer in trace.answers)
        if trace.parent:
            yield trace.parent.trace_id


class TraceStore:
    """Keeps at most `most` traces and about `most_bytes` of them; the oldest go first. A listener of records.

    `at_end` are called with each trace that is over.
    """

    def __init__(self, most: int, most_bytes: int, at_end: Sequence[Callable[[Kept], None]] = ()) -> None:
        self._at_end = at_end
        self._most = most
        self._most_bytes = most_bytes
        self._kept: dict[RequestTrace, Kept] = {}
        self._named: dict[str, Kept] = {}
        self._bytes = 0

    def __call__(self, record: RequestRecord) -> None:
        """An answer has ended."""
        kept = self._named.get(record.id)
        if kept is not None:
            kept.records.append(record)
            self.settle(kept.trace)

    @property
    def bytes(self) -> int:
        """About what it all takes."""
        return self._bytes

    def keep(self, trace: RequestTrace) -> None:
        """Keep `trace` under all names that it has by now."""
        kept = self._kept.get(trace)
        if kept is None:
            kept = self._kept[trace] = Kept(trace=trace)
            self._bytes += kept.bytes
        for name in kept.names():
            self._named[name] = kept
        self._make_room()

    def settle(self, trace: RequestTrace) -> None:
        """It has grown, perhaps for the last time."""
        kept = self._kept.get(trace)
        if kept is not None:
            self._bytes -= kept.bytes
            kept.bytes = _weigh(kept)
            self._bytes += kept.bytes
            self._make_room()
            if not (kept.done or trace.running):
                kept.done = True
                for tell in self._at_end:
                    tell(kept)

    def find(self, name: str) -> Kept:
        """The last request of that id: of the request, of an answer, or of the caller's own trace. Raises NotFound."""
        kept = self._named.get(name)
        if kept is None:
            advice = "GET /admin/requests (`pomona trace`) lists what is kept; tracing.requests and tracing.bytes say how much is."
            raise NotFound(f"No request {name!r} is among the {len(self._kept)} that are kept. {advice}")
        return kept

    def request_of(self, name: str) -> str:
        """The request id of the answer `name`, as far as that is known."""
        kept = self._named.get(name)
        return name if kept is None else kept.trace.id

    def newest_first(self) -> list[Kept]:
        """All that are kept."""
        return list(reversed(self._kept.values()))

    def _make_room(self) -> None:
        """The oldest goes, but one that runs only if all do: as many run as the server lets run."""
        while len(self._kept) > 1 and (len(self._kept) > self._most or self._bytes > self._most_bytes):
            oldest = next((kept for kept in self._kept.values() if not kept.trace.running), None)
            self._drop(oldest or next(iter(self._kept.values())))

    def _drop(self, kept: Kept) -> None:
        del self._kept[kept.trace]
        self._bytes -= kept.bytes
        for name in kept.names():
            if self._named.get(name) is kept:
                del self._named[name]


def _usage_so_far(answer: AnswerTrace) -> Usage:
    return Usage(prompt_tokens=answer.prompt_tokens, cached_tokens=answer.cached_tokens, completion_tokens=answer.tokens)


def _weigh(kept: Kept) -> int:
    trace = kept.trace
    parts = len(trace.marks()) + len(trace.slow_writes) + 2 * len(kept.records)
    for answer in trace.answers:
        parts += 2 + len(answer.marks()) + sum(len(times.spans) + len(times.delays) for times, _ in answer.lives)
    return _TRACE_BYTES + parts * _PART_BYTES
