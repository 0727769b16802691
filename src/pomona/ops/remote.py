"""A server with OpenAI's API as a `Generator`: what `chat` and `generate` use when they find one, instead of loading a model themselves."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import fields
from typing import Any, cast

import httpx

from pomona.core import errors
from pomona.core.generation import Finished, FinishReason, GenerateEvent, GenerateRequest, SamplingParams, Started, TextDelta, Usage
from pomona.core.messages import Message
from pomona.ops.sse import payloads

# Reading waits for as long as a long prompt takes; a server that does not even accept is not there.
TIMEOUT = httpx.Timeout(connect=5.0, read=600.0, write=30.0, pool=5.0)


class RemoteGenerator:
    """Answers through `POST /v1/chat/completions` and `/v1/completions` of the server at `url`.

    One thing that the protocol promises it cannot keep: `Started.prompt_tokens` is 0, because the wire tells the number only at the end,
    in `Finished.usage`.
    """

    def __init__(self, url: str, *, client: httpx.AsyncClient) -> None:
        self._url = url.rstrip("/")
        self._client = client

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateEvent]:
        """Answer `request` as a stream of events. Raises PomonaError of the class that the server named, NotReady when there is none."""
        path = "/v1/chat/completions" if request.messages is not None else "/v1/completions"
        answer = _Answer()
        try:
            async with self._client.stream("POST", self._url + path, json=request_body(request), timeout=TIMEOUT) as response:
                if response.status_code != 200:
                    raise error_from(await response.aread(), response.status_code)
                yield Started(prompt_tokens=0)
                async with aclosing(payloads(response)) as chunks:
                    async for payload in chunks:
                        text = answer.read(payload)
                        if text:
                            yield TextDelta(text=text)
        except httpx.ConnectError:
            raise errors.NotReady(f"No server answers at {self._url}. Start one with `pomona serve`.") from None
        except httpx.HTTPError as error:
            raise errors.EngineFailed(f"The connection to {self._url} broke: {error or type(error).__name__}. Try again.") from None
        yield answer.finished()

    async def models(self) -> list[str]:
        """Names that can be asked for, the default one first. Raises NotReady when no server answers."""
        try:
            response = await self._client.get(f"{self._url}/v1/models", timeout=5.0)
        except httpx.HTTPError:
            raise errors.NotReady(f"No server answers at {self._url}. Start one with `pomona serve`.") from None
        if response.status_code != 200:
            raise error_from(response.content, response.status_code)
        return [str(model["id"]) for model in cast("list[dict[str, Any]]", response.json()["data"])]


def request_body(request: GenerateRequest) -> dict[str, object]:
    """The JSON body that asks for `request` as a stream. Only what differs from the defaults is sent, so that any server can read it."""
    plain = SamplingParams()
    sampling = {
        field.name: getattr(request.sampling, field.name)
        for field in fields(SamplingParams)
        if field.name not in {"logit_bias", "logprobs"} and getattr(request.sampling, field.name) != getattr(plain, field.name)
    }
    body: dict[str, object] = {"model": request.model, "stream": True, "stream_options": {"include_usage": True}, **sampling}
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    if request.stop:
        body["stop"] = list(request.stop)
    if request.ignore_eos:
        body["ignore_eos"] = True
    if request.messages is not None:
        return {**body, "messages": [_message(message) for message in request.messages]}
    return {**body, "prompt": request.text if request.text is not None else list(request.token_ids or ())}


def error_from(document: bytes, status: int) -> errors.PomonaError:
    """The error in an OpenAI-shaped body, as the class of its code."""
    try:
        told = cast("dict[str, Any]", json.loads(document)["error"])
        code, message = str(told.get("code")), str(told["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return errors.EngineFailed(f"The server answered with status {status} and no reason. Is it an OpenAI-compatible server?")
    return errors.error_of(code, message)


class _Answer:
    """One answer while its chunks come in."""

    def __init__(self) -> None:
        self._reason: FinishReason | None = None
        self._usage = Usage()

    def read(self, payload: bytes) -> str:
        """The text in one chunk. Raises the error that a chunk may hold instead."""
        try:
            chunk = cast("dict[str, Any]", json.loads(payload))
        except ValueError:
            raise errors.EngineFailed(f"The server sent a chunk that is not JSON: {payload[:80]!r}.") from None
        if "error" in chunk:
            raise error_from(payload, 200)
        if chunk.get("usage"):
            self._usage = read_usage(cast("dict[str, Any]", chunk["usage"]))
        for choice in cast("list[dict[str, Any]]", chunk.get("choices") or []):
            self._reason = choice.get("finish_reason") or self._reason
            delta = cast("dict[str, Any]", choice.get("delta") or {})
            return choice.get("text") or delta.get("content") or ""
        return ""

    def finished(self) -> Finished:
        """The last event. Raises EngineFailed when the stream ended without a reason."""
        if self._reason is None:
            raise errors.EngineFailed("The answer broke off: the server closed the stream before its end. Try again.")
        return Finished(reason=self._reason, usage=self._usage)


def read_usage(told: Mapping[str, Any]) -> Usage:
    """OpenAI's usage object."""
    details = cast("dict[str, Any]", told.get("prompt_tokens_details") or {})
    return Usage(
        prompt_tokens=int(told.get("prompt_tokens") or 0),
        cached_tokens=int(details.get("cached_tokens") or 0),
        completion_tokens=int(told.get("completion_tokens") or 0),
    )


def _message(message: Message) -> dict[str, object]:
    return {"role": message.role, "content": message.text}
