"""Attention to what can end an answer early: the client leaves, or the server's time to finish is over."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TypeVar

from starlette.types import Receive

from pomona.core.errors import Cancelled
from pomona.server.errors import ClientLeft

T = TypeVar("T")


class Drain:
    """One per gateway: tells whether it is going down, and when the answers that still run must end."""

    def __init__(self) -> None:
        self.begun = False
        self._over = asyncio.Event()
        self._at_begin: list[Callable[[], None]] = []

    def when_begun(self, act: Callable[[], None]) -> None:
        """Call `act` when the server begins to go down."""
        self._at_begin.append(act)

    def begin(self) -> None:
        """The server takes no new connections from now on; running answers go on."""
        if not self.begun:
            self.begun = True
            for act in self._at_begin:
                act()

    def expire(self) -> None:
        """Every answer that still runs ends now, with an error that says why."""
        self.begin()
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
