"""One step of an async generator that can be begun in one task and finished in another."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
Waits = Generator["asyncio.Future[Any] | None", None, T]
"""What a task drives: it gives the futures that have to be waited for, and None where others just get a turn."""


class Step(Generic[T]):
    """Awaited, it is `anext(source)`, except that a cancellation of the waiting task does not reach the source: the step is then `left`
    as it is, and `rest` goes on with it in any other task. Whoever leaves a step must see to it that it is gone on with.

    asyncio cancels a task by cancelling the future that it waits for. So the task is given a future of its own to wait for.
    """

    __slots__ = ("_awaited", "_step", "left")

    def __init__(self, source: AsyncGenerator[T]) -> None:
        self._step = cast("Coroutine[asyncio.Future[Any] | None, None, T]", source.__anext__())  # it has send and throw
        self._awaited: asyncio.Future[Any] | None = None
        self.left = False

    def __await__(self) -> Waits[T]:
        """Raises StopAsyncIteration at the end of the source."""
        while True:
            try:
                awaited = self._awaited = self._step.send(None)
            except StopIteration as done:
                return done.value
            try:
                if awaited is None:
                    yield None
                else:
                    yield from _done(awaited)
            except asyncio.CancelledError:
                self.left = True
                raise

    def rest(self) -> Awaitable[T]:
        """What is left of the step. Cancellations reach the source again."""
        return _Rest(self._step, self._awaited)


class _Rest(Generic[T]):
    """The iterator that a task drives: first what the step waits for already, then the step itself."""

    def __init__(self, step: "Coroutine[asyncio.Future[Any] | None, None, T]", awaited: "asyncio.Future[Any] | None") -> None:
        self._step = step
        self._awaited = awaited
        self._begun = False

    def __await__(self) -> Waits[T]:
        return cast("Waits[T]", self)

    def __iter__(self) -> "_Rest[T]":
        return self

    def __next__(self) -> "asyncio.Future[Any] | None":
        if self._begun:
            return self._step.send(None)
        self._begun = True
        return self._awaited

    def throw(self, *error: Any) -> "asyncio.Future[Any] | None":
        return self._step.throw(*error)

    def close(self) -> None:
        self._step.close()


class Outcome:
    """How a source ended: `with outcome:` around its steps notes its end and its errors, which `conclude` then raises."""

    def __init__(self) -> None:
        self.ended = False
        self.failure: BaseException | None = None

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if error is None or isinstance(error, asyncio.CancelledError):
            return False
        if isinstance(error, StopAsyncIteration):
            self.ended = True
        else:
            self.fail(error)
        return isinstance(error, Exception)

    def fail(self, error: BaseException) -> None:
        """The source ended with `error`; one that has ended stays as it is."""
        if not self.ended:
            self.ended, self.failure = True, error

    def conclude(self) -> None:
        """Raise what the source raised."""
        if self.failure is not None:
            raise self.failure


def _done(awaited: "asyncio.Future[Any]") -> Waits[None]:
    """Wait until `awaited` is done, whatever its outcome, and leave it alone if the task is cancelled."""
    turn: asyncio.Future[None] = awaited.get_loop().create_future()

    def end(_: object) -> None:
        if not turn.done():
            turn.set_result(None)

    awaited.add_done_callback(end)
    try:
        yield from turn
    finally:
        awaited.remove_done_callback(end)
