"""The load generator against a server that is a function: what it sends, counts and reports."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from pomona.core.errors import NotReady
from pomona.ops.load.plan import Lengths, LoadPlan
from pomona.ops.load.prompts import PromptWriter
from pomona.ops.load.run import LoadRun, calibrate, run_load

WRITER = PromptWriter(tokens_per_word=1.0)


class Chunks(httpx.AsyncByteStream):
    """An answer of two texts; `stalls` never ends it."""

    def __init__(self, *, tokens: int, stalls: bool) -> None:
        self._tokens, self._stalls = tokens, stalls

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        for text in ("one", " two"):
            yield b"data: " + json.dumps({"choices": [{"index": 0, "text": text}]}).encode() + b"\n\n"
            await asyncio.sleep(0)
        if self._stalls:
            await asyncio.Event().wait()
        usage = {"prompt_tokens": 10, "completion_tokens": self._tokens}
        yield b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\ndata: [DONE]\n\n"


@dataclass(slots=True)
class Server:
    """Answers completions; refuses every third with 503 if `refusing`. Keeps the bodies it got."""

    refusing: bool = False
    stalls: bool = False
    bodies: list[dict[str, object]] = field(default_factory=list[dict[str, object]])

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.bodies.append(body)
        if self.refusing and len(self.bodies) % 3 == 0:
            return httpx.Response(503, json={"error": {"message": "full", "code": "overloaded"}})
        return httpx.Response(200, stream=Chunks(tokens=body["max_tokens"], stalls=self.stalls))


def ignore(_run: LoadRun) -> None:
    """Watch nothing."""


async def load(server: Server, **changes: Any) -> LoadRun:
    fields: dict[str, Any] = {"url": "http://x", "model": "m", "requests": 12, "output_tokens": Lengths.parse("4-9"), **changes}
    async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as client:
        return await run_load(LoadPlan(**fields), client, WRITER, ignore)


async def test_the_closed_loop_keeps_its_places_filled_and_no_more() -> None:
    server = Server()

    run = await load(server, concurrency=3)

    assert (len(run.outcomes), len(server.bodies), run.most_under_way, run.under_way) == (12, 12, 3, 0)
    assert all(outcome.problem is None for outcome in run.outcomes)
    assert [outcome.usage.completion_tokens for outcome in run.outcomes] == [outcome.call.output_tokens for outcome in run.outcomes]
    assert all(outcome.first is not None and len(outcome.gaps) == 1 for outcome in run.outcomes)


async def test_the_open_loop_sends_whatever_became_of_the_others() -> None:
    server = Server(stalls=True)

    run = await load(server, concurrency=None, rate=10_000.0, drain_seconds=0.0, seconds=0.2)

    assert len(server.bodies) == 12
    assert run.most_under_way == 12
    assert {outcome.problem for outcome in run.outcomes} == {"unfinished"}


async def test_bodies_ask_for_a_full_length_stream_with_usage() -> None:
    server = Server()

    await load(server, requests=1, prompt_tokens=Lengths.parse("20"))

    (body,) = server.bodies
    assert (body["model"], body["stream"], body["ignore_eos"], body["temperature"]) == ("m", True, True, 0.0)
    assert body["stream_options"] == {"include_usage": True}
    assert len(str(body["prompt"]).split()) == 20


async def test_failures_are_outcomes() -> None:
    run = await load(Server(refusing=True), concurrency=1)

    assert [outcome.problem for outcome in run.outcomes].count("overloaded") == 4
    assert sum(outcome.problem is None for outcome in run.outcomes) == 8


async def test_the_clock_ends_a_run_without_a_number_of_requests() -> None:
    times = iter(range(1000))
    async with httpx.AsyncClient(transport=httpx.MockTransport(Server())) as client:
        plan = LoadPlan(url="http://x", model="m", concurrency=1, seconds=30.0)
        run = await run_load(plan, client, WRITER, ignore, clock=lambda: float(next(times)))

    assert 1 <= len(run.outcomes) < 30


async def test_calibration_finds_tokens_per_word() -> None:
    def count(request: httpx.Request) -> httpx.Response:
        words = len(str(json.loads(request.content)["prompt"]).split())
        return httpx.Response(200, json={"usage": {"prompt_tokens": 3 + 2 * words}})

    async with httpx.AsyncClient(transport=httpx.MockTransport(count)) as client:
        writer = await calibrate(LoadPlan(url="http://x", model="m"), client)

    assert writer == PromptWriter(tokens_per_word=2.0, overhead=3.0)


async def test_calibration_needs_a_server() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(refuse)) as client:
        with pytest.raises(NotReady, match="http://x"):
            await calibrate(LoadPlan(url="http://x", model="m"), client)
