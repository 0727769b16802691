"""Real engine processes with the double inside, for the tests of this folder."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import psutil

from pomona.core.generation import Prompt, SamplingParams, TokenStep
from pomona.core.ports import TokenSource
from pomona.core.settings import EngineSettings, FleetSettings, LoggingSettings, ModelsSettings
from pomona.engine.protocol import Launch, Prepare
from pomona.fleet.process.client import EngineClient
from pomona.fleet.process.death import OomCount
from pomona.fleet.process.starting import Starter
from pomona.fleet.survival.care import Care
from pomona.fleet.survival.engine import SurvivingEngine
from pomona.fleet.survival.supervisor import Supervisor
from tests.e2e.servers import arguments_of

COMMAND = (sys.executable, str(Path(__file__).with_name("counting_engine.py")))
PREPARE = Prepare(cache_folder=Path("nowhere"), models=ModelsSettings())
PATIENCE_SECONDS = 120
ENDLESS = 10**9
"""Tokens."""
QUICK = FleetSettings(heartbeat_seconds=0.05, ready_wait_seconds=PATIENCE_SECONDS)


def launch(address: str, model: str = "counting") -> Launch:
    return Launch(
        address=address,
        model=model,
        folder=Path("nowhere"),
        cache_folder=Path("nowhere"),
        heartbeat_seconds=QUICK.heartbeat_seconds,
        engine=EngineSettings(max_context=2 * ENDLESS),
        models=ModelsSettings(),
        logging=LoggingSettings(level="error"),
    )


def spawn(model: str = "counting", settings: FleetSettings = QUICK, oom_count: OomCount | None = None) -> EngineClient:
    return EngineClient(Starter(COMMAND, PREPARE).start, partial(launch, model=model), settings, oom_count=oom_count)


@asynccontextmanager
async def started(settings: FleetSettings = QUICK) -> AsyncGenerator[EngineClient]:
    """A client whose engine is ready."""
    client = spawn(settings=settings)
    try:
        await client.start()
        yield client
    finally:
        await client.stop()


@asynccontextmanager
async def surviving(
    spawn: Callable[[float], EngineClient],
    settings: FleetSettings = QUICK,
    *,
    model: str = "counting",
    places: int = 8,
    care: Care | None = None,
) -> AsyncGenerator[SurvivingEngine]:
    """An engine that is kept alive, with processes from `spawn`, which is told the share of memory for keys and values."""
    care = care or Care.of(settings)
    async with Supervisor(model, spawn, settings, breaker=care.breaker) as supervisor:
        yield SurvivingEngine(supervisor, settings, care.quarantine, places=places, rows=64)


@asynccontextmanager
async def supervised(settings: FleetSettings = QUICK, model: str = "counting", places: int = 8) -> AsyncGenerator[SurvivingEngine]:
    """As `surviving`, with a model of that name."""
    async with surviving(lambda _: spawn(model, settings), settings, model=model, places=places) as engine:
        yield engine


def engine_pids() -> list[int]:
    """Engines started by this process that still run."""
    engines = [child for child in psutil.Process().children() if "counting_engine" in " ".join(arguments_of(child))]
    return [engine.pid for engine in engines if engine.status() != psutil.STATUS_ZOMBIE]


def prompt(id: str = "row", *token_ids: int, max_tokens: int = 5) -> Prompt:
    return Prompt(id=id, token_ids=token_ids or (1, 2, 3), sampling=SamplingParams(), max_tokens=max_tokens)


async def read(source: TokenSource, prompt: Prompt) -> list[int]:
    """All tokens of an answer."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [token_id async for step in source.stream(prompt) for token_id in step.token_ids]


async def begin(stream: AsyncGenerator[TokenStep]) -> TokenStep:
    """The first step of an answer."""
    return await asyncio.wait_for(anext(stream), PATIENCE_SECONDS)


async def until(condition: Callable[[], object]) -> None:
    """Look again and again until `condition` holds; fail when patience ends."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - what is awaited happens in another process
            await asyncio.sleep(0.005)
