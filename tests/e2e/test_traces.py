"""Where the time of real requests went, told by a real server."""

import asyncio
from collections.abc import Generator, Mapping
from typing import Any

import httpx
import pytest

from tests.e2e.servers import MODEL, PATIENCE_SECONDS, Server, serving

LONG = "Apples, pears and plums grow on trees. " * 30
Json = dict[str, Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as each:
        yield each


def chat(text: str, max_tokens: int, **fields: object) -> Json:
    said = [{"role": "user", "content": text}]
    return {"model": MODEL, "messages": said, "max_tokens": max_tokens, "ignore_eos": True, "temperature": 0, **fields}


async def stream(client: httpx.AsyncClient, server: Server, id: str, body: Json, midway: "asyncio.Event | None" = None) -> int:
    """A stream to its end; `midway` is set after its first pieces."""
    pieces = 0
    headers = {"x-request-id": id}
    async with client.stream("POST", f"{server.url}/v1/chat/completions", json={**body, "stream": True}, headers=headers) as response:
        async for line in response.aiter_lines():
            pieces += line.startswith("data: ")
            if pieces == 4 and midway:
                midway.set()
    return pieces


def explained(server: Server, id: str) -> Json:
    """The trace of a request that is over: its seconds are all accounted for."""
    document: Json = httpx.get(f"{server.admin_url}/admin/requests/{id}/explain").json()
    assert document["running"] is False
    spent = seconds(document)
    assert sum(spent.values()) == pytest.approx(document["seconds"], abs=1e-4)
    assert spent.get("other", 0.0) < 0.1 * document["seconds"]
    ends = [0.0, *(item["start"] + item["seconds"] for item in document["timeline"])]
    assert [item["start"] for item in document["timeline"]] == pytest.approx(ends[:-1], abs=1e-4)
    return document


def seconds(document: Json) -> Mapping[str, float]:
    return {phase["name"]: phase["seconds"] for phase in document["phases"]}


async def test_a_stream_beside_a_long_prompt_knows_who_stalled_it(server: Server) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
        midway = asyncio.Event()
        short = asyncio.ensure_future(stream(client, server, "short", chat("Count.", 300), midway))
        await midway.wait()
        await client.post(f"{server.url}/v1/chat/completions", json=chat(LONG, 2), headers={"x-request-id": "long"})
        await short
    stalled, long = explained(server, "short"), explained(server, "long")
    [delay] = [delay for delay in stalled["delays"] if delay["kind"] == "stall"]
    assert (delay["request"], delay["answer"]) == ("long", long["answer_ids"][0])
    assert long["tokens"]["computed"] == long["tokens"]["prompt"] - 1
    assert 0 < delay["tokens"] <= long["tokens"]["computed"]  # fewer where the stream ends before the prompt does
    assert delay["seconds"] == pytest.approx(seconds(stalled)["stall"], abs=1e-4)
    assert 0 < delay["seconds"] <= 1.01 * seconds(long)["prefill"]
    assert {"receive", "template", "prefill", "decode"} <= seconds(long).keys()
    assert stalled["engine"]["decode_passes"] + stalled["tokens"]["guessed_right"] >= 300


async def test_the_second_time_its_prompt_comes_out_of_the_cache(server: Server) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
        body = chat("Peaches and cherries. " * 40, 2)
        for id in ("cold", "warm"):
            await client.post(f"{server.url}/v1/chat/completions", json=body, headers={"x-request-id": id})
    cold, warm = explained(server, "cold"), explained(server, "warm")
    assert warm["tokens"]["cached"] > 0.8 * warm["tokens"]["prompt"]
    assert warm["tokens"]["computed"] < 0.2 * cold["tokens"]["computed"]
    assert any("came out of the cache" in line for line in warm["summary"])


async def test_an_answer_that_outlived_its_engine_says_so(server: Server) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
        midway = asyncio.Event()
        reading = asyncio.ensure_future(stream(client, server, "survivor", chat("Go on.", 150), midway))
        await midway.wait()
        server.engine().kill()
        await reading
    document = explained(server, "survivor")
    assert (document["outcome"], document["engine"]["resumed"]) == ("ok", 1)
    assert seconds(document)["restart"] > 0
    assert any("the engine died" in line for line in document["summary"])


async def test_a_client_that_leaves_is_traced_up_to_there(server: Server) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
        midway = asyncio.Event()
        reading = asyncio.ensure_future(stream(client, server, "left", chat("Stay.", 400), midway))
        await midway.wait()
        reading.cancel()
        await asyncio.wait([reading])
        found: Json = {"running": True}
        while found["running"]:
            found = (await client.get(f"{server.admin_url}/admin/requests/left/explain")).json()
    assert explained(server, "left")["outcome"] == "cancelled"
