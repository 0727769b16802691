"""Answers of every kind, as a generator makes them."""

from pomona.core.generation import (
    CacheReport,
    Finished,
    FinishReason,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
    Usage,
)
from tests.doubles import Script, answer


def thinking(*, prompt: int = 9) -> Script:
    """A thought, then text."""
    return [
        Started(prompt_tokens=prompt),
        ReasoningDelta(text="Let me"),
        ReasoningDelta(text=" see."),
        TextDelta(text="\n\n"),
        TextDelta(text="It is"),
        TextDelta(text=" 4."),
        finished("stop", prompt=prompt, completion=6, reasoning=3),
    ]


def calling() -> Script:
    """A thought, text, and two calls."""
    return [
        Started(prompt_tokens=9),
        ReasoningDelta(text="Files."),
        TextDelta(text="I read them."),
        TextDelta(text="\n"),
        ToolCallStarted(index=0, id="call_1", name="Read"),
        ToolCallDelta(index=0, arguments='{"path":'),
        ToolCallDelta(index=0, arguments='"a \\"b\\""}'),
        ToolCallFinished(index=0),
        ToolCallStarted(index=1, id="call_2", name="Stop"),
        ToolCallDelta(index=1, arguments="{}"),
        ToolCallFinished(index=1),
        finished("tool_calls", completion=20, reasoning=2),
    ]


def cut_call() -> Script:
    """An answer that ends within a call."""
    return [
        Started(prompt_tokens=9),
        ToolCallStarted(index=0, id="call_1", name="Write"),
        ToolCallDelta(index=0, arguments='{"path": "a", "lines": [1, 2], "text": "half a sen'),
        finished("length", completion=64),
    ]


def finished(
    reason: FinishReason, *, prompt: int = 9, completion: int = 2, reasoning: int = 0, cached: int = 0, cache: CacheReport | None = None
) -> Finished:
    """The last event."""
    usage = Usage(prompt_tokens=prompt, cached_tokens=cached, completion_tokens=completion, reasoning_tokens=reasoning)
    return Finished(reason=reason, usage=usage, cache=cache)


def stopped(stop: str) -> Script:
    """An answer that a stop sequence ended."""
    return [*answer("one")[:2], Finished(reason="stop", usage=Usage(prompt_tokens=3, completion_tokens=2), stop_sequence=stop)]
