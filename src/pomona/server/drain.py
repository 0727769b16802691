"""Attention to what can end an answer early: the client leaves, or the server's time to finish is over."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import TypeVar

from starlette.types import Receive

from pomona.core.errors import Cancelled
from pomona.server.errors import ClientLeft

T = TypeVar("T")


class Drain:
    """One per application: whether it is going down, how many answers still run, and when they must end.

    It goes down in three steps: `begin` (it is not ready any more, and serves on), `refuse` (nothing new), `expire` (the rest ends).
    """

    def __init__(self) -> None:
        self.begun = False
        self.refuses = False
        self.running = 0
        """Answers and other work that was begun and has not ended."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._over = asyncio.Event()
        self._at_begin: list[Callable[[], None]] = []

    @contextmanager
    def working(self) -> Generator[None]:
        """Count what is done inside as work that a shutdown waits for."""
        self.running += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.running -= 1
            if not self.running:
                self._idle.set()

    async def idle(self) -> None:
        """Wait until nothing runs."""
        await self._idle.wait()

    def when_begun(self, act: Callable[[], None]) -> None:
        """Call `act` when the server begins to go down."""
        self._at_begin.append(act)

    def begin(self) -> None:
        """The server is not ready any more. It serves on, for whoever has not noticed yet."""
        if not self.begun:
            self.begun = True
            for act in self._at_begin:
                act()

    def refuse(self) -> None:
        """New requests are refused from now on; running answers go on."""
        self.begin()
        self.refuses = True

    def expire(self) -> None:
        """Every answer that still runs ends now, with an error that says why."""
        self.refuse()
        self._over.set()

    async def over(self) -> None:
        """Wait until `expire` is called."""
        await self._over.wait()


async def attend(work: Coroutine[object, object, T], receive: Receive, drain: Drain) -> T:
    """Run `work` to its end, unless the client leaves (ClientLeft) or the drain is over (Cancelled); then it is cancelled at once.

    The request body must have been read, so that the next message of `receive` is the disconnect.
    """
    task = asyncio.ensure_future(work)
    left = asyncio.ensure_future(_left(receive))
    over = asyncio.ensure_future(drain.over())
    try:
        await asyncio.wait((task, left, over), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if left.done():
            raise ClientLeft
        raise Cancelled("The server is shutting down and did not finish this answer in time. Send the request again.")
    finally:
        for each in (task, left, over):
            each.cancel()
        await asyncio.gather(task, left, over, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
