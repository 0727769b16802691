"""Trying again, and knowing when not to."""

from collections.abc import Awaitable, Callable

import pytest

from pomona.compat.mlx_serving import CircuitBreaker, CircuitBreakerOpenError, EngineClientError, retry_with_backoff
from pomona.core.events import RuntimeCode


def failing(times: int, code: RuntimeCode = "TransportError") -> Callable[[], Awaitable[str]]:
    """Fails so often, then works."""
    left = [times]

    async def work() -> str:
        if left[0]:
            left[0] -= 1
            raise EngineClientError(code, "no")
        return "done"

    return work


async def test_waits_grow_until_it_works() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    assert await retry_with_backoff(failing(3), attempts=4, initial_delay_ms=100, max_delay_ms=300, jitter=0, sleep=sleep) == "done"
    assert waits == [0.1, 0.2, 0.3]
    waits.clear()
    with pytest.raises(EngineClientError):
        await retry_with_backoff(failing(3), attempts=3, sleep=sleep)
    assert 0.075 <= waits[0] <= 0.125
    with pytest.raises(EngineClientError):
        await retry_with_backoff(failing(1, "ValidationError"), sleep=sleep)
    assert len(waits) == 2
    with pytest.raises(EngineClientError, match="attempts"):
        await retry_with_backoff(failing(0), attempts=0)


async def test_a_circuit_opens_tries_and_closes() -> None:
    now = [0.0]
    breaker = CircuitBreaker("hub", failures=2, recovery_ms=1000, successes=2, clock=lambda: now[0])

    async def fail(code: RuntimeCode = "Timeout") -> None:
        with pytest.raises(EngineClientError) as caught:
            await breaker.execute(failing(1, code))
        assert caught.value.code == code

    for _ in range(3):
        await fail("ValidationError")
    assert breaker.state == "closed"
    await fail()
    await fail()
    with pytest.raises(CircuitBreakerOpenError, match="Try again in 1000 ms") as caught:
        await breaker.execute(failing(0))
    assert (caught.value.circuit, caught.value.state, caught.value.retryAfterMs) == ("hub", "open", 1000)
    now[0] = 1.0
    assert breaker.state == "half-open"
    await fail()
    assert breaker.state == "open"
    now[0] = 2.0
    assert await breaker.execute(failing(0)) == "done"
    assert breaker.state == "half-open"
    assert await breaker.execute(failing(0)) == "done"
    assert breaker.state == "closed"


async def test_failures_of_long_ago_do_not_count() -> None:
    now = [0.0]
    breaker = CircuitBreaker(failures=2, window_ms=1000, clock=lambda: now[0])
    for moment in (0.0, 2.0, 4.0):
        now[0] = moment
        with pytest.raises(EngineClientError):
            await breaker.execute(failing(1))
    assert breaker.state == "closed"
