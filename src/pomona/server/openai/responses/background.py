"""Responses made in the background: they outlive the request that asked for them, and end with the server at the latest."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.types import Message

from pomona.core.errors import Overloaded
from pomona.server.drain import Drain, attend
from pomona.server.errors import outcome
from pomona.server.openai.responses.producing import Production
from pomona.server.openai.responses.store import ResponseStore


class Job:
    """One response in the making. `log` are its events so far, each under its number."""

    def __init__(self, production: Production) -> None:
        self.production = production
        self.log = production.composer.queue()
        self.task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def add(self, events: list[bytes]) -> None:
        """More events; whoever follows sees them."""
        self.log += events
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def follow(self, after: int) -> AsyncGenerator[bytes]:
        """The events with numbers above `after`, those to come included."""
        sent = after + 1
        while True:
            news = self._news
            if sent < len(self.log):
                chunk, sent = b"".join(self.log[sent:]), len(self.log)
                yield chunk
            elif self.production.composer.ended:
                return
            else:
                await news.wait()


class Jobs:
    """All responses in the making. Raises Overloaded beyond `most`."""

    def __init__(self, store: ResponseStore, drain: Drain, most: int) -> None:
        self._store = store
        self._drain = drain
        self._most = most
        self._running: dict[tuple[str, str], Job] = {}

    def make_room(self) -> None:
        """Raises Overloaded where no further response can be made in the background."""
        if len(self._running) >= self._most:
            raise Overloaded(f"{self._most} responses are being made in the background, which is the limit. Try again later.")

    def start(self, production: Production) -> Job:
        """Begin in the background."""
        job = Job(production)
        request = production.call.request
        self._running[request.caller, request.id] = job
        job.task = asyncio.create_task(self._run(job), name=f"response {request.id}")
        return job

    def find(self, caller: str, response_id: str) -> Job | None:
        """The response in the making of that id."""
        return self._running.get((caller, response_id))

    async def cancel(self, job: Job) -> None:
        """Stop at once, and keep what there is."""
        if job.task is not None:
            job.task.cancel()
            await asyncio.gather(job.task, return_exceptions=True)
        if not job.production.composer.ended:
            job.add(job.production.composer.cancel())
        self._close(job)

    async def _run(self, job: Job) -> None:
        with self._drain.working():
            error = await outcome(attend(self._work(job), _nobody_leaves, self._drain))
            if error is not None:
                job.add(job.production.fail(error))
            self._close(job)

    async def _work(self, job: Job) -> None:
        async with aclosing(job.production.run()) as chunks:
            async for events in chunks:
                job.add(events)

    def _close(self, job: Job) -> None:
        request = job.production.call.request
        if self._running.pop((request.caller, request.id), None) is not None:
            self._store.keep(job.production.stored(tuple(job.log)))


async def _nobody_leaves() -> Message:
    """A `receive` without an end: nobody waits at the other side."""
    return await asyncio.get_running_loop().create_future()
