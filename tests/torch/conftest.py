"""As in tests/golden: float32 is compared on the CPU."""

from collections.abc import Iterator

import pytest

from pomona.models.device import use_device


@pytest.fixture(autouse=True)
def on_the_cpu() -> Iterator[None]:
    use_device("cpu")
    yield
    use_device("auto")
