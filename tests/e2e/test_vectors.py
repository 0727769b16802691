"""Embeddings from a real server: engines that are killed, clients that leave, and chat beside them."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import mlx.core as mx
import psutil
import pytest

from pomona.models.cpu.expansion import flat_parameters
from pomona.models.encoders.bert import Bert
from pomona.models.encoders.operations import Operations
from tests.e2e.many_models import BUDGET_FOR_TWO
from tests.e2e.servers import MODEL, PATIENCE_SECONDS, Server, serving, wait_until
from tests.golden.encoder_cases import CONFIGS, ENCODERS

QUICK, SLOW = "quick-bert", "slow-bert"
LONG = [" ".join(str((place * 7 + row) % 100 + 3) for place in range(94)) for row in range(2048)]
"""Texts that keep `SLOW` busy for tens of seconds."""
SOME = LONG[:128]
LEAST_STEPS = 2048 * 94 // 1024
"""Passes that all of them take."""
SAME = 1e-5


def write_models(folder: Path) -> Path:
    """A tiny BERT, and one of many numbers that are random."""
    shutil.copytree(ENCODERS / "bert", folder / QUICK)
    shutil.copytree(ENCODERS / "bert", folder / SLOW)
    config = {**CONFIGS["bert"], "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 4, "num_attention_heads": 12}
    (folder / SLOW / "config.json").write_text(json.dumps(config))
    mx.save_safetensors(str(folder / SLOW / "model.safetensors"), dict(flat_parameters(Bert(config, Operations(), scores=False))))
    return folder


def serve(folder: Path, *options: str) -> Any:
    models = write_models(folder / "models")
    return serving(folder, "--set", f'models.folders=["{models}"]', *options)


async def embed(client: httpx.AsyncClient, model: str, texts: list[str], **fields: object) -> httpx.Response:
    return await client.post("/v1/embeddings", json={"model": model, "input": texts, **fields})


def asking(server: Server) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, timeout=PATIENCE_SECONDS)


def engines(server: Server) -> list[psutil.Process]:
    return server.engines()


def seconds_of_work(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


async def started(
    server: Server, client: httpx.AsyncClient, texts: list[str] = LONG
) -> tuple[psutil.Process, "asyncio.Task[httpx.Response]"]:
    """The engine of `SLOW`, and a request that it works on."""
    others = {each.pid for each in engines(server)}
    assert (await embed(client, SLOW, ["5 6"])).status_code == 200
    [engine] = [each for each in engines(server) if each.pid not in others]
    before = seconds_of_work(engine)
    request = asyncio.ensure_future(embed(client, SLOW, texts))
    await asyncio.to_thread(wait_until, lambda: seconds_of_work(engine) > before + 0.5)
    return engine, request


async def test_a_request_whose_engine_is_killed_is_made_in_the_next_one(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        async with asking(server) as client:
            engine, request = await started(server, client, SOME)
            engine.kill()
            answer = await request
            assert answer.status_code == 200, answer.text
            assert engine.pid not in {each.pid for each in engines(server)}
            again = (await embed(client, SLOW, SOME)).json()["data"]
            for one, other in zip(answer.json()["data"], again, strict=True):
                assert one["embedding"] == pytest.approx(other["embedding"], abs=SAME)


async def test_the_work_of_a_client_that_leaves_is_dropped(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        async with asking(server) as client:
            engine, request = await started(server, client)
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
            assert (await embed(client, SLOW, ["5 6"])).status_code == 200
            await asyncio.to_thread(wait_until, lambda: rests(engine))
        assert engine.is_running()
        assert server.metric("pomona_engine_steps", SLOW) < LEAST_STEPS


def rests(process: psutil.Process) -> bool:
    """It hardly works for a moment: signs of life cost next to nothing."""
    return process.cpu_percent(interval=0.5) < 10


async def test_embeddings_and_chat_at_the_same_time_within_one_budget(tmp_path: Path) -> None:
    with serve(tmp_path, *BUDGET_FOR_TWO) as server:
        async with asking(server) as client, server.client() as official:
            texts = [f"{number} 7 9" for number in range(3, 103)]
            alone = (await embed(client, QUICK, texts[:1])).json()["data"][0]["embedding"]

            async def chat(number: int) -> int:
                answer = await official.chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": f"Say {number}"}], max_tokens=20
                )
                return answer.usage.completion_tokens if answer.usage else 0

            chats = asyncio.gather(*(chat(number) for number in range(12)))
            vectors = await asyncio.gather(*(embed(client, QUICK, texts) for _ in range(12)))
            assert all(tokens > 0 for tokens in await chats)
            assert {answer.status_code for answer in vectors} == {200}
            first = [answer.json()["data"][0]["embedding"] for answer in vectors]
            assert max(abs(a - b) for each in first for a, b in zip(each, alone, strict=True)) < SAME
            memory = (await client.get(f"{server.admin_url}/admin/memory")).json()
        assert len(engines(server)) == 2
        assert memory["planned_bytes"] <= memory["budget_bytes"]


async def test_keep_alive_0_lets_go_of_the_model(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        async with asking(server) as client:
            assert (await embed(client, QUICK, ["5"], keep_alive=0)).status_code == 200
        wait_until(lambda: len(engines(server)) == 1)
