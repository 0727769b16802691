"""Engines that answer with the bundled model: one over the fleet, one in this process."""

from collections.abc import Generator

import pytest

from pomona import Engine

SETTINGS: dict[str, object] = {"engine.kv_cache_bytes": 64 * 2**20, "engine.max_context": 1024, "residency.guard": False}


@pytest.fixture(scope="package", params=[False, True], ids=["fleet", "in process"])
def engine(request: pytest.FixtureRequest) -> Generator[Engine]:
    """A running engine with the bundled model loaded."""
    with Engine("pomona-tiny", settings=SETTINGS, in_process=request.param) as running:
        yield running
