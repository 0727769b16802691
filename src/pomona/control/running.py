"""An answer that runs in a task of its own, for several readers who come and go."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from pomona.core.errors import Cancelled
from pomona.core.generation import GenerateEvent, PromptScored, ReasoningDelta, TextDelta, TokenText, ToolCallDelta

_EVENT_BYTES = 120  # an event, measured without its text
_TOKEN_BYTES = 250  # a token's log-probability with text and bytes, measured


class Budget:
    """Bytes that the events of all answers may take together."""

    def __init__(self, limit: int) -> None:
        self.bytes = limit

    def take(self, count: int) -> bool:
        """Take bytes, or nothing if there are not as many."""
        if count > self.bytes:
            return False
        self.bytes -= count
        return True


class RunningAnswer:
    """Takes events from `source` as fast as the fastest reader wants them, and keeps them for those who join.

    Without readers it goes on: that is what it is kept for. When the budget is used up it stops to be joinable, and keeps only what
    its slowest reader has not seen; without readers it then ends.
    """

    def __init__(self, source: AsyncGenerator[GenerateEvent], budget: Budget) -> None:
        self._budget = budget
        self._taken_bytes = 0
        self._events: deque[GenerateEvent] = deque()
        self._first = 0  # the number of the first event kept
        self._positions: dict[object, int] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._wanted = asyncio.Event()
        self._kept = True
        self._task = asyncio.ensure_future(self._pump(source))
        self._task.add_done_callback(self._on_done)

    @property
    def joinable(self) -> bool:
        """All of it is there, or will be."""
        failed = self._task.done() and (self._task.cancelled() or self._task.exception() is not None)
        return self._kept and not failed

    @property
    def readers(self) -> int:
        """Those who read now."""
        return len(self._positions)

    async def read(self) -> AsyncGenerator[GenerateEvent]:
        """All events from the beginning. Raises what the source raised."""
        reader = object()
        self._positions[reader] = self._first
        try:
            while (event := await self._next(reader)) is not None:
                yield event
        finally:
            del self._positions[reader]
            if not self._positions:
                self._wanted.set()

    def forget(self) -> None:
        """Nobody can join any more: keep only what is still to be read."""
        self._kept = False
        self._budget.bytes += self._taken_bytes
        self._taken_bytes = 0
        self._trim()

    def cancel(self) -> None:
        """End the work."""
        self._task.cancel()

    async def end(self) -> None:
        """End the work and wait until it has ended."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _next(self, reader: object) -> GenerateEvent | None:
        position = self._positions[reader]
        while position - self._first >= len(self._events):
            if self._task.done():
                return self._conclude()
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            self._wanted.set()
            await waiting
        event = self._events[position - self._first]
        self._positions[reader] = position + 1
        if not self._kept:
            self._trim()
        return event

    def _conclude(self) -> None:
        if self._task.cancelled():
            raise Cancelled("The server stopped this answer. Send the request again.")
        self._task.result()

    async def _pump(self, source: AsyncGenerator[GenerateEvent]) -> None:
        async with aclosing(source) as events:
            async for event in events:
                self._events.append(event)
                self._account(event)
                self._wake()
                if self._positions:
                    await self._demand()
                elif not self._kept:
                    return

    async def _demand(self) -> None:
        """Wait until a reader wants more, or none is left."""
        while self._positions and not self._waiting:
            self._wanted.clear()
            await self._wanted.wait()

    def _account(self, event: GenerateEvent) -> None:
        if not self._kept:
            return
        size = _size(event)
        if self._budget.take(size):
            self._taken_bytes += size
        else:
            self.forget()

    def _trim(self) -> None:
        slowest = min(self._positions.values(), default=self._first + len(self._events))
        while self._first < slowest and self._events:
            self._events.popleft()
            self._first += 1

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done():
                each.set_result(None)

    def _on_done(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            task.exception()  # readers raise it; without one nobody has to
        self._wake()


def _size(event: GenerateEvent) -> int:
    match event:
        case TextDelta():
            return _EVENT_BYTES + len(event.text) + _tokens_size(event.logprobs)
        case ReasoningDelta():
            return _EVENT_BYTES + len(event.text)
        case ToolCallDelta():
            return _EVENT_BYTES + len(event.arguments)
        case PromptScored():
            return _EVENT_BYTES + _tokens_size(event.rest)
        case _:
            return _EVENT_BYTES


def _tokens_size(tokens: Sequence[TokenText]) -> int:
    return sum(_TOKEN_BYTES * (1 + len(token.top)) for token in tokens)
