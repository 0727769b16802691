"""One engine process and its client: streams, failures, slow readers, and what is left behind."""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from pomona.core.errors import Cancelled, ContextOverflow, EngineFailed, ModelUnusable
from pomona.core.settings import FleetSettings
from pomona.fleet.process.client import EngineClient
from pomona.fleet.process.endpoint import PREFIX
from tests.e2e.counting_engine import ABORT, CRASH, HANG, REFUSE
from tests.e2e.engines import ENDLESS, PATIENCE_SECONDS, QUICK, begin, prompt, read, spawn, started, until


@pytest.fixture
async def client() -> AsyncGenerator[EngineClient]:
    async with started() as each:
        yield each


async def test_a_stream_brings_every_token_once_and_in_order(client: EngineClient) -> None:
    assert await read(client, prompt(max_tokens=1000)) == list(range(3, 1003))


async def test_many_streams_do_not_mix(client: EngineClient) -> None:
    prompts = [prompt(f"row-{n}", *range(1, n + 2), max_tokens=50 + n) for n in range(40)]
    answers = await asyncio.gather(*(read(client, each) for each in prompts))
    assert answers == [list(range(n + 1, n + 51 + n)) for n in range(40)]


async def test_closing_a_stream_frees_its_row(client: EngineClient) -> None:
    async with aclosing(client.stream(prompt(max_tokens=ENDLESS))) as stream:
        await begin(stream)
        await until(lambda: client.stats.pages_used == 1)
    await until(lambda: client.stats.pages_used == 0)


def has_ended(pid: int) -> bool:
    """Another thread may clear it away at any moment."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_who_asks_a_dead_engine_before_that_is_known_hears_of_its_death(client: EngineClient) -> None:
    os.kill(client.pid, signal.SIGKILL)
    while not has_ended(client.pid):
        pass  # this loop has no turn in which it could hear of it
    asked = [asyncio.ensure_future(read(client, prompt(f"row-{number}"))) for number in range(20)]
    for each in asked:
        with pytest.raises(EngineFailed, match="SIGKILL"):
            await each


async def test_a_slow_reader_stops_its_row_and_loses_nothing() -> None:
    async with started(QUICK.model_copy(update={"reader_high_water": 8})) as client:
        async with aclosing(client.stream(prompt(max_tokens=ENDLESS))) as stream:
            seen = list((await begin(stream)).token_ids)
            await until(lambda: client.stats.waiting == 1)  # the row is paused
            assert await read(client, prompt("quick", max_tokens=100)) == list(range(3, 103))
            while len(seen) < 500:
                seen += (await begin(stream)).token_ids
        assert seen == list(range(3, 3 + len(seen)))


async def test_a_refused_prompt_raises_what_the_engine_said(client: EngineClient) -> None:
    with pytest.raises(ContextOverflow, match="2 tokens is too long"):
        await read(client, prompt("row", 1, REFUSE))
    assert await read(client, prompt()) == [3, 4, 5, 6, 7]


async def test_an_id_can_be_used_again_at_once(client: EngineClient) -> None:
    async with aclosing(client.stream(prompt("row", 1, max_tokens=ENDLESS))) as stream:
        await begin(stream)
        assert await read(client, prompt("row", 1, 2)) == [2, 3, 4, 5, 6]
    assert await read(client, prompt("row", 1, 2, 3)) == [3, 4, 5, 6, 7]


async def test_an_idle_engine_proves_that_it_lives(client: EngineClient) -> None:
    first = client.proved_at
    await until(lambda: client.proved_at != first)
    assert client.stats.steps == 2  # of the warm-up


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_killed_engine_fails_every_stream(client: EngineClient, number: signal.Signals) -> None:
    streams = [client.stream(prompt(f"row-{n}", max_tokens=ENDLESS)) for n in range(3)]
    await asyncio.gather(*(begin(stream) for stream in streams))
    os.kill(client.pid, number)
    for stream in streams:
        with pytest.raises(EngineFailed, match=f"'counting' was ended by {number.name}.* while it worked"):
            await drain(stream)
    with pytest.raises(EngineFailed):
        await read(client, prompt("late"))


async def test_an_engine_that_aborts_names_the_signal(client: EngineClient) -> None:
    with pytest.raises(EngineFailed, match="SIGABRT"):
        await read(client, prompt("row", ABORT))


async def test_an_exception_in_a_step_reaches_every_stream_and_ends_the_process(client: EngineClient) -> None:
    other = client.stream(prompt("other", max_tokens=ENDLESS))
    await begin(other)
    for stream in (client.stream(prompt("row", CRASH)), other):
        with pytest.raises(EngineFailed, match="RuntimeError: the double was told to crash"):
            await drain(stream)
    assert isinstance(await asyncio.wait_for(client.ended, PATIENCE_SECONDS), EngineFailed)


async def test_a_hung_engine_is_killed() -> None:
    async with started(FleetSettings(heartbeat_seconds=0.05, hang_seconds=1.01)) as client:
        with pytest.raises(EngineFailed, match="hung: silent for"):
            await read(client, prompt("row", HANG))
        await until(lambda: not psutil.pid_exists(client.pid))


async def test_a_gateway_that_slept_does_not_take_its_own_sleep_for_a_hung_engine() -> None:
    async with started(FleetSettings(heartbeat_seconds=0.05, hang_seconds=1.01)) as client:
        time.sleep(1.5)  # noqa: ASYNC251 - the event loop stands still, as when a laptop is closed or the process is stopped
        assert await read(client, prompt(max_tokens=100)) == list(range(3, 103))


async def test_signals_to_the_group_are_left_to_the_gateway(client: EngineClient) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(client.pid, number)
    assert await read(client, prompt(max_tokens=100)) == list(range(3, 103))


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("unusable", ModelUnusable, "'nowhere' holds no model"),
        ("broken", ModelUnusable, "RuntimeError: nobody expected this"),
        ("dies", EngineFailed, "exited with code 9 while it loaded the model"),
    ],
)
async def test_a_model_that_cannot_be_loaded_says_why(model: str, error: type[Exception], message: str) -> None:
    client = spawn(model)
    with pytest.raises(error, match=message):
        await asyncio.wait_for(client.start(), PATIENCE_SECONDS)
    await client.stop()


async def test_loading_takes_no_longer_than_allowed() -> None:
    client = spawn("slow", FleetSettings(load_seconds=1.01))
    with pytest.raises(EngineFailed, match=r"Raise fleet\.load_seconds"):
        await asyncio.wait_for(client.start(), PATIENCE_SECONDS)
    await client.stop()
    assert not psutil.pid_exists(client.pid)


async def test_stopping_ends_streams_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with started() as client:
        assert endpoints(tmp_path) == []  # gone as soon as the two have met
        stream = client.stream(prompt(max_tokens=ENDLESS))
        await begin(stream)
    with pytest.raises(Cancelled, match="shutting down"):
        await drain(stream)
    assert not psutil.pid_exists(client.pid)
    assert [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE] == []


async def drain(stream: AsyncGenerator[object]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS), aclosing(stream):
        async for _ in stream:
            pass


def endpoints(folder: Path) -> list[Path]:
    return list(folder.glob(f"{PREFIX}*"))
