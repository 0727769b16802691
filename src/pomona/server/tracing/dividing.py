"""The time of a request, divided: every second belongs to one item, so that items add up to the whole.

What the gateway does one thing after the other comes from its marks. While the engine works, what the engine tells counts, since the
gateway's own work overlaps with it; behind the engine's end what is left is the gateway's again.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pomona.core.tracing.marks import AnswerTrace, Mark, RequestTrace
from pomona.core.tracing.times import RowTimes, Span

_PARTS = {
    "prefill": ("prefill", "behind", "prefill_rest"),
    "decode": ("decode", "stall", "decode_rest"),
    "turn": ("turn", "behind", "turn"),
}
"""What a span's own seconds, those behind others, and the rest are called; of other spans the whole is one thing."""
LEAST_SECONDS = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Something that lasted; `start` counts from the request's arrival. `parts` are (name, seconds) and add up to it."""

    name: str
    start: float
    seconds: float
    parts: tuple[tuple[str, float], ...]


def divide(trace: RequestTrace) -> list[Item]:
    """All items of `trace` so far, in their order."""
    began, end = trace.began, trace.end
    answer = last_answer(trace)
    marks = [mark for mark in trace.marks() if mark.name != "answer" or answer is None]
    items = [_whole(mark, began) for mark in marks if mark.seconds > LEAST_SECONDS]
    if answer is not None:
        items += _items_of(trace, answer, end)
    return _merged(_without_gaps(items, end - began, "before" if len(trace.answers) > 1 else "other"))


def last_answer(trace: RequestTrace) -> AnswerTrace | None:
    """The answer whose end was the end of all, or will be."""
    return max(trace.answers, key=lambda answer: answer.ended or float("inf"), default=None)


def sums(items: Iterable[Item]) -> dict[str, float]:
    """Seconds by name of the parts."""
    found: dict[str, float] = {}
    for item in items:
        for name, seconds in item.parts:
            found[name] = found.get(name, 0.0) + seconds
    return found


def _items_of(trace: RequestTrace, answer: AnswerTrace, end: float) -> list[Item]:
    began, items = trace.began, list[Item]()
    marks = answer.marks()
    for mark in marks:
        if mark.name == "engine":
            engine = list(_engine_items(answer.lives, mark, began, complete=answer.complete))
            items += engine
            tail_start = engine[-1].start + engine[-1].seconds if engine else mark.end - began
            return items + _tail(trace, answer, tail_start, end - began)
        if mark.seconds > LEAST_SECONDS:
            items.append(_whole(mark, began))
    return items + (_tail(trace, answer, marks[-1].end - began, end - began) if answer.started else [])


def _engine_items(lives: Sequence[tuple[RowTimes, float]], mark: Mark, began: float, *, complete: bool) -> Iterator[Item]:
    """From where the prompt was handed to the engine to where the engine was done with it."""
    if not lives:
        yield _whole(mark, began)
        return
    cursor, latest, last = mark.start, "submit", mark.end
    for times, _ in lives:
        start = min(max(times.began, cursor), last)
        if start - cursor > LEAST_SECONDS:
            yield _whole(Mark(latest, cursor, start), began)
        cursor, latest = start, "restart"
        for span in times.spans:
            seconds = min(span.seconds, last - cursor)
            if seconds > LEAST_SECONDS:
                yield Item(name=span.name, start=cursor - began, seconds=seconds, parts=_parts(span, seconds))
                cursor += seconds
    if not complete and last - cursor > LEAST_SECONDS:  # the engine has not told of this yet, or was not asked any more
        spans = lives[-1][0].spans
        yield _whole(Mark(spans[-1].name if spans else "engine", cursor, last), began)


def _parts(span: Span, seconds: float) -> tuple[tuple[str, float], ...]:
    names = _PARTS.get(span.name)
    if names is None:
        return ((span.name, seconds),)
    own = min(span.own, seconds)
    behind = min(span.behind, seconds - own)
    parts: dict[str, float] = {}
    for name, part in zip(names, (own, behind, seconds - own - behind), strict=True):
        if part > LEAST_SECONDS:
            parts[name] = parts.get(name, 0.0) + part
    return tuple(parts.items())


def _tail(trace: RequestTrace, answer: AnswerTrace, start: float, end: float) -> list[Item]:
    """What the gateway did when the engine was done: read the rest of the tokens, wait for a slow client, encode and send."""
    began, items = trace.began, list[Item]()
    writing = sum(_overlap(mark.start - began, mark.end - began, start, end) for mark in trace.slow_writes)
    left = end - start - writing
    parsing = max(0.0, min(left, answer.parsed))
    for name, seconds in (("parse", parsing), ("write", writing), ("deliver", left - parsing)):
        if seconds > LEAST_SECONDS:
            items.append(Item(name=name, start=start, seconds=seconds, parts=((name, seconds),)))
            start += seconds
    return items


def _overlap(start: float, end: float, after: float, before: float) -> float:
    return max(0.0, min(end, before) - max(start, after))


def _whole(mark: Mark, began: float) -> Item:
    return Item(name=mark.name, start=mark.start - began, seconds=mark.seconds, parts=((mark.name, mark.seconds),))


def _without_gaps(items: list[Item], total: float, first_gap: str) -> list[Item]:
    """`items`, with what lies between them as items of their own."""
    found: list[Item] = []
    cursor, name = 0.0, first_gap
    for item in items:
        if item.start - cursor > LEAST_SECONDS:
            found.append(Item(name=name, start=cursor, seconds=item.start - cursor, parts=((name, item.start - cursor),)))
            name = "other"
        found.append(item)
        cursor = item.start + item.seconds
    if total - cursor > LEAST_SECONDS:
        found.append(Item(name="other", start=cursor, seconds=total - cursor, parts=(("other", total - cursor),)))
    return found


def _merged(items: list[Item]) -> list[Item]:
    """`items`, of which those of one name that follow each other are one, such as what an engine told of and what it did since."""
    found: list[Item] = []
    for item in items:
        if found and found[-1].name == item.name:
            before = found.pop()
            parts = tuple(sums([before, item]).items())
            found.append(Item(name=item.name, start=before.start, seconds=before.seconds + item.seconds, parts=parts))
        else:
            found.append(item)
    return found
