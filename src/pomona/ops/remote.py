"""A server with OpenAI's API as a `Generator`: what `chat` and `generate` use when they find one, instead of loading a model themselves."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

import httpx

from pomona.core import errors
from pomona.core.generation import GenerateEvent, GenerateRequest, Started
from pomona.ops.remote_answer import RemoteAnswer, error_from, parsed
from pomona.ops.remote_request import request_body
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
        answer = RemoteAnswer()
        try:
            async with self._client.stream("POST", self._url + path, json=request_body(request), timeout=TIMEOUT) as response:
                if response.status_code != 200:
                    raise error_from(await response.aread(), response.status_code)
                yield Started(prompt_tokens=0)
                async with aclosing(payloads(response)) as chunks:
                    async for payload in chunks:
                        for event in answer.read(parsed(payload)):
                            yield event
        except httpx.ConnectError:
            raise errors.NotReady(f"No server answers at {self._url}. Start one with `pomona serve`.") from None
        except httpx.HTTPError as error:
            raise errors.EngineFailed(f"The connection to {self._url} broke: {error or type(error).__name__}. Try again.") from None
        for event in answer.finish():
            yield event

    async def models(self) -> list[str]:
        """Names that can be asked for, the default one first. Raises NotReady when no server answers."""
        try:
            response = await self._client.get(f"{self._url}/v1/models", timeout=5.0)
        except httpx.HTTPError:
            raise errors.NotReady(f"No server answers at {self._url}. Start one with `pomona serve`.") from None
        if response.status_code != 200:
            raise error_from(response.content, response.status_code)
        return [str(model["id"]) for model in cast("list[dict[str, Any]]", response.json()["data"])]
