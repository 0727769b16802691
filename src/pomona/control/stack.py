"""The way of every call to the model, from the outside in. `Control` is what stands between HTTP and the backend.

1. limited: the caller's requests, tokens and answers at a time (`limits.py`); too many are refused with the time to come again.
2. queued: all callers' answers together (`queue.py`); joining an answer that runs needs no place.
3. timed: an answer takes at most `limits.request_seconds`.
4. recorded and merged: one record for each answer, several choices as one stream (`server/recording.py`, `server/merging.py`).
5. coalesced: a request that was sent again joins the answer that runs (`coalescing.py`).
6. the backend: the model's name chooses who answers.

`check` does 1 and 2 without taking anything, so that a refusal has a status of its own; `guard` does 1 to 3, when the first event is
asked for.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass

from pomona.control.callers import Caller
from pomona.control.coalescing import CallLater, CoalescedGenerator, Coalescer, Origin
from pomona.control.limits import Limiter, Standing
from pomona.control.queue import Queue, Wait
from pomona.core.errors import PomonaError, TimedOut
from pomona.core.generation import GenerateEvent, GenerateRequest
from pomona.core.ports import Generator
from pomona.core.settings import Settings

Events = AsyncGenerator[tuple[int, GenerateEvent]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call: who asks for which answers, and the generator for each. All requests have the same priority."""

    caller: Caller
    requests: tuple[GenerateRequest, ...]
    generators: tuple[CoalescedGenerator, ...]

    @property
    def new(self) -> int:
        """The answers that need work of their own now."""
        pairs = zip(self.generators, self.requests, strict=True)
        return sum(not generator.joins(request) for generator, request in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What a caller is told with its answer."""

    standing: Standing
    wait: Wait | None
    coalesced: bool
    """The whole call joins answers that run."""


class Control:
    """Everything that is decided about a call before the model sees it. `clock` is in seconds and only rises; `backlog` is how many
    requests the engines say are waiting.
    """

    def __init__(
        self,
        backend: Generator,
        settings: Settings,
        *,
        clock: Callable[[], float],
        backlog: Callable[[], int],
        call_later: CallLater | None = None,
    ) -> None:
        limits, engine = settings.limits, settings.engine
        self._seconds = limits.request_seconds
        self.limiter = Limiter(clock)
        self.queue = Queue(
            rows=engine.max_rows,
            places=engine.max_rows + engine.max_waiting,
            clock=clock,
            backlog=backlog,
            most_seconds=limits.max_wait_seconds,
        )
        self.coalescer = Coalescer(
            backend, grace_seconds=limits.retry_grace_seconds, budget_bytes=limits.retry_buffer_bytes, call_later=call_later
        )

    def call(self, caller: Caller, requests: Sequence[GenerateRequest], origins: Sequence[Origin]) -> Call:
        """A call of `caller`; an origin for each request."""
        generators = tuple(self.coalescer.of(origin) for origin in origins)
        return Call(caller=caller, requests=tuple(requests), generators=generators)

    def check(self, call: Call) -> Admission:
        """Whether `call` is welcome now. Takes nothing. Raises RateLimited, Overloaded and InvalidRequest."""
        standing = self.limiter.check(call.caller, call.requests)
        new = call.new
        wait = self.queue.check(new, call.requests[0].priority) if new else None
        return Admission(standing=standing, wait=wait, coalesced=new == 0)

    async def guard(self, call: Call, merged: Events, on_refusal: Callable[[PomonaError], None]) -> Events:
        """`merged`, within the limits; what was taken is given back when it ends or is closed.

        Raises like `check`, before any event, and tells `on_refusal` first.
        """
        with ExitStack() as taken:
            try:
                stay = taken.enter_context(self.limiter.stay(call.caller, call.requests))
                place = taken.enter_context(self.queue.place(call.new, call.requests[0].priority))
            except PomonaError as error:
                on_refusal(error)
                raise
            async with aclosing(self._timed(merged)) as events:
                async for index, event in events:
                    stay.see(index, event)
                    place.see(event)
                    yield index, event

    def _timed(self, merged: Events) -> Events:
        return merged if self._seconds is None else _within(self._seconds, merged)


async def _within(seconds: float, merged: Events) -> Events:
    deadline = asyncio.get_running_loop().time() + seconds
    async with aclosing(merged) as events:
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    item = await anext(events, None)
            except TimeoutError:
                raise TimedOut(
                    f"The answer took longer than {seconds:g} seconds. Ask for less, or raise the setting limits.request_seconds."
                ) from None
            if item is None:
                return
            yield item
