"""The chunks of another server's stream as events."""

import json
from collections.abc import Mapping
from typing import Any, cast

from pomona.core import errors
from pomona.core.generation import (
    Finished,
    FinishReason,
    GenerateEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
    Usage,
)

Json = Mapping[str, Any]


class RemoteAnswer:
    """One answer while its chunks come in."""

    def __init__(self) -> None:
        self._reason: FinishReason | None = None
        self._usage = Usage()
        self._warnings: list[str] = []
        self._call: int | None = None
        """The index of the call that is open."""

    def read(self, chunk: Json) -> list[GenerateEvent]:
        """The events in one chunk."""
        if chunk.get("usage"):
            self._usage = read_usage(chunk["usage"])
        self._warnings += chunk.get("warnings") or []
        events: list[GenerateEvent] = []
        for choice in _list(chunk.get("choices")):
            self._reason = choice.get("finish_reason") or self._reason
            events += self._delta(choice.get("delta") or {})
            if text := choice.get("text"):
                events.append(TextDelta(text=text))
        return events

    def finish(self) -> list[GenerateEvent]:
        """The last events. Raises EngineFailed when the stream ended without a reason."""
        if self._reason is None:
            raise errors.EngineFailed("The answer broke off: the server closed the stream before its end. Try again.")
        ended = self._end_call() if self._reason != "length" else []
        return [*ended, Finished(reason=self._reason, usage=self._usage, warnings=tuple(self._warnings))]

    def _delta(self, delta: Json) -> list[GenerateEvent]:
        events: list[GenerateEvent] = []
        if thought := delta.get("reasoning_content") or delta.get("reasoning"):
            events.append(ReasoningDelta(text=thought))
        if text := delta.get("content"):
            events.append(TextDelta(text=text))
        for call in _list(delta.get("tool_calls")):
            events += self._call_delta(call)
        return events

    def _call_delta(self, call: Json) -> list[GenerateEvent]:
        index, function = int(call.get("index") or 0), cast("Json", call.get("function") or {})
        events: list[GenerateEvent] = []
        if index != self._call:
            events += self._end_call()
            self._call = index
            events.append(ToolCallStarted(index=index, id=call.get("id") or f"call_{index}", name=function.get("name") or ""))
        if arguments := function.get("arguments"):
            events.append(ToolCallDelta(index=index, arguments=arguments))
        return events

    def _end_call(self) -> list[GenerateEvent]:
        ended: list[GenerateEvent] = [] if self._call is None else [ToolCallFinished(index=self._call)]
        self._call = None
        return ended


def parsed(payload: bytes) -> Json:
    """One chunk. Raises the error that it may hold instead, and EngineFailed for what is no chunk."""
    try:
        chunk = json.loads(payload)
    except ValueError:
        chunk = None
    if not isinstance(chunk, dict):
        raise errors.EngineFailed(f"The server sent a chunk that is not JSON: {payload[:80]!r}.") from None
    if "error" in chunk:
        raise error_from(payload, 200)
    return cast("Json", chunk)


def error_from(document: bytes, status: int) -> errors.PomonaError:
    """The error in an OpenAI-shaped body, as the class of its code."""
    try:
        told = cast("dict[str, Any]", json.loads(document)["error"])
        code, message = str(told.get("code")), str(told["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return errors.EngineFailed(f"The server answered with status {status} and no reason. Is it an OpenAI-compatible server?")
    return errors.error_of(code, message)


def read_usage(told: Json) -> Usage:
    """OpenAI's usage object."""
    details = cast("Json", told.get("prompt_tokens_details") or {})
    thoughts = cast("Json", told.get("completion_tokens_details") or {})
    return Usage(
        prompt_tokens=int(told.get("prompt_tokens") or 0),
        cached_tokens=int(details.get("cached_tokens") or 0),
        picture_tokens=int(details.get("image_tokens") or 0),
        completion_tokens=int(told.get("completion_tokens") or 0),
        reasoning_tokens=int(thoughts.get("reasoning_tokens") or 0),
    )


def _list(found: object) -> list[Json]:
    return cast("list[Json]", found) if isinstance(found, list) else []
