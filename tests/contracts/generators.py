"""The implementations of `core.ports.Generator` that the contract is checked on. To add one, write a function and list it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

from pomona.control.callers import Allowance, Caller
from pomona.control.coalescing import Coalescer, Origin
from pomona.control.stack import Control
from pomona.core.errors import InvalidRequest, PomonaError
from pomona.core.generation import GenerateEvent, GenerateRequest
from pomona.core.metrics import Metrics
from pomona.core.ports import Generator
from pomona.core.settings import LimitsSettings, Settings
from pomona.fleet.generator import ModelGenerator, Words
from pomona.fleet.residency.routing import PooledGenerator
from pomona.models.references import bundled_folder
from pomona.server.merging import merge
from pomona.server.recording import RecordingGenerator
from pomona.text.tokenizer_loading import load_tokenizer
from tests.doubles import Script, ScriptedGenerator, answer
from tests.e2e.engines import ENDLESS, supervised, until
from tests.unit.fleet.residency.street import Street


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A generator and requests with known ends. `idle` returns once nothing is at work for anybody; it may wait for a step."""

    generator: Generator
    finishing: GenerateRequest
    """Ends by itself after at least three pieces of text."""
    endless: GenerateRequest
    """Gives some text and then goes on for longer than any test."""
    refused: GenerateRequest
    refusal: type[PomonaError]
    idle: Callable[[], Awaitable[None]]


SubjectFactory = Callable[[], AbstractAsyncContextManager[Subject]]


@contextlib.asynccontextmanager
async def scripted() -> AsyncGenerator[Subject]:
    """The double that all other tests trust."""
    inner = ScriptedGenerator(choose=_script)
    yield _subject(inner, inner)


@contextlib.asynccontextmanager
async def recording() -> AsyncGenerator[Subject]:
    """The wrapper that measures."""
    inner = ScriptedGenerator(choose=_script)
    yield _subject(RecordingGenerator(inner, "chat.completions", Metrics(), (), asyncio.get_running_loop().time), inner)


@contextlib.asynccontextmanager
async def coalescing() -> AsyncGenerator[Subject]:
    """The wrapper that lets requests which are sent again join."""
    inner = ScriptedGenerator(choose=_script)
    yield _subject(Coalescer(inner, grace_seconds=60, budget_bytes=2**20).of(Origin(retries=0)), inner)


@contextlib.asynccontextmanager
async def coalescing_without_room() -> AsyncGenerator[Subject]:
    """The same wrapper when nothing can be kept for those who might join."""
    inner = ScriptedGenerator(choose=_script)
    yield _subject(Coalescer(inner, grace_seconds=60, budget_bytes=1).of(Origin(retries=0)), inner)


@contextlib.asynccontextmanager
async def controlled() -> AsyncGenerator[Subject]:
    """The whole stack of wrappers."""
    inner = ScriptedGenerator(choose=_script)
    yield _subject(Controlled(inner), inner)


class Controlled:
    """`Control` as the server uses it, for calls of one request, with limits that are never reached."""

    def __init__(self, inner: Generator) -> None:
        limits = LimitsSettings(request_seconds=3600)
        clock = asyncio.get_running_loop().time
        self._control = Control(inner, Settings(limits=limits), clock=clock, backlog=lambda: 0)
        self._caller = Caller(id="k", allowance=Allowance(requests_per_minute=1000, tokens_per_minute=10**6, concurrent=100))

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateEvent]:
        """Answer `request`; afterwards nothing may be taken any more."""
        call = self._control.call(self._caller, [request], [Origin(retries=0)])
        self._control.check(call)
        merged = merge([generator.generate(each) for generator, each in zip(call.generators, call.requests, strict=True)])
        async with contextlib.aclosing(self._control.guard(call, merged, lambda _: None)) as events:
            async for _, event in events:
                yield event
        if self._control.queue.count == 0:
            assert self._control.limiter.account(self._caller).running == 0


@contextlib.asynccontextmanager
async def fleet() -> AsyncGenerator[Subject]:
    """The text side in front of a supervised engine process that counts."""
    words = Words(tokenizer=load_tokenizer(bundled_folder()), template=None)
    with ThreadPoolExecutor(1) as pool:
        async with supervised() as engine:

            async def idle() -> None:
                await until(lambda: engine.report().counters.pages_used == 0)

            yield Subject(
                generator=ModelGenerator(words, engine, pool),
                finishing=GenerateRequest(id="finishing", model="double", text="finishing", max_tokens=200),
                endless=GenerateRequest(id="endless", model="double", text="endless", max_tokens=ENDLESS),
                refused=GenerateRequest(id="refused", model="double", token_ids=(10**6,)),
                refusal=InvalidRequest,
                idle=idle,
            )


@contextlib.asynccontextmanager
async def pooled() -> AsyncGenerator[Subject]:
    """Leases on a model that is loaded when it is asked for."""
    inner = ScriptedGenerator(choose=_script)
    street = Street({"double": 1}, generator=inner)
    async with street.pool() as pool:
        subject = _subject(PooledGenerator(pool, street.let_in), inner)

        async def idle() -> None:
            assert (inner.running, sum(slot.stay.leases for slot in pool.slots if slot.stay)) == (0, 0)

        yield replace(subject, idle=idle)


SUBJECTS: dict[str, SubjectFactory] = {
    "scripted": scripted,
    "recording": recording,
    "coalescing": coalescing,
    "coalescing-without-room": coalescing_without_room,
    "controlled": controlled,
    "pooled": pooled,
    "fleet": fleet,
}


def _script(request: GenerateRequest) -> Script:
    scripts: dict[str, Script] = {
        "finishing": answer("one", " two", " three"),
        "endless": [*answer("one", " two")[:3], asyncio.Event()],
        "refused": [InvalidRequest("The text is 'refused'; this double takes anything else.")],
    }
    return scripts[request.text or ""]


def _subject(generator: Generator, inner: ScriptedGenerator) -> Subject:
    async def idle() -> None:
        assert inner.running == 0

    return Subject(
        generator=generator,
        finishing=GenerateRequest(id="finishing", model="double", text="finishing"),
        endless=GenerateRequest(id="endless", model="double", text="endless"),
        refused=GenerateRequest(id="refused", model="double", text="refused"),
        refusal=InvalidRequest,
        idle=idle,
    )
