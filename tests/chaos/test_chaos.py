"""Streams, while everything around them breaks. `CHAOS_SEED` replays a run; `scripts/bench chaos` reports one."""

import os

import psutil
import pytest

from tests.chaos.plan import make_plan
from tests.chaos.run import run

SEED = int(os.environ.get("CHAOS_SEED", "5"))
SHORT_STREAMS, FULL_STREAMS = 30, 500
DISKS = hasattr(psutil.Process, "rlimit")
"""Linux: elsewhere the limits of a running process cannot be changed from outside."""


async def test_a_short_run_keeps_every_promise() -> None:
    report = await run(make_plan(SEED, SHORT_STREAMS, disks=DISKS))
    assert report.problems == [], report.told()
    assert report.outcomes["exact"] > 0, report.told()


@pytest.mark.chaos
async def test_a_full_run_keeps_every_promise() -> None:
    report = await run(make_plan(SEED, FULL_STREAMS, disks=DISKS), rounds=5)
    assert report.problems == [], report.told()
    assert report.outcomes["exact"] > FULL_STREAMS / 2, report.told()
