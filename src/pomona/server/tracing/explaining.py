"""What is told of a trace: a document for programs, lines for people, a header for clients."""

from collections.abc import Callable, Sequence

from pomona.core.metrics import Metrics
from pomona.core.tracing.marks import AnswerTrace, RequestTrace
from pomona.core.tracing.times import Delay
from pomona.server.tracing.dividing import Item, divide, last_answer, sums
from pomona.server.tracing.store import Kept
from pomona.server.tracing.words import PHASES, word_of

Document = dict[str, object]
OBSERVED = frozenset({"load", "template", "queue", "cache", "prefill", "behind", "decode", "stall", "put_back", "reader", "write"})
"""Phases with a metric."""
_WORTH_A_LINE = 0.05
"""Of the whole."""
_MOST_LINES = 6
_DIGITS = 6


def summarize(kept: Kept) -> Document:
    """A trace in a list."""
    trace, items = kept.trace, divide(kept.trace)
    longest = max(sums(items).items(), key=lambda entry: entry[1], default=("other", 0.0))
    return {
        **_identity(kept),
        "seconds": round(trace.end - trace.began, _DIGITS),
        "first_token_seconds": _first_token(trace),
        "prompt_tokens": kept.usage.prompt_tokens,
        "cached_tokens": kept.usage.cached_tokens,
        "completion_tokens": kept.usage.completion_tokens,
        "now": items[-1].name if trace.running and items else None,
        "longest": {"name": longest[0], "phase": word_of(longest[0]).phase, "seconds": round(longest[1], _DIGITS)},
    }


def explain(kept: Kept, request_of: Callable[[str], str]) -> Document:
    """All that is known of where the time of a request went. `request_of` finds the request of an answer's id."""
    trace, items = kept.trace, divide(kept.trace)
    total, answer = trace.end - trace.began, last_answer(trace)
    delays = _delays(answer, request_of)
    return {
        **_identity(kept),
        "caller": trace.caller or None,
        "status": trace.status,
        "trace_parent": trace.parent._asdict() if trace.parent else None,
        "seconds": round(total, _DIGITS),
        "first_byte_seconds": None if trace.first_byte is None else round(trace.first_byte - trace.began, _DIGITS),
        "first_token_seconds": _first_token(trace),
        "summary": summary_of(kept, items, delays),
        "phases": _phases(items, total),
        "timeline": [_item(item) for item in items],
        "delays": delays,
        "tokens": _tokens(kept, answer),
        "engine": _engine(answer),
        "beside": _beside(trace, answer),
        "answers": [_answer(each, trace) for each in trace.answers],
    }


def summary_of(kept: Kept, items: Sequence[Item], delays: Sequence[Document]) -> list[str]:
    """The largest things first, each with its seconds, in words."""
    total = kept.trace.end - kept.trace.began
    spent = sums(items)
    lines: list[tuple[float, str]] = []
    for name, seconds in spent.items():
        if seconds >= _WORTH_A_LINE * total:
            lines.append((seconds, _line(name, seconds, delays)))
    lines.sort(key=lambda line: -line[0])
    whole = _seconds(total)
    found = [f"{_seconds(seconds)} of {whole}: {text}" for seconds, text in lines[:_MOST_LINES]]
    return found + _remarks(kept)


def phase_seconds(trace: RequestTrace) -> dict[str, float]:
    """Seconds by phase, those that there were."""
    found: dict[str, float] = {}
    for name, seconds in sums(divide(trace)).items():
        phase = word_of(name).phase
        found[phase] = found.get(phase, 0.0) + seconds
    return found


def observe_in(metrics: Metrics) -> Callable[[Kept], None]:
    """Adds the phases of requests that are over to `metrics`."""

    def observe(kept: Kept) -> None:
        for phase, seconds in phase_seconds(kept.trace).items():
            if phase in OBSERVED:
                metrics.request_phase.labels(kept.model, phase).observe(seconds)

    return observe


def server_timing(trace: RequestTrace) -> str:
    """The header Server-Timing of an answer that is complete before it is sent; empty for all others."""
    if not trace.answers or any(answer.ended is None for answer in trace.answers):
        return ""
    spent = phase_seconds(trace)
    parts = [f"{phase};dur={1000 * spent[phase]:.1f}" for phase in PHASES if spent.get(phase, 0.0) >= 0.0001]
    return ", ".join([*parts, f"total;dur={1000 * (trace.clock() - trace.began):.1f}"])


def _identity(kept: Kept) -> Document:
    trace = kept.trace
    return {
        "id": trace.id,
        "answer_ids": [answer.id for answer in trace.answers] or [trace.call_id],
        "endpoint": trace.endpoint,
        "model": kept.model or None,
        "outcome": kept.outcome,
        "running": trace.running,
        "arrived_at": trace.arrived_at,
    }


def _first_token(trace: RequestTrace) -> float | None:
    firsts = [answer.first_at for answer in trace.answers if answer.first_at is not None]
    return round(min(firsts) - trace.began, _DIGITS) if firsts else None


def _phases(items: Sequence[Item], total: float) -> list[Document]:
    spent: dict[str, float] = {}
    for name, seconds in sums(items).items():
        spent[word_of(name).phase] = spent.get(word_of(name).phase, 0.0) + seconds
    return [
        {"name": phase, "seconds": round(spent[phase], _DIGITS), "share": round(spent[phase] / total, 4) if total else 0.0}
        for phase in PHASES
        if phase in spent
    ]


def _item(item: Item) -> Document:
    return {
        "name": item.name,
        "phase": word_of(item.name).phase,
        "text": word_of(item.name).text,
        "start": round(item.start, _DIGITS),
        "seconds": round(item.seconds, _DIGITS),
        "parts": [{"name": name, "phase": word_of(name).phase, "seconds": round(seconds, _DIGITS)} for name, seconds in item.parts],
    }


def _delays(answer: AnswerTrace | None, request_of: Callable[[str], str]) -> list[Document]:
    found: dict[tuple[str, bool], Delay] = {}
    for times, _ in answer.lives if answer else ():
        for delay in times.delays:
            known = found.get((delay.by, delay.decoding))
            seconds, tokens = (known.seconds, known.tokens) if known else (0.0, 0)
            merged = Delay(by=delay.by, seconds=seconds + delay.seconds, tokens=tokens + delay.tokens, decoding=delay.decoding)
            found[delay.by, delay.decoding] = merged
    return [
        {
            "kind": "stall" if delay.decoding else "behind",
            "request": request_of(delay.by) if delay.by else None,
            "answer": delay.by or None,
            "seconds": round(delay.seconds, _DIGITS),
            "tokens": delay.tokens,
        }
        for delay in sorted(found.values(), key=lambda delay: -delay.seconds)
    ]


def _tokens(kept: Kept, answer: AnswerTrace | None) -> Document:
    usage, lives = kept.usage, answer.lives if answer else []
    return {
        "prompt": usage.prompt_tokens,
        "cached": usage.cached_tokens,
        "cached_from_disk": max((times.disk_tokens for times, _ in lives), default=0),
        "computed": sum(times.prefill_tokens for times, _ in lives),
        "completion": usage.completion_tokens,
        "guessed": usage.drafted_tokens,
        "guessed_right": usage.accepted_tokens,
    }


def _engine(answer: AnswerTrace | None) -> Document | None:
    """The work of the device; of `decode_share` each pass counts by the rows that shared it."""
    if answer is None or not answer.lives:
        return None
    lives = [times for times, _ in answer.lives]
    spans = [span for times in lives for span in times.spans]
    return {
        "prefill_passes": sum(times.prefill_passes for times in lives),
        "prefill_seconds": round(sum(span.own for span in spans if span.name == "prefill"), _DIGITS),
        "decode_passes": sum(times.decode_passes for times in lives),
        "decode_seconds": round(sum(span.own for span in spans if span.name == "decode"), _DIGITS),
        "decode_share_seconds": round(sum(times.decode_share for times in lives), _DIGITS),
        "resumed": len(lives) - 1,
    }


def _beside(trace: RequestTrace, answer: AnswerTrace | None) -> Document:
    """The gateway's work, most of it while the engine worked too."""
    written = min(trace.written, answer.handed) if answer else 0.0
    return {
        "parse_seconds": round(answer.parsed, _DIGITS) if answer else 0.0,
        "encode_seconds": round(answer.handed - written, _DIGITS) if answer else 0.0,
        "write_seconds": round(trace.written, _DIGITS),
    }


def _answer(answer: AnswerTrace, trace: RequestTrace) -> Document:
    end = answer.clock() if answer.ended is None else answer.ended
    return {
        "id": answer.id,
        "joined": answer.joined,
        "start": round(answer.began - trace.began, _DIGITS),
        "seconds": round(end - answer.began, _DIGITS),
    }


def _line(name: str, seconds: float, delays: Sequence[Document]) -> str:
    kind = name if name in {"behind", "stall"} else None
    named = [delay for delay in delays if delay["kind"] == kind and delay["request"]]
    if not named:
        return word_of(name).text
    largest = named[0]
    share, tokens = float(str(largest["seconds"])), f"{largest['tokens']:,} tokens"
    how = "waited behind" if kind == "behind" else "stalled between tokens by"
    if share >= 0.95 * seconds:
        return f"{how} the prompt of {largest['request']} ({tokens})"
    return f"{how} the prompts of others, {_seconds(share)} of it by {largest['request']} ({tokens})"


def _remarks(kept: Kept) -> list[str]:
    usage, answer = kept.usage, last_answer(kept.trace)
    found: list[str] = []
    if usage.cached_tokens:
        found.append(f"{usage.cached_tokens:,} of {usage.prompt_tokens:,} prompt tokens came out of the cache")
    if answer and len(answer.lives) > 1:
        found.append(f"the engine died while it answered; another went on{_times(len(answer.lives) - 1)}")
    if answer and answer.joined:
        found.append(f"sent again: it joined the answer {answer.joined}, which ran already")
    if kept.outcome not in {"ok", "running"}:
        found.append(f"ended with: {kept.outcome}")
    return found


def _times(deaths: int) -> str:
    return "" if deaths == 1 else f" ({deaths} times)"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms" if seconds >= 0.01 else f"{1000 * seconds:.1f} ms"
