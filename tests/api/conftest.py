"""Gateways for tests: one that only answers is shared, those that are looked into are made anew."""

from collections.abc import Generator

import pytest

from tests.api.gateway import Gateway, running


@pytest.fixture
def gateway() -> Generator[Gateway]:
    """A running gateway with a generator that says 'Hello world'."""
    with running(Gateway()) as served:
        yield served
