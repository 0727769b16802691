"""`Pulls` of `pomona.core.ports`: downloads in the background, in a thread with an event loop of its own.

So neither checksums nor a slow disk hold up who serves answers in this process.
"""

import asyncio
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from pomona.core.errors import NotFound, PomonaError
from pomona.core.hub import PullRequest, PullStatus
from pomona.core.telemetry import get_logger
from pomona.hub.naming import Wanted
from pomona.hub.pulling import Progress, Puller

log = get_logger(__name__)
AT_A_TIME = 2
KEPT = 100
"""Pulls that are remembered."""
SPEED_SECONDS = 5.0
_CANCELLED = "It was cancelled. What came is kept: pull again to go on."


@dataclass(slots=True)
class Speed:
    """Bytes a second over the last seconds. `clock` is in seconds and only rises."""

    clock: Callable[[], float] = time.monotonic
    _seen: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])

    def note(self, done: int) -> float:
        """The speed now that `done` bytes are there."""
        now = self.clock()
        self._seen.append((now, done))
        while now - self._seen[0][0] > SPEED_SECONDS and len(self._seen) > 2:
            self._seen.popleft()
        (begin, before), seconds = self._seen[0], now - self._seen[0][0]
        del begin
        return max(0.0, (done - before) / seconds) if seconds > 0 else 0.0


@dataclass(slots=True)
class _Job:
    request: PullRequest
    status: PullStatus
    ended: "Future[None]" = field(default_factory=Future[None])
    task: "asyncio.Task[None] | None" = None
    names: list[str] = field(default_factory=list[str])


class BackgroundPulls:
    """Runs pulls; to be closed, which cancels those that run."""

    def __init__(self, puller: Puller) -> None:
        self._puller = puller
        self._jobs: dict[str, _Job] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._places = asyncio.Semaphore(AT_A_TIME)

    def start(self, request: PullRequest) -> PullStatus:
        """Begin, or join a running download of the same model. Raises InvalidRequest, and Conflict for a name that is taken."""
        wanted = Wanted.parse(request.reference)
        if request.name is not None:
            self._puller.registry.check_alias(request.name)
        running = self._running(wanted, request)
        if running is not None:
            running.names += [request.name] if request.name is not None and request.name != running.request.name else []
            return running.status
        status = PullStatus(id=f"pull_{secrets.token_hex(8)}", reference=wanted.reference, state="queued")
        job = _Job(request, status)
        self._jobs[status.id] = job
        self._forget_old()
        self._in_background(self._run(job), job)
        return status

    def pulls(self) -> tuple[PullStatus, ...]:
        """All since the start, the newest first; of the ended ones the last hundred."""
        return tuple(job.status for job in reversed(self._jobs.values()))

    def is_pulling(self, repository: str) -> bool:
        """Whether files of `repository` are coming."""
        return any(Wanted.parse(job.request.reference).repository == repository for job in self._jobs.values() if not job.ended.done())

    async def cancel(self, id: str) -> PullStatus:
        """Stop a download; what it has is kept for the next try. One that has ended stays as it is. Raises NotFound."""
        job = self._jobs.get(id)
        if job is None:
            raise NotFound(f"There is no pull {id!r}. GET /admin/pulls lists those of the last time.")
        self._stop(job)
        await asyncio.shield(asyncio.wrap_future(job.ended))
        return job.status

    def close(self) -> None:
        """Cancel what runs and wait for its end."""
        for job in list(self._jobs.values()):
            self._stop(job)
            job.ended.result()
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = None

    async def _run(self, job: _Job) -> None:
        speed = Speed()

        def note(now: Progress) -> None:
            moving = now.state == "downloading"
            rate = speed.note(now.done) if moving else 0.0
            size = {"done_bytes": now.done, "total_bytes": now.total} if moving else {}
            job.status = replace(job.status, state=now.state, bytes_per_second=rate, file=now.file, **size)

        try:
            async with self._places:
                model = await self._puller.pull(job.request, note)
                for name in job.names:
                    self._puller.registry.set_alias(name, model)
            self._end(job, replace(job.status, state="finished", model=model))
        except asyncio.CancelledError:
            self._end(job, replace(job.status, state="cancelled", problem=_CANCELLED))
        except PomonaError as error:
            self._end(job, replace(job.status, state="failed", problem=error.message))
        except OSError as error:
            self._end(job, replace(job.status, state="failed", problem=f"{error.strerror or error}: {error.filename!r}"))

    def _settle(self, job: _Job) -> None:
        """Nobody may wait for ever: not for a task that was cancelled before it began, nor for one that met a fault of ours."""
        if job.ended.done():
            return
        if job.task is not None and job.task.cancelled():
            self._end(job, replace(job.status, state="cancelled", problem=_CANCELLED))
        else:
            self._end(job, replace(job.status, state="failed", problem="Something went wrong inside Pomona. Its log has the details."))

    def _end(self, job: _Job, status: PullStatus) -> None:
        job.status = replace(status, bytes_per_second=0.0, file=None)
        log.info("pull_ended", pull=status.id, reference=status.reference, state=status.state, problem=status.problem)
        job.ended.set_result(None)

    def _running(self, wanted: Wanted, request: PullRequest) -> _Job | None:
        same = (wanted.reference, request.quantize)
        return next(
            (job for job in self._jobs.values() if not job.ended.done() and (job.status.reference, job.request.quantize) == same), None
        )

    def _forget_old(self) -> None:
        ended = [id for id, job in self._jobs.items() if job.ended.done()]
        for id in ended[: max(0, len(ended) - KEPT)]:
            del self._jobs[id]

    def _stop(self, job: _Job) -> None:
        if self._loop is not None and job.task is not None and not job.ended.done():
            self._loop.call_soon_threadsafe(job.task.cancel)

    def _in_background(self, work: Coroutine[None, None, None], job: _Job) -> None:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="pulls", daemon=True)
            self._thread.start()
        begun = threading.Event()

        def begin() -> None:
            job.task = asyncio.get_running_loop().create_task(work)
            job.task.add_done_callback(lambda _: self._settle(job))
            begun.set()

        self._loop.call_soon_threadsafe(begin)
        begun.wait()
