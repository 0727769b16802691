"""Server-sent events from the outside: the `data:` payloads of a response, as they come."""

from collections.abc import AsyncGenerator

import httpx

DONE = b"[DONE]"


async def payloads(response: httpx.Response) -> AsyncGenerator[bytes]:
    """Payloads up to `[DONE]`; comments and other fields are skipped. Only single-line data, as OpenAI-compatible servers send."""
    pending = b""
    async for piece in response.aiter_raw():
        *lines, pending = (pending + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                payload = line[5:].strip()
                if payload == DONE:
                    return
                yield payload
