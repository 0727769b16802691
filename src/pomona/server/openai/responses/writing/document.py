"""The response as an object: all that repeats the request is encoded once, the rest is added whenever it is shown."""

import time
from collections.abc import Mapping, Sequence

import msgspec

from pomona.core.errors import ContextOverflow, InvalidRequest, PomonaError, Quarantined, RateLimited
from pomona.core.generation import CacheReport, Finished, Usage
from pomona.server.openai.responses.reading.call import Call
from pomona.server.openai.responses.reading.context import to_json

Item = Mapping[str, object]
_json = msgspec.json.Encoder().encode
_MISSES: Mapping[str, str] = {
    "model_changed": "model_changed",
    "tools_changed": "tools_changed",
    "system_changed": "input_changed",
    "messages_changed": "input_changed",
}


class Document:
    """The response of one call, from queued to its end."""

    def __init__(self, call: Call, status: str) -> None:
        self._front = to_json({"id": call.id, "object": "response", "created_at": call.created, **call.echo})[:-1] + b","
        self.status = status
        self.output: list[Item] = []
        self._prewarm = call.prewarm
        self._error: Mapping[str, object] | None = None
        self._incomplete: Mapping[str, object] | None = None
        self._usage: Mapping[str, object] | None = None
        self._diagnostics: Mapping[str, object] | None = None
        self._completed_at: int | None = None

    def finish(self, event: Finished) -> None:
        """The generator came to its end."""
        cut = event.reason == "length" and not self._prewarm
        self.status = "incomplete" if cut else "completed"
        self._incomplete = {"reason": "max_output_tokens"} if cut else None
        self._completed_at = None if cut else int(time.time())
        self._usage = usage_of(event.usage, answered=not self._prewarm)
        self._diagnostics = None if event.cache is None else _diagnostics(event.cache, event.usage)

    def fail(self, error: Exception) -> None:
        """The generator failed."""
        self.status = "failed"
        self._error = {"code": _code(error), "message": error.message if isinstance(error, PomonaError) else _INTERNAL}

    def cancel(self) -> None:
        """The response was cancelled."""
        self.status = "cancelled"

    def encode(self) -> bytes:
        """The response as JSON, as it stands now."""
        changing = {
            "status": self.status,
            "completed_at": self._completed_at,
            "error": self._error,
            "incomplete_details": self._incomplete,
            "output": self.output,
            "usage": self._usage,
        }
        if self._diagnostics is not None:
            changing["prompt_cache_diagnostics"] = self._diagnostics
        return self._front + _json(changing)[1:]


def usage_of(usage: Usage, *, answered: bool = True) -> dict[str, object]:
    """Usage as the Responses API tells it."""
    output = usage.completion_tokens if answered else 0
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.prompt_tokens - usage.cached_tokens,
        },
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens if answered else 0},
        "total_tokens": usage.prompt_tokens + output,
    }


def encode_items(items: Sequence[Item]) -> bytes:
    """Items of an output as a JSON list."""
    return _json(items)


_INTERNAL = "Something went wrong inside the server. Its log has the details."


def _diagnostics(report: CacheReport, usage: Usage) -> dict[str, object]:
    if report.reason == "none":
        return {"type": "cache_hit"}
    if report.reason == "first_request":
        return {"type": "comparison_response_not_found"}
    if report.reason not in _MISSES:
        return {"type": "unavailable"}  # OpenAI has no word for pages that had to make room for others
    return {
        "type": "cache_miss",
        "reason": _MISSES[report.reason],
        "cache_missed_tokens": max(usage.prompt_tokens - report.shared_tokens, 0),
        "comparison_reusable_tokens": report.shared_tokens,
    }


def _code(error: Exception) -> str:
    """OpenAI's list of codes is closed, but for the one that Codex looks for."""
    match error:
        case ContextOverflow():
            return "context_length_exceeded"
        case InvalidRequest() | Quarantined():
            return "invalid_prompt"
        case RateLimited():
            return "rate_limit_exceeded"
        case _:
            return "server_error"
