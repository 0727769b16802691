"""Goldens are float32 facts, so they are checked where float32 is float32: on the CPU, whatever else the machine has."""

from collections.abc import Iterator

import pytest

from pomona.models.device import use_device


@pytest.fixture(autouse=True)
def on_the_cpu() -> Iterator[None]:
    use_device("cpu")
    yield
    use_device("auto")
