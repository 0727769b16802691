"""One call to a model for vectors, with what stands before every call: limits, the queue, the time, the record, leaving clients."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import ExitStack, aclosing
from dataclasses import replace
from typing import Generic, TypeVar

from starlette.requests import Request

from pomona.control.callers import Caller, priority_for
from pomona.core.errors import RateLimited, TimedOut
from pomona.core.generation import Finished, GenerateEvent, GenerateRequest, Started, Usage
from pomona.server.access.visits import caller_of, limit_headers, tell, wanted_priority
from pomona.server.drain import attend
from pomona.server.errors import shape_of
from pomona.server.services import Services
from pomona.server.tracing.current import trace_answer

T = TypeVar("T")
Work = Callable[[str], Awaitable[tuple[T, int]]]
"""Caller's id to the result and the tokens that were read."""


async def call(services: Services, http: Request, endpoint: str, request: GenerateRequest, work: Work[T]) -> T:
    """Do `work` for the caller of `http`. `request` stands for it before limits and in the record: its id, model and length count.

    Raises RateLimited and Overloaded before any work, TimedOut, and what `work` raises.
    """
    caller = caller_of(http.scope)
    limiter, queue = services.control.limiter, services.control.queue
    with services.recorder.refusals(endpoint, request.id, caller.id):
        priority = priority_for(caller, wanted_priority(http.headers), "normal")
        try:
            standing = limiter.check(caller, [request])
        except RateLimited:
            tell(http.scope, limit_headers(limiter.standing(caller), None, shape_of(http.scope)))
            raise
        wait = queue.check(1, priority)
    tell(http.scope, limit_headers(standing, wait, shape_of(http.scope)))
    trace = trace_answer(request.id, request.model)
    measured, recorded = _Measured(work, caller), replace(request, caller=caller.id, priority=priority, trace=trace)
    with ExitStack() as taken:
        with services.recorder.refusals(endpoint, request.id, caller.id):
            stay = taken.enter_context(limiter.stay(caller, [request]))
            taken.enter_context(queue.place(1, priority))
        events = services.recorder.watch(measured, endpoint).generate(recorded)
        await attend(_within(services.settings.limits.request_seconds, events), http.receive, services.drain)
        stay.see(0, Started(prompt_tokens=measured.tokens))
    return measured.result()


class _Measured(Generic[T]):
    """The work as a Generator, which is what records are made of."""

    def __init__(self, work: Work[T], caller: Caller) -> None:
        self._work = work
        self._caller = caller
        self._made: list[T] = []
        self.tokens = 0

    def result(self) -> T:
        """What the work made."""
        return self._made[0]

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateEvent]:
        """Do the work."""
        yield Started(prompt_tokens=0)
        if request.trace:
            request.trace.enter("vectors")
        made, self.tokens = await self._work(self._caller.id)
        self._made.append(made)
        yield Finished(reason="stop", usage=Usage(prompt_tokens=self.tokens))


async def _within(seconds: float | None, events: AsyncGenerator[GenerateEvent]) -> None:
    try:
        async with asyncio.timeout(seconds), aclosing(events):
            async for _ in events:
                pass
    except TimeoutError:
        raise TimedOut(
            f"The answer took longer than {seconds or 0:g} seconds. Ask for less, or raise the setting limits.request_seconds."
        ) from None
