"""Engines that die and come back, and requests that meet them on the way."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import aclosing

import psutil
import pytest

from pomona.core.errors import Cancelled, EngineFailed, ModelUnusable, NotReady, Overloaded
from pomona.core.settings import FleetSettings
from pomona.fleet.process.client import EngineClient
from pomona.fleet.process.starting import Starter
from pomona.fleet.supervisor import Supervisor
from tests.e2e.counting_engine import ABORT, HANG
from tests.e2e.engines import ENDLESS, PATIENCE_SECONDS, PREPARE, QUICK, begin, launch, prompt, read, spawn, supervised, until


def engine_pids() -> list[int]:
    """Engines started by this process that still run."""
    engines = [child for child in psutil.Process().children() if "counting_engine" in " ".join(child.cmdline())]
    return [engine.pid for engine in engines if engine.status() != psutil.STATUS_ZOMBIE]


async def test_facts_and_counters_are_reported() -> None:
    async with supervised() as engine:
        assert engine.report().state == "loading"
        facts = await asyncio.wait_for(engine.loaded(), PATIENCE_SECONDS)
        assert (facts.architecture, facts.vocabulary, facts.warnings) == ("Counting", 10_000, ("It only counts.",))
        report = engine.report()
        assert (report.model, report.state, report.restarts, report.facts, report.problem) == ("counting", "ready", 0, facts, None)
        assert report.seconds_since_step is not None
        assert (report.counters.steps, report.counters.pages_total) == (1, 64)
    assert engine_pids() == []


async def test_a_request_waits_for_the_model() -> None:
    async with supervised() as engine:
        assert await read(engine, prompt()) == [3, 4, 5, 6, 7]


async def test_requests_wait_only_so_long() -> None:
    async with supervised(FleetSettings(ready_wait_seconds=0.2), "slow") as engine:
        with pytest.raises(NotReady, match="'slow' is loading"):
            await read(engine, prompt())
    assert engine_pids() == []


async def test_there_are_only_so_many_places() -> None:
    async with supervised(places=2) as engine:
        async with engine.place() as facts, engine.place():
            assert facts.architecture == "Counting"
            with pytest.raises(Overloaded, match=r"2 requests run or wait already\..* raise engine\.max_waiting"):
                await engine.place().__aenter__()
        async with engine.place():
            pass


async def test_an_engine_killed_in_mid_stream_comes_back() -> None:
    async with supervised() as engine:
        async with aclosing(engine.stream(prompt(max_tokens=ENDLESS))) as stream:
            await begin(stream)
            [pid] = engine_pids()
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(EngineFailed, match=r"SIGKILL .* Send the request again"):
                await exhaust(stream)
        assert await read(engine, prompt()) == [3, 4, 5, 6, 7]
        assert (engine.report().state, engine.report().restarts, engine.report().problem) == ("ready", 1, None)
        assert pid not in engine_pids()
    assert engine_pids() == []


async def test_a_hung_engine_comes_back() -> None:
    async with supervised(QUICK.model_copy(update={"hang_seconds": 1.01})) as engine:
        with pytest.raises(EngineFailed, match="hung"):
            await read(engine, prompt("row", HANG))
        assert await read(engine, prompt()) == [3, 4, 5, 6, 7]


async def test_finished_answers_between_failures_keep_an_engine_alive() -> None:
    async with supervised(QUICK.model_copy(update={"max_restarts": 1})) as engine:
        for round_number in range(3):
            assert await read(engine, prompt()) == [3, 4, 5, 6, 7]
            with pytest.raises(EngineFailed):
                await read(engine, prompt("row", ABORT))
            await until(lambda: engine.report().state == "ready")
            assert engine.report().restarts == round_number + 1


async def test_an_engine_that_fails_again_and_again_is_given_up() -> None:
    async with supervised(QUICK.model_copy(update={"max_restarts": 1})) as engine:
        for _ in range(2):
            with pytest.raises(EngineFailed):
                await read(engine, prompt("row", ABORT))
        await until(lambda: engine.report().state == "failed")
        assert engine.report().restarts == 1
        with pytest.raises(EngineFailed, match="SIGABRT"):
            await read(engine, prompt())
        assert "SIGABRT" in (engine.report().problem or "")


async def test_a_model_that_cannot_be_loaded_is_tried_once() -> None:
    async with supervised(model="unusable") as engine:
        with pytest.raises(ModelUnusable, match="holds no model"):
            await asyncio.wait_for(engine.loaded(), PATIENCE_SECONDS)
        assert (engine.report().state, engine.report().restarts) == ("failed", 0)
        with pytest.raises(ModelUnusable, match="holds no model"):
            await read(engine, prompt())
    assert engine_pids() == []


async def test_a_model_that_breaks_later_is_tried_again() -> None:
    models = iter(["counting", "broken", "broken"])

    def spawn_next() -> EngineClient:
        return spawn(next(models, "counting"))

    async with Supervisor("counting", spawn_next, QUICK, places=8) as engine:
        await asyncio.wait_for(engine.loaded(), PATIENCE_SECONDS)
        os.kill(engine_pids()[0], signal.SIGKILL)
        await until(lambda: engine.report().restarts == 3)
        assert await read(engine, prompt()) == [3, 4, 5, 6, 7]


async def test_stopping_while_loading_leaves_no_process() -> None:
    async with supervised(model="slow"):
        await until(engine_pids)
    assert engine_pids() == []


async def test_stopping_tells_those_who_wait() -> None:
    async with supervised(model="slow") as engine:
        waiting = asyncio.ensure_future(read(engine, prompt()))
        await until(engine_pids)
    with pytest.raises(Cancelled, match="shutting down"):
        await waiting


async def test_a_command_that_is_not_there_is_an_error_not_a_hang() -> None:
    def spawn_nothing() -> EngineClient:
        return EngineClient(Starter(("/nonexistent/python",), PREPARE).start, launch, QUICK)

    async with Supervisor("counting", spawn_nothing, QUICK, places=8) as engine:
        with pytest.raises(EngineFailed, match=r"cannot be started: .*nonexistent"):
            await asyncio.wait_for(engine.loaded(), PATIENCE_SECONDS)


async def exhaust(stream: AsyncGenerator[object]) -> None:
    async for _ in stream:
        pass
