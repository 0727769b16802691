"""The gateway's side of decoding: a few worker processes, started when they are needed, ended when they take too long."""

import contextlib
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO, Self, cast

import msgspec

from pomona.core.errors import PictureRefused
from pomona.pictures.decoding.protocol import FromWorker, Job, Limits, Opened, Pixels, Recipe, Recipes, Refused, receive, send

COMMAND = (sys.executable, "-P", "-m", "pomona.pictures.decoding")
"""-P: files in the working folder must not pass for modules."""
WORKERS = 2
SECONDS = 30.0
"""Longest time for one file, on a slow and busy machine."""
Plan = Callable[[Sequence[tuple[int, int]]], Sequence[Recipe]]
"""What to make of pictures of these (width, height)."""


class Decoder:
    """Decodes in other processes. Each call blocks its thread; at most `workers` work at a time. Close it at the end."""

    def __init__(self, command: Sequence[str] = COMMAND, *, workers: int = WORKERS, seconds: float = SECONDS) -> None:
        self._command = command
        self._seconds = seconds
        self._slots: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(workers):
            self._slots.put(None)
        self._workers = workers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def decode(self, source: bytes, limits: Limits, plan: Plan) -> list[bytes]:
        """RGB bytes of each picture that `source` holds, as `plan` wants them. Raises PictureRefused, whose message is the rest of a
        sentence that begins with the picture's name; and what `plan` raises.
        """
        worker = self._slots.get()
        try:
            if worker is not None and not worker.usable:  # it died between two jobs
                worker.end()
                worker = None
            worker = worker or _Worker(self._command)
            return worker.decode(Job(source, limits), plan, self._seconds)
        finally:
            if worker is not None and not worker.usable:
                worker.end()
                worker = None
            self._slots.put(worker)

    def close(self) -> None:
        """End the processes. Later calls start new ones."""
        for worker in [self._slots.get() for _ in range(self._workers)]:
            if worker is not None:
                worker.end()
            self._slots.put(None)


class _Worker:
    """One process. After anything unforeseen it is dead: the next job gets a new one."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, process_group=0)
        self._requests, self._answers = cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)
        self._late = False
        self._sound = True

    @property
    def usable(self) -> bool:
        """Whether it may get another job. One that was killed may not, though the system takes a while to end it."""
        return self._sound and not self._late and self._process.poll() is None

    def decode(self, job: Job, plan: Plan, seconds: float) -> list[bytes]:
        timer = threading.Timer(seconds, self._give_up)
        timer.start()
        self._sound = False
        try:
            found = self._exchange(job, plan)
            self._sound = True
        except PictureRefused:
            self._sound = True
            raise
        except (OSError, EOFError, msgspec.MsgspecError):
            reason = (
                f"takes longer than {seconds:g} seconds to decode" if self._late else "makes the decoder fail; it is damaged or hostile"
            )
            raise PictureRefused(reason) from None
        finally:
            timer.cancel()
            timer.join()  # from here on it does not give up any more
            if not self._sound:
                self._process.kill()
        if isinstance(found, Refused):
            raise PictureRefused(found.reason)
        return found.pictures

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._requests, self._answers):
            with contextlib.suppress(OSError):  # what is left for a dead process cannot be written, and need not be
                pipe.close()

    def _exchange(self, job: Job, plan: Plan) -> Pixels | Refused:
        answer = self._ask(job)
        if isinstance(answer, Opened):
            answer = self._ask(Recipes(self._planned(plan, answer.sizes)))
        if isinstance(answer, Opened):
            raise EOFError
        return answer

    def _planned(self, plan: Plan, sizes: Sequence[tuple[int, int]]) -> list[Recipe]:
        try:
            return list(plan(sizes))
        except PictureRefused:
            self._send(Recipes([]))
            raise

    def _ask(self, message: Job | Recipes) -> FromWorker:
        self._send(message)
        packed = receive(self._answers)
        if packed is None:
            raise EOFError
        return msgspec.msgpack.decode(packed, type=FromWorker)

    def _send(self, message: Job | Recipes) -> None:
        send(self._requests, message)

    def _give_up(self) -> None:
        self._late = True
        self._process.kill()
