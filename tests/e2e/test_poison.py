"""A real engine whose device fails: the answers of others go on exactly, the engine is replaced, the request that does it is shut out."""

import asyncio
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from pomona.core.errors import Quarantined
from pomona.core.generation import Prompt, SamplingParams
from pomona.core.settings import EngineSettings, FleetSettings, ModelsSettings
from pomona.engine.protocol import Launch
from pomona.fleet.process.client import EngineClient
from pomona.fleet.process.starting import Starter
from tests.e2e.engines import PREPARE, QUICK, launch, read, surviving, until
from tests.e2e.poisoned_engine import ABORTS, FAILS, ILLEGAL, LATE, LOOPS, NO_MEMORY, STARVES

COMMAND = (sys.executable, str(Path(__file__).with_name("poisoned_engine.py")))
MODEL = Path("tests/data/stories260K").resolve()
TOKENS = 120
QUICK_TO_HANG = QUICK.model_copy(update={"hang_seconds": 2.0, "busy_seconds": 3600.0})
GOOD = [Prompt(id=f"good-{n}", token_ids=(1, 400 + n), sampling=SamplingParams(temperature=0.0), max_tokens=TOKENS) for n in range(4)]


def spawn(cache: Path, shares: list[float], share: float, settings: FleetSettings = QUICK) -> EngineClient:
    shares.append(share)

    def order(address: str) -> Launch:
        given = launch(address, "stories260K")
        engine = EngineSettings(kv_cache_bytes=2**24)
        return given.model_copy(update={"folder": MODEL, "cache_folder": cache, "engine": engine, "models": ModelsSettings(device="cpu")})

    return EngineClient(Starter(COMMAND, PREPARE).start, order, settings)


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        (FAILS, "LU factorization failed"),
        (STARVES, NO_MEMORY),
        (ABORTS, NO_MEMORY),
        (LATE, ILLEGAL),
    ],
    ids=["a pass fails", "no memory", "aborts", "later"],
)
async def test_what_poisons_a_device_is_shut_out_and_nobody_else_notices(mark: int, words: str, tmp_path: Path) -> None:
    shares: list[float] = []
    bad = replace(GOOD[0], id="bad", token_ids=(mark, 7))
    async with surviving(partial(spawn, tmp_path, shares), places=16) as engine:
        expected = await asyncio.gather(*(read(engine, each) for each in GOOD))
        reading = [asyncio.ensure_future(read(engine, each)) for each in GOOD]
        await until(lambda: engine.report().counters.running == len(GOOD))
        with pytest.raises(Quarantined) as refused:
            await read(engine, bad)
        assert await asyncio.gather(*reading) == expected
        report = engine.report()
        assert (report.state, report.breaker, report.quarantined) == ("ready", "closed", 1)
        assert report.restarts in {2, 3}
        assert report.resumed >= len(GOOD)
        assert words in str(refused.value)
        assert ("little memory" in str(refused.value)) == (words == NO_MEMORY)
        assert "Change it" in str(refused.value)
        assert await read(engine, replace(GOOD[0], id="after")) == expected[0]
    assert (min(shares) < 1.0) == (words == NO_MEMORY)


async def test_a_layer_without_end_in_an_announced_step_is_found_long_before_the_step_should_end(tmp_path: Path) -> None:
    bad = replace(GOOD[0], id="bad", token_ids=(LOOPS, 7))
    async with surviving(partial(spawn, tmp_path, [], settings=QUICK_TO_HANG), QUICK_TO_HANG, places=16) as engine:
        expected = await read(engine, GOOD[0])
        reading = asyncio.ensure_future(read(engine, GOOD[0]))
        with pytest.raises(Quarantined, match=r"hung: silent for \d+\.\d seconds"):
            await read(engine, bad)
        assert await reading == expected
