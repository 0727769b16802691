"""An answer that several readers may share, who come and go.

Whoever wants an event that is not there yet takes it from the source in his own task, so one reader alone costs neither a task nor a
queue. Only when that reader is cancelled amid a step, or when the last one leaves work that shall go on, a task of its own takes over.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence

from pomona.control.steps import Outcome, Step
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

    When the budget is used up it stops to be joinable, and keeps only what its slowest reader has not seen.
    """

    def __init__(self, source: AsyncGenerator[GenerateEvent], budget: Budget) -> None:
        self._source = source
        self._budget = budget
        self._taken_bytes = 0
        self._events: deque[GenerateEvent] = deque()
        self._first = 0  # the number of the first event kept
        self._positions: dict[object, int] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._kept = True
        self._stepping = False  # somebody takes the next event now
        self._outcome = Outcome()
        self._task: asyncio.Task[None] | None = None

    @property
    def joinable(self) -> bool:
        """All of it is there, or will be."""
        return self._kept and self._outcome.failure is None

    @property
    def readers(self) -> int:
        """Those who read now."""
        return len(self._positions)

    async def read(self) -> AsyncGenerator[GenerateEvent]:
        """All events from the beginning. Raises what the source raised."""
        reader = object()
        position = self._positions[reader] = self._first
        try:
            while True:
                if position - self._first < len(self._events):
                    event = self._events[position - self._first]
                    position = self._positions[reader] = position + 1
                    if not self._kept:
                        self._trim()
                    yield event
                elif self._outcome.ended:
                    self._outcome.conclude()
                    return
                elif self._stepping:
                    await self._news()
                else:
                    await self._take()
        finally:
            del self._positions[reader]

    def go_on(self) -> None:
        """Work to the end although nobody reads, for those who come back. Ends early when the budget is used up."""
        if not self._outcome.ended and not self._stepping:
            self._begin_task(None)

    def forget(self) -> None:
        """Nobody can join any more: keep only what is still to be read."""
        self._kept = False
        self._budget.bytes += self._taken_bytes
        self._taken_bytes = 0
        self._trim()

    def cancel(self) -> None:
        """End the work that goes on without readers."""
        if self._task is not None:
            # A task that is cancelled before its first step never runs, and would leave the step that it took over as it is.
            asyncio.get_running_loop().call_soon(self._task.cancel)

    async def end(self) -> None:
        """End the work, which nobody reads, and wait until it has ended."""
        if self._task is not None:
            self.cancel()
            await asyncio.wait([self._task])
        await self._source.aclose()

    async def _take(self) -> None:
        """Take the next event in this task. If it is cancelled meanwhile, a task of its own finishes the step."""
        step = Step(self._source)
        self._stepping = True
        try:
            with self._outcome:
                self._note(await step)
        except asyncio.CancelledError:
            if step.left:
                self._begin_task(step)
                raise
            self._outcome.fail(_stopped())  # not the reader was cancelled but something inside the source
        finally:
            self._stepping = step.left
            if not step.left:
                self._wake()

    async def _news(self) -> None:
        """Wait for the step that somebody else takes."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def _begin_task(self, step: Step[GenerateEvent] | None) -> None:
        self._stepping = True
        self._task = asyncio.ensure_future(self._work(step))

    async def _work(self, step: Step[GenerateEvent] | None) -> None:
        """Finish `step`, then go on until somebody reads again: that one then takes the steps."""
        try:
            with self._outcome:
                if step is not None:
                    self._note(await step.rest())
                while self._kept and not self._positions:
                    self._note(await anext(self._source))
            if not self._positions and not self._outcome.ended:  # no room to keep more, for nobody
                self._outcome.fail(_stopped())
                await self._source.aclose()
        except asyncio.CancelledError:
            self._outcome.fail(_stopped())
            raise
        finally:
            self._stepping, self._task = False, None
            self._wake()

    def _note(self, event: GenerateEvent) -> None:
        self._events.append(event)
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
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done():
                each.set_result(None)


def _stopped() -> Cancelled:
    return Cancelled("The server stopped this answer. Send the request again.")


def _size(event: GenerateEvent) -> int:
    match event:
        case TextDelta():
            return _EVENT_BYTES + len(event.text) + (_tokens_size(event.logprobs) if event.logprobs else 0)
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
