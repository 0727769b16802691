"""From events to OpenAI's bytes: whole answers, and the chunks of streams with all that repeats prepared once."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

import pomona
from pomona.core.errors import Cancelled
from pomona.core.generation import Finished, GenerateEvent, Started, TextDelta, TokenText, Usage
from pomona.server.openai.decode import Call

FINGERPRINT = f"pomona-{pomona.__version__}"
DONE = b"data: [DONE]\n\n"
Events = AsyncGenerator[tuple[int, GenerateEvent]]
_LEAST_LOGPROB = -9999.0  # what OpenAI sends for minus infinity, which JSON cannot say
_json = msgspec.json.Encoder().encode


class Chunks(Protocol):
    """The chunks of one endpoint's stream, as complete server-sent events."""

    def opening(self, index: int) -> bytes:
        """What choice `index` begins with; may be empty."""
        ...

    def delta(self, index: int, event: TextDelta) -> bytes:
        """More of choice `index`."""
        ...

    def closing(self, index: int, reason: str) -> bytes:
        """The last chunk of choice `index`."""
        ...


async def stream_answer(call: Call, chunks: Chunks, events: Events) -> AsyncGenerator[bytes]:
    """The events of all choices as server-sent events: opening, deltas, closing, usage where asked for, [DONE]."""
    tally = _Tally(call)
    async with aclosing(events):
        async for index, event in events:
            match event:
                case TextDelta():
                    if event.text or event.logprobs:
                        yield chunks.delta(index, event)
                case Started():
                    yield chunks.opening(index)
                case Finished():
                    tally.add(index, event)
                    yield chunks.closing(index, event.reason)
                case _:
                    pass
    if call.include_usage:
        yield _usage_chunk(call, tally)
    yield DONE


async def whole_answer(call: Call, events: Events) -> bytes:
    """The events of all choices as one JSON object."""
    tally = _Tally(call)
    collected = [_Collected() for _ in call.requests]
    async with aclosing(events):
        async for index, event in events:
            match event:
                case TextDelta():
                    collected[index].text.append(event.text)
                    collected[index].logprobs.extend(event.logprobs)
                case Finished():
                    tally.add(index, event)
                    collected[index].reason = event.reason
                case _:
                    pass
    chat = _is_chat(call)
    choice = _chat_choice if chat else _completion_choice
    choices = [choice(call, index, each) for index, each in enumerate(collected)]
    return _json({**_head(call, "chat.completion" if chat else "text_completion"), "choices": choices, "usage": tally.usage()})


class ChatChunks:
    """Chunks of /v1/chat/completions: a first one with the role, deltas, and an empty one with the reason of the end."""

    def __init__(self, call: Call) -> None:
        head = _json(_head(call, "chat.completion.chunk"))[:-1]
        self._fronts = [b"data: " + head + b',"choices":[{"index":%d,"delta":' % index for index in range(len(call.requests))]
        self._end = b'],"usage":null}\n\n' if call.include_usage else b"]}\n\n"
        self._plain_end = b'},"logprobs":null,"finish_reason":null}' + self._end

    def opening(self, index: int) -> bytes:
        """The role, and empty content."""
        return self._fronts[index] + b'{"role":"assistant","content":""' + self._plain_end

    def delta(self, index: int, event: TextDelta) -> bytes:
        """More content."""
        front = self._fronts[index] + b'{"content":' + _json(event.text)
        if not event.logprobs:
            return front + self._plain_end
        return front + b'},"logprobs":' + _json(_chat_logprobs(event.logprobs)) + b',"finish_reason":null}' + self._end

    def closing(self, index: int, reason: str) -> bytes:
        """An empty delta with the reason."""
        return self._fronts[index] + b'{},"logprobs":null,"finish_reason":' + _json(reason) + b"}" + self._end


class CompletionChunks:
    """Chunks of /v1/completions: texts, and an empty one with the reason of the end."""

    def __init__(self, call: Call) -> None:
        head = _json(_head(call, "text_completion"))[:-1]
        self._fronts = [b"data: " + head + b',"choices":[{"index":%d,"text":' % index for index in range(len(call.requests))]
        self._end = b'],"usage":null}\n\n' if call.include_usage else b"]}\n\n"
        self._plain_end = b',"logprobs":null,"finish_reason":null}' + self._end
        self._echoes = [request.text or "" if call.echo else "" for request in call.requests]
        self._offsets = [0] * len(call.requests)

    def opening(self, index: int) -> bytes:
        """The prompt, where it is to be repeated."""
        return self._fronts[index] + _json(self._echoes[index]) + self._plain_end if self._echoes[index] else b""

    def delta(self, index: int, event: TextDelta) -> bytes:
        """More text."""
        front = self._fronts[index] + _json(event.text)
        if not event.logprobs:
            return front + self._plain_end
        logprobs = _completion_logprobs(event.logprobs, self._offsets[index])
        self._offsets[index] += sum(map(_characters_begun, event.logprobs))
        return front + b',"logprobs":' + _json(logprobs) + b',"finish_reason":null}' + self._end

    def closing(self, index: int, reason: str) -> bytes:
        """Empty text with the reason."""
        return self._fronts[index] + b'"","logprobs":null,"finish_reason":' + _json(reason) + b"}" + self._end


@dataclass(slots=True)
class _Collected:
    """One choice while it grows."""

    text: list[str] = field(default_factory=list[str])
    logprobs: list[TokenText] = field(default_factory=list[TokenText])
    reason: str = "stop"


class _Tally:
    """Usage over all choices. Prompts count once each, however many copies of an answer they get, as OpenAI does."""

    def __init__(self, call: Call) -> None:
        self._copies = call.copies
        self._by_index: dict[int, Usage] = {}

    def add(self, index: int, event: Finished) -> None:
        if event.reason == "cancelled":
            raise Cancelled("The answer was stopped before its end. Send the request again.")
        self._by_index[index] = event.usage

    def usage(self) -> Mapping[str, object]:
        prompts = self._prompts()
        prompt_tokens = sum(usage.prompt_tokens for usage, _ in prompts)
        completion_tokens = sum(usage.completion_tokens for usage in self._by_index.values())
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": sum(cached for _, cached in prompts)},
        }

    def _prompts(self) -> list[tuple[Usage, int]]:
        """Usage of each prompt, and how much of it no copy had to compute."""
        groups: dict[int, list[Usage]] = {}
        for index, usage in self._by_index.items():
            groups.setdefault(index // self._copies, []).append(usage)
        return [(group[0], min(usage.cached_tokens for usage in group)) for group in groups.values()]


def _is_chat(call: Call) -> bool:
    return call.requests[0].messages is not None


def _head(call: Call, kind: str) -> dict[str, object]:
    return {"id": call.id, "object": kind, "created": call.created, "model": call.model, "system_fingerprint": FINGERPRINT}


def _usage_chunk(call: Call, tally: _Tally) -> bytes:
    head = _head(call, "chat.completion.chunk" if _is_chat(call) else "text_completion")
    return b"data: " + _json({**head, "choices": [], "usage": tally.usage()}) + b"\n\n"


def _chat_choice(call: Call, index: int, collected: _Collected) -> Mapping[str, object]:
    return {
        "index": index,
        "message": {"role": "assistant", "content": "".join(collected.text), "refusal": None},
        "logprobs": _chat_logprobs(collected.logprobs) if call.logprobs else None,
        "finish_reason": collected.reason,
    }


def _completion_choice(call: Call, index: int, collected: _Collected) -> Mapping[str, object]:
    echo = (call.requests[index].text or "") if call.echo else ""
    return {
        "index": index,
        "text": echo + "".join(collected.text),
        "logprobs": _completion_logprobs(collected.logprobs, 0) if call.logprobs else None,
        "finish_reason": collected.reason,
    }


def _chat_logprobs(tokens: list[TokenText] | tuple[TokenText, ...]) -> Mapping[str, object]:
    content = [{**_chat_token(token), "top_logprobs": [_chat_token(other) for other in token.top]} for token in tokens]
    return {"content": content, "refusal": None}


def _chat_token(token: TokenText) -> dict[str, object]:
    return {"token": token.text, "logprob": max(token.logprob, _LEAST_LOGPROB), "bytes": list(token.bytes)}


def _completion_logprobs(tokens: list[TokenText] | tuple[TokenText, ...], offset: int) -> Mapping[str, object]:
    offsets: list[int] = []
    for token in tokens:
        offsets.append(offset)
        offset += _characters_begun(token)
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [max(token.logprob, _LEAST_LOGPROB) for token in tokens],
        "top_logprobs": [{other.text: max(other.logprob, _LEAST_LOGPROB) for other in token.top} for token in tokens],
        "text_offset": offsets,
    }


def _characters_begun(token: TokenText) -> int:
    """Characters whose first UTF-8 byte is in `token`: counted so, tokens that hold parts of one character add up."""
    return sum(byte & 0xC0 != 0x80 for byte in token.bytes)
