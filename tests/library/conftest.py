"""Engines that answer with the bundled model: one over the fleet, one in this process."""

from collections.abc import Generator
from pathlib import Path

import pytest

from pomona import Engine
from tests.hub.server import FakeHub, serving

SETTINGS: dict[str, object] = {"engine.kv_cache_bytes": 64 * 2**20, "engine.max_context": 1024, "residency.guard": False}
STORIES = Path("tests/data/stories260K")


@pytest.fixture(scope="package", params=[False, True], ids=["fleet", "in process"])
def engine(request: pytest.FixtureRequest) -> Generator[Engine]:
    """A running engine with the bundled model loaded."""
    with Engine("pomona-tiny", settings=SETTINGS, in_process=request.param) as running:
        yield running


@pytest.fixture
def hub() -> Generator[FakeHub]:
    """A hub that has the model acme/tiny."""
    with serving(FakeHub()) as served:
        served.add_folder("acme/tiny", STORIES)
        yield served
