"""The engine of a real server is killed or stopped in the middle of answers: on every wire, the text is the uninterrupted one."""

import asyncio
import json
import signal
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, cast

import httpx
import pytest

from tests.e2e.servers import MODEL, PATIENCE_SECONDS, Server, serving

STORY = "Tell me a very long story about a dog that could fly, and about all of its friends."
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": STORY}], "ignore_eos": True}
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {**CHAT, "max_tokens": 160, "temperature": 0, "logprobs": True, "top_logprobs": 2},
    "/v1/completions": {"prompt": "Once upon a time, there was a little dog", "max_tokens": 160, "seed": 1, "ignore_eos": True},
    "/v1/messages": {"messages": CHAT["messages"], "max_tokens": 160, "temperature": 1.0, "seed": 5},
    "/v1/responses": {"input": STORY, "max_output_tokens": 160, "temperature": 1.0, "seed": 5},
}
"""Greedy and sampled; those that cannot go on past the model's own end have seeds with long answers."""
HANG_SECONDS, READ_SECONDS = 4, 3
"""Clients of streams wait for less than an engine that hangs is silent: comments keep them."""
TOLERANCE = 1e-4
"""Of log-probabilities: another batch rounds differently."""


@dataclass(slots=True)
class Answer:
    """What must be the same, log-probabilities but for rounding, and how often a stream said that it lives."""

    pieces: list[Any]
    logprobs: list[float]
    comments: int = 0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    changes = ("--set", f"fleet.hang_seconds={HANG_SECONDS}", "--set", "server.keepalive_seconds=0.2")
    with serving(tmp_path_factory.mktemp("server"), *changes) as each:
        yield each


async def test_every_wire_goes_on_where_it_was(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE_SECONDS) as client:
        whole = await answers(client, server, None)
        for answer in whole:
            assert len(json.dumps(answer.pieces)) > 200
        for number in (signal.SIGKILL, signal.SIGSTOP):
            pid = server.engine().pid
            resumed = await answers(client, server, number)
            for got, expected in zip(resumed, whole, strict=True):
                assert got.pieces == expected.pieces
                assert got.logprobs == pytest.approx(expected.logprobs, abs=TOLERANCE)
            assert server.engine().pid != pid
        assert sum(len(answer.logprobs) for answer in whole) == 2 * 160 * 3
        assert all(answer.comments for answer in resumed[len(ASKED) :])
    assert server.metric("pomona_engine_restarts_total") == 2
    assert server.is_ready()


async def answers(client: httpx.AsyncClient, server: Server, number: signal.Signals | None) -> list[Answer]:
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


async def read_whole(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> Answer:
    answer = await client.post(path, json={"model": MODEL, **body})
    assert answer.status_code == 200, answer.text
    document = answer.json()
    usage = {key: value for key, value in document["usage"].items() if isinstance(value, int) and "cache" not in key}
    match path:
        case "/v1/chat/completions":
            choice = document["choices"][0]
            tokens, logprobs = read_logprobs(choice)
            return Answer([choice["message"]["content"], choice["finish_reason"], tokens, usage], logprobs)
        case "/v1/completions":
            return Answer([document["choices"], usage], [])
        case "/v1/messages":
            return Answer([document["content"], document["stop_reason"], usage], [])
        case _:
            return Answer([[part["content"] for part in document["output"]], document["status"], usage], [])


def read_logprobs(choice: dict[str, Any]) -> tuple[list[str], list[float]]:
    """Of a choice or a piece of one: tokens, and for each its own log-probability and those of the likeliest."""
    logprobs: dict[str, Any] = choice.get("logprobs") or {}
    scored: list[dict[str, Any]] = logprobs.get("content") or []
    values = [value for each in scored for value in (each["logprob"], *(top["logprob"] for top in each["top_logprobs"]))]
    return [each["token"] for each in scored], values


async def read_stream(client: httpx.AsyncClient, path: str, body: dict[str, Any], begun: asyncio.Event) -> Answer:
    """Text and log-probabilities, token by token put together again: how they came in pieces is of no interest."""
    text, tokens, ends = "", list[str](), list[Any]()
    got = Answer([], [])
    timeout = httpx.Timeout(PATIENCE_SECONDS, read=READ_SECONDS)
    async with client.stream("POST", path, json={"model": MODEL, "stream": True, **body}, timeout=timeout) as answer:
        async for line in answer.aiter_lines():
            got.comments += line in {": keepalive", "event: ping"}
            if not line.startswith("data: {"):
                continue
            event: dict[str, Any] = json.loads(line.removeprefix("data: "))
            assert "error" not in event, event
            choices: list[dict[str, Any]] = event.get("choices") or [{}]
            choice = choices[0]
            text += text_of(event, choice)
            new_tokens, new_logprobs = read_logprobs(choice)
            tokens += new_tokens
            got.logprobs += new_logprobs
            ends += [choice["finish_reason"]] if choice.get("finish_reason") else []
            if len(text) > 40:
                begun.set()
    got.pieces = [text, tokens, ends]
    return got


def text_of(event: dict[str, Any], choice: dict[str, Any]) -> str:
    """The piece of text that an event of any wire brings."""
    delta = event.get("delta")
    if isinstance(delta, str):
        return delta
    piece = cast("dict[str, Any]", delta or choice.get("delta") or {})
    return piece.get("text") or choice.get("text") or piece.get("content") or ""
