"""Scripts for the generator double, in the words of these tests."""

from collections.abc import Mapping

from pomona.core.generation import (
    CacheReport,
    Finished,
    FinishReason,
    GenerateEvent,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
    Usage,
)
from tests.doubles import Script

JsonObject = Mapping[str, object]
USAGE = Usage(prompt_tokens=12, cached_tokens=8, completion_tokens=9, reasoning_tokens=4)


def said(*texts: str) -> list[GenerateEvent]:
    """Text, a piece at a time."""
    return [TextDelta(text=text) for text in texts]


def thought(*texts: str) -> list[GenerateEvent]:
    """A thought, a piece at a time."""
    return [ReasoningDelta(text=text) for text in texts]


def called(name: str, *arguments: str, index: int = 0, call_id: str = "", cut: bool = False) -> list[GenerateEvent]:
    """A call, its arguments a piece at a time."""
    known = call_id or f"call_{index}"
    ending: list[GenerateEvent] = [] if cut else [ToolCallFinished(index=index)]
    deltas = [ToolCallDelta(index=index, arguments=piece) for piece in arguments]
    return [ToolCallStarted(index=index, id=known, name=name), *deltas, *ending]


def script(*parts: list[GenerateEvent], reason: FinishReason = "stop", cache: CacheReport | None = None) -> Script:
    """A whole answer."""
    inside = [event for part in parts for event in part]
    return [Started(prompt_tokens=USAGE.prompt_tokens), *inside, Finished(reason=reason, usage=USAGE, cache=cache)]


def user(text: str) -> JsonObject:
    """A message of the user."""
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def function(name: str, **properties: object) -> JsonObject:
    """A function tool."""
    return {"type": "function", "name": name, "parameters": {"type": "object", "properties": properties}, "strict": None}
