"""While nothing is to be said, pings say that the answer still comes: Claude Code gives up on silent streams."""

from collections.abc import Generator

import pytest

from pomona.core.generation import Started
from tests.api.gateway import MODEL, Gateway, running, settings_with

BODY = {"model": MODEL, "max_tokens": 5, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def gateway() -> Generator[Gateway]:
    """One that keeps silent for a hundredth of a second at most."""
    with running(Gateway(settings=settings_with(keepalive_seconds=0.01))) as gateway:
        yield gateway


def test_silence_is_filled_with_pings(gateway: Gateway) -> None:
    gateway.generator.reset([Started(prompt_tokens=3), gateway.never])

    with gateway.http().stream("POST", "/v1/messages", json=BODY) as response:
        lines = (line for line in response.iter_lines() if line.startswith("event:"))
        told = [next(lines) for _ in range(5)]

    assert told == ["event: message_start", *["event: ping"] * 4]
    gateway.wait_until(lambda: gateway.generator.running == 0)
