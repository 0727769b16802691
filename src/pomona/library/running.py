"""Answers that are under way, by their ids."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pomona.core.errors import Cancelled, Conflict, TimedOut

T = TypeVar("T")


@dataclass(slots=True)
class Answering:
    """One answer. What is waited for in it ends when it is cancelled, and at `deadline` (of the loop's clock)."""

    id: str
    seconds: float | None
    deadline: float | None
    cancelled: bool = False
    source: AsyncGenerator[Any] | None = None
    """What it is read from: closed at once where nobody waits for it when it is cancelled."""
    waiting: "asyncio.Future[Any] | None" = None
    closing: "asyncio.Task[None] | None" = None

    async def wait(self, work: Awaitable[T]) -> T:
        """Wait for `work`. Raises Cancelled, TimedOut."""
        if self.cancelled:
            if asyncio.iscoroutine(work):
                work.close()
            raise self._cancellation()
        future = self.waiting = asyncio.ensure_future(work)
        try:
            async with asyncio.timeout_at(self.deadline):
                return await future
        except TimeoutError:
            raise TimedOut(f"The answer took longer than timeout_seconds = {self.seconds:g}.") from None
        except asyncio.CancelledError:
            if not self.cancelled:
                raise
            raise self._cancellation() from None
        finally:
            future.cancel()
            self.waiting = None

    def cancel(self) -> None:
        """End it."""
        self.cancelled = True
        if self.waiting is not None:
            self.waiting.cancel()
        elif self.source is not None:
            self.closing = asyncio.ensure_future(self.source.aclose())

    def _cancellation(self) -> Cancelled:
        return Cancelled(f"The request {self.id!r} was cancelled.")


@dataclass(slots=True)
class Register:
    """All answers of one engine."""

    answers: dict[str, Answering] = field(default_factory=dict[str, Answering])

    @contextmanager
    def entered(self, id: str, seconds: float | None) -> Generator[Answering]:
        """For as long as an answer is under way. Raises Conflict where another one has its id."""
        if id in self.answers:
            raise Conflict(f"A request with the id {id!r} is being answered. Give another.")
        deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        answering = self.answers[id] = Answering(id, seconds, deadline)
        try:
            yield answering
        finally:
            del self.answers[id]

    def cancel(self, id: str) -> bool:
        """End the answer of that id. False where none is under way."""
        answering = self.answers.get(id)
        if answering is not None:
            answering.cancel()
        return answering is not None
