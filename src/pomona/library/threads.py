"""Event loops in threads of their own."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from pomona.core.errors import Cancelled, Conflict

T = TypeVar("T")


class LoopThread:
    """An event loop that runs in a thread until `stop`. Other threads hand it work."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._process = os.getpid()
        self._guard = threading.Lock()
        self._ended = False
        self._thread.start()

    @property
    def is_here(self) -> bool:
        """It belongs to this process, not to the one that this is a fork of."""
        return self._process == os.getpid()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for `work`. Interrupting the wait cancels it and waits for its end. Raises Conflict where that would take for ever."""
        try:
            self._check()
        except Conflict:
            work.close()
            raise
        outcome: Future[T] = Future()
        task = self._begin(work, outcome)
        try:
            return outcome.result()
        except BaseException:
            if not outcome.done():
                self._loop.call_soon_threadsafe(lambda: task().cancel())
                wait([outcome])
            raise

    async def run_from(self, work: Coroutine[Any, Any, T]) -> T:
        """As `run`, for the coroutines of another loop, which goes on meanwhile."""
        outcome: Future[T] = Future()
        task = self._begin(work, outcome)
        here = asyncio.wrap_future(outcome)
        try:
            return await asyncio.shield(here)
        except asyncio.CancelledError:
            self._loop.call_soon_threadsafe(lambda: task().cancel())
            await asyncio.wait([here])
            raise

    def leave(self, last: Coroutine[Any, Any, None]) -> None:
        """Do this and stop, without waiting: for the end of an object, which may come in any thread."""
        if not self.is_here or not self._end():
            last.close()
            return

        def begin() -> None:
            task = self._loop.create_task(last)
            task.add_done_callback(lambda _: self._loop.stop())

        self._loop.call_soon_threadsafe(begin)

    def stop(self) -> None:
        """End all work, the loop and the thread. In a forked process there is neither."""
        if self.is_here and self._end():
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self._finish()))
            self._thread.join()
            self._loop.close()

    def _end(self) -> bool:
        """Take no more work. False where that holds already."""
        with self._guard:
            ended, self._ended = self._ended, True
        return not ended

    async def _finish(self) -> None:
        """Whoever waits gets an end."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._loop.stop()

    def _begin(self, work: Coroutine[Any, Any, T], outcome: Future[T]) -> "Callable[[], asyncio.Task[T]]":
        made: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = self._loop.create_task(work)
            made.append(task)
            task.add_done_callback(lambda done: _hand_over(done, outcome))

        with self._guard:
            if self._ended:
                work.close()
                raise Conflict("This engine has been closed.")
            self._loop.call_soon_threadsafe(begin)
        return lambda: made[0]

    def _check(self) -> None:
        if not self.is_here:
            raise Conflict(
                f"This engine was started in process {self._process} and this is a fork of it, where its threads do not exist. "
                "Start an engine of its own here, or use multiprocessing's 'spawn'."
            )
        if threading.current_thread() is self._thread:
            raise Conflict("This is the engine's own thread, which would wait for itself. Call the engine from another one.")


def _hand_over(done: "asyncio.Task[T]", outcome: "Future[T]") -> None:
    if done.cancelled():
        outcome.set_exception(Cancelled("The work was stopped: the engine was closed, or the wait for it was interrupted."))
        return
    error = done.exception()
    if error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(done.result())
