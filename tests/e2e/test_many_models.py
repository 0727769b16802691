"""More models than fit into memory, as clients of a real server see them."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from itertools import pairwise
from pathlib import Path

import httpx
import psutil
import pytest

from pomona.app import load_app
from pomona.core.events import Event, ModelInvalidated, ModelLoaded, ModelUnloaded, RuntimeStatus
from pomona.core.generation import Finished, GenerateRequest
from pomona.core.settings import Settings
from tests.e2e.many_models import BUDGET_FOR_TWO, MODELS, RANDOM, SMALL, STORIES, TELLING, Crowd, Watcher, moves, write_models
from tests.e2e.servers import MODEL, Server, serving, wait_until
from tests.e2e.soaking import JUDGED_SECONDS, MOST_GROWTH, growth_of, note, piece_of

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "1800"))
SOAK_FILE = Path(os.environ["SOAK_FILE"]).resolve() if "SOAK_FILE" in os.environ else None


async def test_two_hundred_requests_for_three_models_where_two_fit(tmp_path: Path) -> None:
    models = write_models(tmp_path / "models")
    with serving(tmp_path, "--set", f'models.folders=["{models}"]', *BUDGET_FOR_TWO, *TELLING) as server:
        watcher = Watcher(server)
        async with server.client() as client:
            crowd = Crowd(client)
            with watcher.watching():
                for count in (140, 60):
                    await crowd.ask(count)
        assert crowd.failures == []
        assert (crowd.answered, crowd.left > 10) == (200, True)
        expect_sound(server, watcher, tmp_path / "log")
        server.process.terminate()
        server.process.wait()
        assert not any(psutil.pid_exists(pid) for pid in watcher.seen)


@pytest.mark.soak
async def test_memory_stays_flat(tmp_path: Path) -> None:
    """For $SOAK_SECONDS, half an hour unless given. With $SOAK_FILE, runs are pieces: each is noted there and judged with the rest."""
    models = write_models(tmp_path / "models")
    with serving(tmp_path, "--set", f'models.folders=["{models}"]', *BUDGET_FOR_TWO, *TELLING) as server:
        watcher, deadline = Watcher(server), time.monotonic() + SOAK_SECONDS
        async with server.client() as client:
            crowd = Crowd(client)
            with watcher.watching():
                while time.monotonic() < deadline:
                    await crowd.ask(40)
        assert crowd.failures == []
        expect_sound(server, watcher, tmp_path / "log")
    piece = piece_of(watcher.bytes, SOAK_SECONDS, answered=crowd.answered, left=crowd.left)
    pieces = note(SOAK_FILE, piece)
    seconds, growth = sum(each.seconds for each in pieces), growth_of(pieces)
    print(f"{piece}; {len(pieces)} pieces, {seconds:.0f} s: {growth / 2**20:+.1f} MiB an hour")
    assert piece.late_bytes < piece.early_bytes * 1.1 + 2**24
    assert seconds < JUDGED_SECONDS or growth < MOST_GROWTH


def expect_sound(server: Server, watcher: Watcher, log: Path) -> None:
    """Never more than two engines, never two loads of one model, every model had its turn, nothing is left of what has gone."""
    assert watcher.most == 2
    made = moves(log)
    assert set(made) == set(MODELS)
    assert all(first != second for each in made.values() for first, second in pairwise(each)), made
    assert sum(each.count("model_unloaded") for each in made.values()) > 0
    wait_until(lambda: set(watcher.engines()) <= watcher.seen and len(watcher.engines()) <= 2)
    assert server.is_ready()


async def test_a_stream_is_kept_alive_while_its_model_is_loaded(tmp_path: Path) -> None:
    with serving(tmp_path, "--set", f'models.folders=["{SMALL.parent.resolve()}"]', "--set", "server.keepalive_seconds=0.1") as server:
        body = {"model": STORIES, "prompt": "Once", "max_tokens": 3, "stream": True}
        async with httpx.AsyncClient(timeout=60) as client, client.stream("POST", f"{server.url}/v1/completions", json=body) as response:
            lines = [line async for line in response.aiter_lines() if line]
        assert response.status_code == 200
        first_data = next(index for index, line in enumerate(lines) if line.startswith("data:"))
        assert first_data > 0
        assert set(lines[:first_data]) == {": keepalive"}
        assert lines[-1] == "data: [DONE]"


async def test_a_server_without_any_loaded_model_is_healthy_and_loads_again(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        watcher = Watcher(server)
        [first] = watcher.engines()
        async with server.client() as client:
            await client.completions.create(model=MODEL, prompt="Once", max_tokens=2, extra_body={"keep_alive": 0})
            await asyncio.to_thread(wait_until, lambda: not watcher.engines())
            for url in (server.url, server.admin_url):
                assert await asyncio.to_thread(probe, url) == [200, 200]
            await client.completions.create(model=MODEL, prompt="Once", max_tokens=2)
        assert watcher.engines() not in ([], [first])


def probe(url: str) -> list[int]:
    """What a load balancer sees."""
    return [httpx.get(f"{url}/{path}").status_code for path in ("health", "ready")]


async def test_without_http_the_same_models_are_there(tmp_path: Path) -> None:
    models = write_models(tmp_path / "models")
    settings = Settings.model_validate(
        {
            "models": {"folders": [models], "overrides": {RANDOM: {"max_context": 64, "keep_alive_seconds": 7}}},
            "residency": {"spare_process": False},
        }
    )
    async with load_app(settings).open() as fleet:
        watching = fleet.events.watch()
        seen = asyncio.ensure_future(events_until(watching, ModelLoaded))
        await asyncio.sleep(0)
        request = GenerateRequest(id="one", model=RANDOM, text="Once", max_tokens=4, ignore_eos=True)
        events = [event async for event in fleet.generator.generate(request)]
        assert isinstance(events[-1], Finished)
        loaded = await seen
        assert [each.status for each in loaded if isinstance(each, RuntimeStatus)] == ["starting", "ready"]
        status = {each.id: each for each in fleet.residents.statuses()}
        assert next(iter(status)) == MODEL
        found = status[RANDOM]
        assert (found.state, found.keep_alive_seconds, status[STORIES].state) == ("ready", 7.0, "unloaded")
        assert found.plan is not None
        assert found.measured_bytes is not None
        assert fleet.residents.memory().planned == found.plan.total
        assert abs(found.plan.weights + found.plan.process - found.measured_bytes) < 64 * 2**20
        assert [report.facts.max_context for report in fleet.status.status() if report.facts] == [64]
        [pid] = [each.pid for each in fleet.status.status() if each.pid is not None]
        process = psutil.Process(pid)
        report = await fleet.residency.unload(RANDOM)
        assert not process.is_running()
        assert report.freed_bytes >= found.measured_bytes
        gone = await events_until(watching, ModelUnloaded)
        assert [each.status for each in gone if isinstance(each, RuntimeStatus)] == ["stopped"]
        await watching.aclose()


async def test_a_killed_engine_is_told_as_an_event_and_comes_back(tmp_path: Path) -> None:
    async with load_app(Settings.model_validate({"models": {"folders": [write_models(tmp_path / "models")]}})).open() as fleet:
        watching = fleet.events.watch()
        seen = asyncio.ensure_future(events_until(watching, ModelInvalidated))
        await fleet.residency.load(STORIES)
        [pid] = [each.pid for each in fleet.status.status() if each.pid is not None]
        psutil.Process(pid).kill()
        invalidated = (await seen)[-1]
        assert isinstance(invalidated, ModelInvalidated)
        assert (invalidated.model, invalidated.reason) == (STORIES, "engine_restart")
        told = [await anext(watching) for _ in range(2)]
        assert [(each.status, each.previous, each.model) for each in told if isinstance(each, RuntimeStatus)] == [
            ("error", "ready", STORIES),
            ("ready", "error", STORIES),
        ]
        await watching.aclose()


async def events_until(watching: AsyncGenerator[Event], kind: type[Event]) -> list[Event]:
    """All events up to the first of `kind`."""
    seen: list[Event] = []
    async with asyncio.timeout(60):
        async for event in watching:
            seen.append(event)
            if isinstance(event, kind):
                break
    return seen
