"""The engine of a real server is killed or stopped in the middle of answers: on every wire, the text is the uninterrupted one."""

import asyncio
import json
import signal
from collections.abc import AsyncGenerator, Generator
from typing import Any, cast

import httpx
import pytest

from tests.e2e.servers import MODEL, PATIENCE_SECONDS, Server, serving

STORY = "Tell me a very long story about a dog that could fly, and about all of its friends."
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": STORY}], "ignore_eos": True}
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {**CHAT, "max_tokens": 160, "temperature": 0, "logprobs": True, "top_logprobs": 2},
    "/v1/completions": {"prompt": "Once upon a time, there was a little dog", "max_tokens": 160, "seed": 1, "ignore_eos": True},
    "/v1/messages": {"messages": CHAT["messages"], "max_tokens": 160, "temperature": 1.0, "seed": 8},
    "/v1/responses": {"input": STORY, "max_output_tokens": 160, "temperature": 1.0, "seed": 8},
}
"""Greedy and sampled; those that cannot go on past the model's own end have seeds with long answers."""
Pieces = list[Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    changes = ("--set", "fleet.hang_seconds=2", "--set", "server.keepalive_seconds=0.2")
    with serving(tmp_path_factory.mktemp("server"), *changes) as each:
        yield each


async def test_every_wire_goes_on_where_it_was(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE_SECONDS) as client:
        whole = await answers(client, server, None)
        for answer in whole:
            assert len(json.dumps(answer)) > 200
        for number in (signal.SIGKILL, signal.SIGSTOP):
            pid = server.engine().pid
            for got, expected in zip(await answers(client, server, number), whole, strict=True):
                assert got == expected
            assert server.engine().pid != pid
    assert server.metric("pomona_engine_restarts_total") == 2
    assert server.is_ready()


async def answers(client: httpx.AsyncClient, server: Server, number: signal.Signals | None) -> list[Pieces]:
    """All wires at once, streamed and not. A signal hits the engine when all streams have begun."""
    begun = [asyncio.Event() for _ in ASKED]
    streams = [read_stream(client, path, body, event) for (path, body), event in zip(ASKED.items(), begun, strict=True)]
    wholes = [read_whole(client, path, body) for path, body in ASKED.items()]
    reading = [asyncio.ensure_future(each) for each in (*wholes, *streams)]
    if number is not None:
        await asyncio.gather(*(event.wait() for event in begun))
        assert server.metric("pomona_engine_running_rows") == len(reading)
        server.engine().send_signal(number)
    return await asyncio.gather(*reading)


async def read_whole(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> Pieces:
    answer = await client.post(path, json={"model": MODEL, **body})
    assert answer.status_code == 200, answer.text
    document = answer.json()
    usage = {key: value for key, value in document["usage"].items() if isinstance(value, int) and "cache" not in key}
    match path:
        case "/v1/chat/completions":  # another batch rounds differently, so log-probabilities are compared by their tokens
            choice = document["choices"][0]
            tokens = [each["token"] for each in choice["logprobs"]["content"]]
            return [choice["message"]["content"], choice["finish_reason"], tokens, usage]
        case "/v1/completions":
            return [document["choices"], usage]
        case "/v1/messages":
            return [document["content"], document["stop_reason"], usage]
        case _:
            return [[part["content"] for part in document["output"]], document["status"], usage]


async def read_stream(client: httpx.AsyncClient, path: str, body: dict[str, Any], begun: asyncio.Event) -> Pieces:
    """Text and log-probabilities, token by token put together again: how they came in pieces is of no interest."""
    text, logprobs, ends = "", list[Any](), list[Any]()
    async with client.stream("POST", path, json={"model": MODEL, "stream": True, **body}) as answer:
        async for event in events(answer):
            assert "error" not in event, event
            choice = cast("dict[str, Any]", (event.get("choices") or [{}])[0])
            delta = event.get("delta")
            piece = delta if isinstance(delta, str) else cast("dict[str, Any]", delta or choice.get("delta") or {}).get("text", "")
            text += cast("str", piece or choice.get("text") or choice.get("delta", {}).get("content") or "")
            logprobs += [each["token"] for each in cast("list[dict[str, Any]]", (choice.get("logprobs") or {}).get("content") or [])]
            ends += [choice["finish_reason"]] if choice.get("finish_reason") else []
            if len(text) > 40:
                begun.set()
    return [text, logprobs, ends]


async def events(answer: httpx.Response) -> AsyncGenerator[dict[str, Any]]:
    async for line in answer.aiter_lines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))
