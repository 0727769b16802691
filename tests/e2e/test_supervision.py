"""Engines that die and come back, and requests that meet them on the way."""

import asyncio
import os
import signal

import pytest

from pomona.core.errors import Cancelled, EngineFailed, EngineSuspended, ModelUnusable, NotReady, Overloaded
from pomona.core.settings import FleetSettings
from pomona.fleet.process.client import EngineClient
from pomona.fleet.process.starting import Starter
from tests.e2e.counting_engine import ABORT
from tests.e2e.engines import PATIENCE_SECONDS, PREPARE, QUICK, engine_pids, launch, prompt, read, spawn, supervised, surviving, until


async def test_facts_and_counters_are_reported() -> None:
    async with supervised() as engine:
        assert engine.report().state == "loading"
        facts = await asyncio.wait_for(engine.loaded(), PATIENCE_SECONDS)
        assert (facts.architecture, facts.vocabulary, facts.warnings) == ("Counting", 10_000, ("It only counts.",))
        report = engine.report()
        assert (report.model, report.state, report.restarts, report.facts, report.problem) == ("counting", "ready", 0, facts, None)
        assert report.seconds_since_step is not None
        assert (report.counters.steps, report.counters.pages_total) == (2, 64)
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


async def test_an_engine_that_fails_again_and_again_is_given_up() -> None:
    models = iter(["counting", "broken", "broken"])
    settings = QUICK.model_copy(update={"max_restarts": 2})
    async with surviving(lambda _: spawn(next(models)), settings) as engine:
        assert await read(engine, prompt()) == [3, 4, 5, 6, 7]
        with pytest.raises(EngineSuspended, match=r"died 3 times in a row .* in 15 seconds.* nobody expected this") as refused:
            await read(engine, prompt("row", ABORT))
        assert 10 < refused.value.retry_after <= 15
        report = engine.report()
        assert (report.state, report.breaker, report.restarts) == ("failed", "open", 2)
        assert "nobody expected this" in (report.problem or "")


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

    def spawn_next(_: float) -> EngineClient:
        return spawn(next(models, "counting"))

    async with surviving(spawn_next) as engine:
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
    def spawn_nothing(_: float) -> EngineClient:
        return EngineClient(Starter(("/nonexistent/python",), PREPARE).start, launch, QUICK)

    async with surviving(spawn_nothing) as engine:
        with pytest.raises(EngineFailed, match=r"cannot be started: .*nonexistent"):
            await asyncio.wait_for(engine.loaded(), PATIENCE_SECONDS)
