"""Completions streamed over HTTP with as little client as possible, so that the server's time is measured and not ours.

Owns: one raw HTTP/1.1 request per row, reading its events. Does not own: whose server it is. Start reading at `stream_all`.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from urllib.parse import urlsplit

from benchmarks.peers import Result, Stopwatch, Task

PATIENCE_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where completions are asked for, and of which model."""

    host: str
    port: int
    path: str
    model: str


def stream_all(url: str, task: Task) -> Result:
    """All rows of `task` at once. The fragment of `url` names the model. Raises RuntimeError when an answer is not complete."""
    parts = urlsplit(url)
    endpoint = Endpoint(host=parts.hostname or "127.0.0.1", port=parts.port or 80, path=parts.path, model=parts.fragment)
    return asyncio.run(_stream_all(endpoint, task))


async def _stream_all(endpoint: Endpoint, task: Task) -> Result:
    watch = Stopwatch()
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        for row, text in enumerate(task.texts):
            group.create_task(_stream(endpoint, _body(endpoint, text, task.new_tokens), row, watch))
    result = watch.result()
    expected = len(task.texts) * task.new_tokens
    if result.tokens != expected:
        raise RuntimeError(f"The server reported {result.tokens!r} tokens where {expected!r} were asked for.")
    return result


def _body(endpoint: Endpoint, text: str, new_tokens: int) -> bytes:
    options = {"max_tokens": new_tokens, "temperature": 0.0, "stream": True, "stream_options": {"include_usage": True}}
    return json.dumps({"model": endpoint.model, "prompt": text, **options}).encode()


async def _stream(endpoint: Endpoint, body: bytes, row: int, watch: Stopwatch) -> None:
    """The first text counts as one token; the rest are counted at the end, from the server's own usage."""
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    head = (
        f"POST {endpoint.path} HTTP/1.1\r\nHost: {endpoint.host}:{endpoint.port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    started, completed = False, 0
    async for line in _lines(reader):
        if not line.startswith(b"data: {"):
            continue
        if started and b'"completion_tokens"' not in line:
            continue
        event = json.loads(line.removeprefix(b"data: "))
        if not started and any(choice.get("text") for choice in event.get("choices") or ()):
            started = True
            watch.count(row)
        completed = int((event.get("usage") or {}).get("completion_tokens") or completed)
    watch.count(row, completed - started)
    writer.close()
    await writer.wait_closed()


async def _lines(reader: asyncio.StreamReader) -> AsyncGenerator[bytes]:
    """The lines of the response's body, chunked or not."""
    status = await reader.readline()
    headers = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b" 200 " not in status:
        raise RuntimeError(f"The server answered {status!r}: {(await reader.read(2000))!r}")
    rest = b""
    async for part in _chunks(reader) if b"transfer-encoding: chunked" in headers else _rest(reader):
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line
    yield rest


async def _chunks(reader: asyncio.StreamReader) -> AsyncGenerator[bytes]:
    while size := int(await reader.readline(), 16):
        yield (await reader.readexactly(size + 2))[:-2]


async def _rest(reader: asyncio.StreamReader) -> AsyncGenerator[bytes]:
    while part := await reader.read(65536):
        yield part
