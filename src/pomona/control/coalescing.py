"""Requests that are sent again join the answer that already runs, instead of doubling the work.

A client that lost patience asks the same once more, while the server may still be at the first one: served anew each time, a slow machine
would never finish any. What joins is the same question of the same caller that is marked as sent again, see `Origin`. It gets all
events from the beginning, then live. Equal questions without such a mark are somebody's wish for several answers and are never joined.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from pomona.control.running import Budget, RunningAnswer
from pomona.core.generation import Finished, GenerateEvent, GenerateRequest
from pomona.core.ports import Generator


class Timer(Protocol):
    """What `loop.call_later` gives back."""

    def cancel(self) -> None:
        """Do not call."""
        ...


CallLater = Callable[[float, Callable[[], object]], Timer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a request came from, and what tells whether it was sent before."""

    account: str = ""
    index: int = 0
    """Which of the answers of its call: equal ones of one call are wanted apart."""
    retries: int | None = None
    """How often the client's library says it has sent this before; None where it does not count."""
    idempotency_key: str = ""
    """The same key means the same request, says the client."""

    @property
    def sent_again(self) -> bool:
        """The client says that it has sent this before."""
        return bool(self.retries)


class Coalescer:
    """Generators that share answers. Work whose last reader left is cancelled at once; that of a session, or with an idempotency key,
    `grace_seconds` later. `budget_bytes` bounds what is kept for those who may join, of all answers together.
    """

    def __init__(self, inner: Generator, *, grace_seconds: float, budget_bytes: int, call_later: CallLater | None = None) -> None:
        self._inner = inner
        self._grace_seconds = grace_seconds
        self._budget = Budget(budget_bytes)
        self._call_later = call_later
        self._open: dict[bytes, list[_Run]] = {}

    def of(self, origin: Origin) -> "CoalescedGenerator":
        """The generator for a request from `origin`."""
        return CoalescedGenerator(self, origin)

    @property
    def running(self) -> int:
        """Answers that can be joined now."""
        return sum(map(len, self._open.values()))

    def end_orphans(self) -> None:
        """Nobody comes back any more: cancel all work without a reader, and keep none from now on."""
        self._grace_seconds = 0.0
        for run in [run for runs in self._open.values() for run in runs if run.answer.readers == 0]:
            self._close(run)
            run.answer.cancel()

    def of_its_own(self, request: GenerateRequest) -> AsyncGenerator[GenerateEvent]:
        """An answer that nobody can join."""
        return self._inner.generate(request)

    def may_come_again(self, request: GenerateRequest, origin: Origin) -> bool:
        """Whether this request can be told from others if it is sent again; others cost nothing here."""
        return self._budget.bytes > 0 and bool(origin.idempotency_key or request.session or origin.retries is not None)

    def find(self, key: bytes, request: GenerateRequest, origin: Origin) -> "_Run | None":
        """The answer that `request` joins. One without a reader is preferred: its reader is the one who asks again."""
        runs = sorted(self._open.get(key, ()), key=lambda run: run.answer.readers)
        return next((run for run in runs if run.welcomes(request, origin)), None)

    def start(self, key: bytes, request: GenerateRequest, origin: Origin) -> "_Run":
        """A new answer, which others may join."""
        answer = RunningAnswer(self._inner.generate(request), self._budget)
        keeps = bool(request.session or origin.idempotency_key)
        run = _Run(
            key=key, request_id=request.id, answer=answer, session=request.session, idempotency_key=origin.idempotency_key, keeps=keeps
        )
        self._open.setdefault(key, []).append(run)
        return run

    async def leave(self, run: "_Run", *, complete: bool) -> None:
        """A reader goes; `complete` if it has all. Work that nobody wants any more has ended when this returns."""
        if run.answer.readers:
            return
        if not complete and run.keeps and self._grace_seconds > 0 and run.answer.joinable:
            later = self._call_later or asyncio.get_running_loop().call_later
            run.timer = later(self._grace_seconds, lambda: self._expire(run))
            run.answer.go_on()
            return
        self._close(run)
        await run.answer.end()

    def _expire(self, run: "_Run") -> None:
        self._close(run)
        run.answer.cancel()

    def _close(self, run: "_Run") -> None:
        """Nobody can join any more."""
        if run.timer:
            run.timer.cancel()
        runs = self._open.get(run.key, [])
        if run in runs:
            runs.remove(run)
            run.answer.forget()
        if not runs:
            self._open.pop(run.key, None)


class CoalescedGenerator:
    """A Generator for one request: joins an answer or begins one."""

    def __init__(self, coalescer: Coalescer, origin: Origin) -> None:
        self._coalescer = coalescer
        self._origin = origin
        self._known: tuple[GenerateRequest, bytes] | None = None

    def joins(self, request: GenerateRequest) -> bool:
        """Whether `request` would join an answer now, and so need no work of its own."""
        if not self._coalescer.may_come_again(request, self._origin):
            return False
        return self._coalescer.find(self._key(request), request, self._origin) is not None

    def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateEvent]:
        """Answer `request`."""
        if not self._coalescer.may_come_again(request, self._origin):
            return self._coalescer.of_its_own(request)
        return self._read(request)

    async def _read(self, request: GenerateRequest) -> AsyncGenerator[GenerateEvent]:
        key = self._key(request)
        run = self._coalescer.find(key, request, self._origin)
        if run is None:
            run = self._coalescer.start(key, request, self._origin)
        elif request.trace:
            request.trace.join(run.request_id)
        run.keep_on()
        complete = False
        try:
            async with aclosing(run.answer.read()) as events:
                async for event in events:
                    complete = isinstance(event, Finished)
                    yield event
        finally:
            await self._coalescer.leave(run, complete=complete)

    def _key(self, request: GenerateRequest) -> bytes:
        if self._known is None or self._known[0] is not request:
            self._known = request, _content_key(request, self._origin)
        return self._known[1]


@dataclass(slots=True, kw_only=True, eq=False)
class _Run:
    key: bytes
    request_id: str
    answer: RunningAnswer
    session: str
    idempotency_key: str
    keeps: bool
    timer: Timer | None = None

    def welcomes(self, request: GenerateRequest, origin: Origin) -> bool:
        """Whether `request`, which asks the same, is this one sent again."""
        if not self.answer.joinable:
            return False
        if origin.idempotency_key or self.idempotency_key:
            return origin.idempotency_key == self.idempotency_key
        orphaned = self.answer.readers == 0
        return origin.sent_again or (orphaned and bool(request.session) and request.session == self.session)

    def keep_on(self) -> None:
        """A reader has come (back)."""
        if self.timer:
            self.timer.cancel()
            self.timer = None


def _content_key(request: GenerateRequest, origin: Origin) -> bytes:
    """The same for the same question of the same caller, whatever its id and its priority."""
    content = (replace(request, id="", priority="normal", trace=None), origin.account, origin.index)
    try:
        packed = msgspec.msgpack.encode(content, enc_hook=repr)
    except OverflowError:  # a JSON Schema may hold integers of more than 64 bits
        packed = repr(content).encode()
    return hashlib.blake2b(packed, digest_size=16).digest()
