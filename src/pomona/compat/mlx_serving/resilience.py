"""Trying again, and not trying while it is hopeless. Client errors (validation, cancellation) count for neither."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

from pomona.compat.mlx_serving.errors import CircuitBreakerOpenError, EngineClientError

T = TypeVar("T")
State = Literal["closed", "open", "half-open"]
Sleep = Callable[[float], Awaitable[None]]


def is_retryable(error: BaseException) -> bool:
    """Whether another try makes sense."""
    return error.retryable if isinstance(error, EngineClientError) else isinstance(error, ConnectionError | TimeoutError)


async def retry_with_backoff(  # noqa: PLR0913 - the options of the call that it stands for
    work: Callable[[], Awaitable[T]],
    *,
    attempts: int = 3,
    initial_delay_ms: float = 100,
    max_delay_ms: float = 5000,
    multiplier: float = 2,
    jitter: float = 0.25,
    should_retry: Callable[[BaseException], bool] = is_retryable,
    sleep: Sleep = asyncio.sleep,
) -> T:
    """Do `work` up to `attempts` times, with waits that grow and are up to the share `jitter` shorter or longer. Raises its last error."""
    if attempts < 1:
        raise EngineClientError("InvalidParams", f"Validation error on field 'attempts': is {attempts}; 1 or more are wanted.")
    delay = initial_delay_ms
    for _ in range(attempts - 1):
        try:
            return await work()
        except (EngineClientError, OSError) as error:
            if not should_retry(error):
                raise
        await sleep(min(delay, max_delay_ms) * random.uniform(1 - jitter, 1 + jitter) / 1000)
        delay *= multiplier
    return await work()


class CircuitBreaker:
    """Opens after `failures` failures within `window_ms`, tries again after `recovery_ms`, and closes after `successes` good tries."""

    def __init__(  # noqa: PLR0913 - the options of the class that it stands for
        self,
        name: str = "engine",
        *,
        failures: int = 5,
        recovery_ms: float = 10_000,
        half_open_max: int = 1,
        successes: int = 2,
        window_ms: float = 60_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._failures, self._successes, self._half_open_max = failures, successes, half_open_max
        self._recovery, self._window, self._clock = recovery_ms / 1000, window_ms / 1000, clock
        self._failed: deque[float] = deque()
        self._opened: float | None = None
        self._trying = 0
        self._good = 0

    @property
    def state(self) -> State:
        """closed: all calls pass; open: none; half-open: a few, to see."""
        if self._opened is None:
            return "closed"
        return "open" if self._clock() - self._opened < self._recovery else "half-open"

    async def execute(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work`. Raises CircuitBreakerOpenError instead while the circuit is open."""
        state = self.state
        if state == "open" or (state == "half-open" and self._trying >= self._half_open_max):
            waits = max(0.0, self._recovery - (self._clock() - (self._opened or 0.0)))
            raise CircuitBreakerOpenError(self.name, state, waits * 1000)
        self._trying += 1
        try:
            result = await work()
        except (EngineClientError, OSError) as error:
            if is_retryable(error):
                self._note_failure(state)
            raise
        finally:
            self._trying -= 1
        self._note_success(state)
        return result

    def reset(self) -> None:
        """Close it and forget what failed."""
        self._failed.clear()
        self._opened, self._good = None, 0

    def _note_failure(self, state: State) -> None:
        now = self._clock()
        self._failed.append(now)
        while now - self._failed[0] > self._window:
            self._failed.popleft()
        if state == "half-open" or len(self._failed) >= self._failures:
            self._opened, self._good = now, 0

    def _note_success(self, state: State) -> None:
        if state == "half-open":
            self._good += 1
            if self._good >= self._successes:
                self.reset()


retryWithBackoff = retry_with_backoff
