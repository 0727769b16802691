"""One gateway for all tests that do not need settings of their own; each test finds it as new."""

from collections.abc import Generator

import pytest

from tests.api.gateway import Gateway, running


@pytest.fixture(scope="session")
def shared_gateway() -> Generator[Gateway]:
    """The gateway itself."""
    with running(Gateway()) as served:
        yield served


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Generator[Gateway]:
    """A running gateway whose generator says 'Hello world'."""
    yield shared_gateway
    shared_gateway.reset()
