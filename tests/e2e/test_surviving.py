"""Engines die under answers, and the answers go on."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import pytest

from pomona.core.errors import EngineFailed, EngineSuspended, Quarantined
from pomona.core.generation import Prompt, SamplingParams, TokenStep
from pomona.core.settings import FleetSettings
from pomona.fleet.process.client import EngineClient
from pomona.fleet.process.death import OomCount
from pomona.fleet.survival.care import Care
from pomona.fleet.survival.engine import SurvivingEngine
from tests.e2e.counting_engine import ABORT, CRASH, HANG, KILL, LATE, LATE_TOKENS, NATIVE, PONDER, SPIN, STUCK
from tests.e2e.engines import ENDLESS, PATIENCE_SECONDS, QUICK, begin, engine_pids, prompt, read, spawn, supervised, surviving, until

LONG = 400
"""Tokens: some tenths of a second."""
QUICK_TO_HANG = QUICK.model_copy(update={"hang_seconds": 1.01})


async def kill(engine: SurvivingEngine, number: signal.Signals = signal.SIGKILL) -> int:
    """Send a signal to the present process."""
    await until(lambda: engine.report().pid)
    pid = engine.report().pid
    assert pid is not None
    os.kill(pid, number)
    return pid


async def test_a_stream_goes_on_in_the_next_engine() -> None:
    deaths, length = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT), 5 * LONG
    async with supervised() as engine, aclosing(engine.stream(prompt(max_tokens=length))) as stream:
        seen: list[int] = []
        for count, number in enumerate(deaths, 1):
            seen += (await begin(stream)).token_ids
            pid = await kill(engine, number)
            while engine.report().resumed < count:
                seen += (await begin(stream)).token_ids
            assert pid not in engine_pids()
        seen += await rest(stream)
        assert seen == list(range(3, 3 + length))
        report = engine.report()
        assert (report.state, report.restarts, report.resumed, report.problem, report.breaker) == ("ready", 3, 3, None, "closed")
    assert engine_pids() == []


async def test_many_streams_survive_many_deaths() -> None:
    prompts = [prompt(f"row-{n}", *range(1, n + 2), max_tokens=LONG + n) for n in range(20)]
    async with supervised(places=20) as engine:
        reading = [asyncio.ensure_future(read(engine, each)) for each in prompts]
        for _ in range(3):
            await until(lambda: engine.report().state == "ready" and engine.report().counters.running > 10)
            await kill(engine)
            await until(lambda: engine.report().state != "ready" or all(each.done() for each in reading))
        answers = await asyncio.gather(*reading)
        assert engine.report().restarts == 3
    assert answers == [list(range(n + 1, n + 1 + LONG + n)) for n in range(20)]


async def test_memory_and_disk_are_given_back_when_asked() -> None:
    async with supervised() as engine:
        await read(engine, prompt())
        await until(lambda: engine.report().counters.pages_cached)
        engine.shrink()
        await until(lambda: engine.report().counters.pages_cached == 0)
        assert engine.report().counters.disk_files > 0
        engine.shrink(disk=True)
        await until(lambda: engine.report().counters.disk_files == 0)


async def test_what_nobody_had_read_when_the_engine_died_is_not_lost() -> None:
    async with supervised() as engine, aclosing(engine.stream(prompt(max_tokens=LONG))) as stream:
        seen = list((await begin(stream)).token_ids)
        await until(lambda: engine.report().counters.steps > 50)
        await kill(engine)
        await until(lambda: engine.report().restarts == 1 and engine.report().state == "ready")
        seen += (await begin(stream)).token_ids
        assert engine.report().resumed == 0
        seen += await rest(stream)
        assert (seen, engine.report().resumed) == (list(range(3, 3 + LONG)), 1)


async def test_an_exception_in_the_engine_is_a_death_like_others() -> None:
    async with supervised() as engine, aclosing(engine.stream(prompt(max_tokens=LONG))) as stream:
        seen = list((await begin(stream)).token_ids)
        with pytest.raises(Quarantined):
            await read(engine, prompt("bad", CRASH))
        assert seen + await rest(stream) == list(range(3, 3 + LONG))


@pytest.mark.parametrize("bad", [prompt("bad", ABORT), prompt("bad", 1, LATE, max_tokens=LONG)], ids=["at once", "late"])
async def test_the_request_that_kills_is_found_and_the_others_live(bad: Prompt) -> None:
    prompts = [prompt(f"row-{n}", *range(1, n + 2), max_tokens=LONG) for n in range(5)]
    async with supervised(places=10) as engine:
        reading = [asyncio.ensure_future(read(engine, each)) for each in prompts]
        await until(lambda: engine.report().counters.running == len(prompts))
        seen: list[int] = []
        with pytest.raises(Quarantined, match="killed the engine twice in a row"):
            await read_into(seen, engine.stream(bad))
        assert len(seen) == (LATE_TOKENS if LATE in bad.token_ids else 0)
        assert await asyncio.gather(*reading) == [list(range(n + 1, n + 1 + LONG)) for n in range(5)]
        restarts = engine.report().restarts
        assert restarts <= 3
        with pytest.raises(Quarantined, match="refused for another"):
            await read(engine, replace(bad, id="again", caller="other", sampling=SamplingParams(seed=4)))
        assert (engine.report().restarts, engine.report().quarantined) == (restarts, 1)
        assert await read(engine, prompt()) == [3, 4, 5, 6, 7]


async def test_two_that_kill_are_found_one_after_the_other() -> None:
    async with supervised(places=10) as engine:
        good = asyncio.ensure_future(read(engine, prompt(max_tokens=LONG)))
        await until(lambda: engine.report().counters.running == 1)
        bad = [read(engine, prompt(f"bad-{n}", n, ABORT)) for n in range(2)]
        outcomes = await asyncio.gather(*bad, return_exceptions=True)
        assert [type(each) for each in outcomes] == [Quarantined, Quarantined]
        assert await good == list(range(3, 3 + LONG))


async def test_without_quarantine_the_request_ends_all_the_same() -> None:
    async with supervised(QUICK.model_copy(update={"quarantine_seconds": 0})) as engine:
        for _ in range(2):
            with pytest.raises(EngineFailed, match=r"SIGABRT.* died 2 times while it worked for this request"):
                await read(engine, prompt("bad", ABORT))


async def test_where_nobody_counts_kills_it_takes_four_of_them_to_condemn() -> None:
    """SIGKILL may then have been anybody's."""
    async with (
        surviving(lambda _: spawn(oom_count=OomCount(files=()))) as engine,
        aclosing(engine.stream(prompt(max_tokens=5 * LONG))) as stream,
    ):
        seen = list((await begin(stream)).token_ids)
        with pytest.raises(Quarantined, match=r"The last time: The engine process .* was ended by SIGKILL .* while it worked\.$"):
            await read(engine, prompt("bad", KILL))
        assert seen + await rest(stream) == list(range(3, 3 + 5 * LONG))
        report = engine.report()
        assert (report.restarts, report.breaker, report.quarantined) == (4, "closed", 1)


async def test_where_nobody_counts_kills_the_second_in_a_row_is_taken_for_want_of_memory() -> None:
    shares: list[float] = []

    def spawn_blind(share: float) -> EngineClient:
        shares.append(round(share, 2))
        return spawn("counting" if len(shares) < 3 else "dies", oom_count=OomCount(files=()))

    async with surviving(spawn_blind, QUICK.model_copy(update={"max_restarts": 2})) as engine:
        with pytest.raises(EngineSuspended):
            await read(engine, prompt("bad", KILL))
    assert shares == [1.0, 1.0, 0.8]


async def test_where_nobody_counts_kills_one_by_hand_condemns_nobody() -> None:
    async with surviving(lambda _: spawn(oom_count=OomCount(files=()))) as engine:
        reading = asyncio.ensure_future(read(engine, prompt(max_tokens=3)))
        await until(lambda: engine.report().pid)
        for _ in range(2):
            pid = await kill(engine)
            await until(lambda pid=pid: engine.report().pid != pid or reading.done())
        assert await reading == [3, 4, 5]
        assert (engine.report().breaker, engine.report().quarantined) == ("closed", 0)


async def test_kills_by_hand_condemn_nobody() -> None:
    """One row alone, killed before it made a token, again and again: where the system counts its own kills, it is innocent."""
    async with supervised() as engine:
        reading = asyncio.ensure_future(read(engine, prompt(max_tokens=3)))
        for _ in range(4):
            await kill(engine)
            pid = engine.report().pid
            await until(lambda pid=pid: engine.report().pid != pid or reading.done())
        assert await reading == [3, 4, 5]
        assert engine.report().breaker == "closed"


async def test_resumes_are_bounded() -> None:
    async with (
        supervised(QUICK.model_copy(update={"max_resumes": 1})) as engine,
        aclosing(engine.stream(prompt(max_tokens=100_000))) as stream,
    ):
        await begin(stream)
        await kill(engine)
        while not engine.report().resumed:
            await begin(stream)
        await begin(stream)
        await kill(engine)
        with pytest.raises(EngineFailed, match=r"SIGKILL.* died 2 times while it worked for this request"):
            await rest(stream)


async def test_streams_can_be_left_to_die() -> None:
    async with supervised(QUICK.model_copy(update={"max_resumes": 0})) as engine:
        async with aclosing(engine.stream(prompt(max_tokens=100_000))) as stream:
            await begin(stream)
            await kill(engine)
            with pytest.raises(EngineFailed, match=r"SIGKILL .* Send the request again\.$"):
                await rest(stream)
        assert await read(engine, prompt()) == [3, 4, 5, 6, 7]


@pytest.mark.parametrize("bad", [signal.SIGSTOP, HANG, SPIN, NATIVE, STUCK], ids=["stopped", "waits", "loops", "native", "announced"])
async def test_a_hung_engine_is_found_killed_and_replaced(bad: signal.Signals | int) -> None:
    async with supervised(QUICK_TO_HANG) as engine, aclosing(engine.stream(prompt(max_tokens=LONG))) as stream:
        seen = list((await begin(stream)).token_ids)
        if isinstance(bad, signal.Signals):
            await kill(engine, bad)
        else:
            with pytest.raises(Quarantined):
                await read(engine, prompt("bad", bad))
        assert seen + await rest(stream) == list(range(3, 3 + LONG))
        assert engine.report().restarts == (1 if bad == signal.SIGSTOP else 2)


async def test_with_the_limits_of_the_settings_every_hang_is_found_within_ten_seconds() -> None:
    async def find(bad: int | None) -> float:
        settings = FleetSettings(max_resumes=0)
        async with supervised(settings) as engine, aclosing(engine.stream(prompt("row", bad or 1, max_tokens=ENDLESS))) as stream:
            await until(lambda: engine.report().state == "ready")
            if bad is None:
                await begin(stream)
                await kill(engine, signal.SIGSTOP)
            begun = asyncio.get_running_loop().time()
            with pytest.raises(EngineFailed, match="hung"):
                await rest(stream)
            return asyncio.get_running_loop().time() - begun

    seconds = await asyncio.gather(*(find(bad) for bad in (None, HANG, SPIN, NATIVE, STUCK)))
    assert max(seconds) < 10


async def test_a_first_load_that_dies_of_a_signal_is_tried_again() -> None:
    models = iter(["slow", "counting"])
    async with surviving(lambda _: spawn(next(models))) as engine:
        await kill(engine, signal.SIGABRT)
        assert await read(engine, prompt()) == [3, 4, 5, 6, 7]
        assert (engine.report().restarts, engine.report().breaker) == (1, "closed")


async def test_a_first_load_that_dies_again_and_again_is_given_up() -> None:
    async with surviving(lambda _: spawn("slow")) as engine:
        for _ in range(3):
            pid = await kill(engine, signal.SIGABRT)
            await until(lambda pid=pid: engine.report().pid != pid)
        with pytest.raises(EngineFailed, match=r"SIGABRT.* while it loaded the model"):
            await engine.loaded()


async def test_an_engine_that_is_stopped_while_it_loads_is_replaced() -> None:
    models = iter(["slow", "counting"])
    async with surviving(lambda _: spawn(next(models), QUICK_TO_HANG), QUICK_TO_HANG) as engine:
        await kill(engine, signal.SIGSTOP)
        assert await read(engine, prompt()) == [3, 4, 5, 6, 7]
        assert engine.report().restarts == 1


async def test_a_model_that_was_loaded_before_does_not_load_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pomona.fleet.survival.supervisor.LEAST_RELOAD_SECONDS", 4.0)
    models = iter(["counting", "slow"])
    async with surviving(lambda _: spawn(next(models, "counting"))) as engine, aclosing(engine.stream(prompt(max_tokens=LONG))) as stream:
        seen = list((await begin(stream)).token_ids)
        await kill(engine)
        assert seen + await rest(stream) == list(range(3, 3 + LONG))
        assert engine.report().restarts >= 2


async def test_a_long_step_that_was_announced_is_no_hang() -> None:
    async with supervised(QUICK_TO_HANG) as engine:
        assert await read(engine, prompt("row", 1, PONDER)) == [2, 3, 4, 5, 6]
        assert engine.report().restarts == 0


async def test_patience_ends() -> None:
    async with supervised(QUICK_TO_HANG.model_copy(update={"busy_seconds": 1.05, "max_resumes": 0})) as engine:
        with pytest.raises(EngineFailed, match="hung"):
            await read(engine, prompt("row", 1, PONDER))


async def test_a_stopped_process_is_found_in_a_long_step_too() -> None:
    async with supervised(QUICK_TO_HANG) as engine:
        reading = asyncio.ensure_future(read(engine, prompt("row", 1, PONDER)))
        await until(lambda: engine.report().patient_seconds > 0)
        pid = await kill(engine, signal.SIGSTOP)
        assert await reading == [2, 3, 4, 5, 6]
        assert (engine.report().restarts, engine.report().pid == pid) == (1, False)


async def test_a_closed_stream_does_not_come_back() -> None:
    async with supervised() as engine:
        async with aclosing(engine.stream(prompt(max_tokens=100_000))) as stream:
            await begin(stream)
            await kill(engine)
        await until(lambda: engine.report().restarts == 1 and engine.report().state == "ready")
        assert await read(engine, prompt()) == [3, 4, 5, 6, 7]
        assert (engine.report().resumed, engine.report().counters.running) == (0, 0)


async def test_an_open_breaker_refuses_at_once_and_one_trial_closes_it() -> None:
    time = [0.0]
    settings = QUICK.model_copy(update={"max_restarts": 1, "quarantine_seconds": 0})
    care = Care.of(settings, clock=lambda: time[0])

    async def kill_twice(engine: SurvivingEngine, id: str) -> None:
        with pytest.raises((EngineSuspended, EngineFailed)):
            await read(engine, prompt(id, ABORT))

    async with surviving(lambda _: spawn(), settings, care=care) as engine:
        await kill_twice(engine, "bad")
        await until(lambda: engine.report().state == "failed")
        assert engine.report().breaker == "open"
        with pytest.raises(EngineSuspended, match=r"2 times in a row .* in 15 seconds.*SIGABRT"):
            await read(engine, prompt())
    with pytest.raises(EngineSuspended):
        care.breaker.check()
    time[0] = 15.0
    care.breaker.check()
    async with surviving(lambda _: spawn(), settings, care=care) as engine:
        assert engine.report().breaker == "half_open"
        await kill_twice(engine, "bad again")
        assert (care.breaker.state, round(care.breaker.retry_seconds)) == ("open", 30)
    time[0] = 45.0
    async with surviving(lambda _: spawn(), settings, care=care) as engine:
        assert await asyncio.gather(*(read(engine, prompt(str(n))) for n in range(5))) == [[3, 4, 5, 6, 7]] * 5
        assert care.breaker.state == "closed"


async def test_less_memory_is_planned_after_a_death_for_want_of_it() -> None:
    shares: list[float] = []

    def spawn_noting(share: float) -> EngineClient:
        shares.append(share)
        return spawn("hungry" if share == 1.0 else "counting")

    async with surviving(spawn_noting) as engine:
        assert await read(engine, prompt("row", 1, max_tokens=LONG)) == list(range(1, 1 + LONG))
    assert shares == [1.0, 0.8]


async def read_into(seen: list[int], stream: AsyncGenerator[TokenStep]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS), aclosing(stream):
        async for step in stream:
            seen += step.token_ids


async def rest(stream: AsyncGenerator[TokenStep]) -> list[int]:
    """All that is still to come."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [token_id async for step in stream for token_id in step.token_ids]
