"""A request that is sent again joins the answer that runs; nothing else is ever joined, and nothing is left at work."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import pytest

from pomona.control.callers import Caller
from pomona.control.coalescing import Coalescer, Origin
from pomona.control.stack import Control
from pomona.core.errors import EngineFailed, TimedOut
from pomona.core.generation import GenerateEvent, GenerateRequest, Started, TextDelta
from pomona.core.settings import LimitsSettings, Settings
from tests.doubles import ScriptedGenerator, answer

PATIENCE_SECONDS = 120
FIRST = Origin(account="a", retries=0)
AGAIN = Origin(account="a", retries=1)
ASKED = GenerateRequest(id="1", model="m", text="x")
RESENT = replace(ASKED, id="2", priority="high")
IN_SESSION = replace(ASKED, session="s")


@dataclass
class Timer:
    seconds: float
    act: Callable[[], object]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Timers:
    """Timers that a test lets run out."""

    waiting: list[Timer] = field(default_factory=list[Timer])

    def __call__(self, seconds: float, act: Callable[[], object]) -> Timer:
        self.waiting.append(Timer(seconds, act))
        return self.waiting[-1]

    def run_out(self) -> None:
        for timer in self.waiting:
            if not timer.cancelled:
                timer.act()
        self.waiting.clear()


@dataclass
class Scene:
    """A coalescer in front of a double which says 'one', waits for `go`, and says the rest."""

    budget_bytes: int = 2**20
    go: asyncio.Event = field(default_factory=asyncio.Event)
    timers: Timers = field(default_factory=Timers)

    def __post_init__(self) -> None:
        first, second, *rest = answer("one", " two", " three")
        self.inner = ScriptedGenerator(script=[first, second, self.go, *rest])
        self.coalescer = Coalescer(self.inner, grace_seconds=5, budget_bytes=self.budget_bytes, call_later=self.timers)

    def ask(self, request: GenerateRequest, origin: Origin) -> AsyncGenerator[GenerateEvent]:
        return self.coalescer.of(origin).generate(request)


@pytest.fixture
async def scene() -> Scene:
    return Scene()


async def text_of(stream: AsyncGenerator[GenerateEvent]) -> str:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return "".join([event.text async for event in stream if isinstance(event, TextDelta)])


async def begin(stream: AsyncGenerator[GenerateEvent]) -> None:
    """Read on to the first text."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert isinstance(await anext(stream), Started)
        assert await anext(stream) == TextDelta(text="one")


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_resent_request_gets_everything_from_the_beginning_and_then_live(scene: Scene) -> None:
    async with aclosing(scene.ask(ASKED, FIRST)) as first, aclosing(scene.ask(RESENT, AGAIN)) as second:
        await begin(first)
        await begin(second)
        scene.go.set()
        assert [await text_of(each) for each in (first, second)] == [" two three"] * 2
    assert len(scene.inner.seen) == 1
    assert scene.inner.running == scene.coalescer.running == 0


@pytest.mark.parametrize(
    ("request_", "origin"),
    [
        (RESENT, FIRST),
        (RESENT, Origin(account="a")),
        (RESENT, replace(AGAIN, account="b")),
        (RESENT, replace(AGAIN, index=1)),
        (RESENT, replace(AGAIN, idempotency_key="k")),
        (replace(RESENT, text="y"), AGAIN),
        (replace(RESENT, caller="b"), AGAIN),
        (replace(RESENT, session="s"), AGAIN),
    ],
    ids=["not-resent", "no-library", "other-account", "other-choice", "other-key", "other-words", "other-caller", "other-session"],
)
async def test_anything_else_is_answered_anew(scene: Scene, request_: GenerateRequest, origin: Origin) -> None:
    scene.go.set()
    async with aclosing(scene.ask(ASKED, FIRST)) as first:
        await begin(first)
        assert await text_of(scene.ask(request_, origin)) == "one two three"
    assert len(scene.inner.seen) == 2
    assert scene.inner.running == 0


async def test_the_same_idempotency_key_is_the_same_request(scene: Scene) -> None:
    origin = Origin(account="a", idempotency_key="k")
    async with aclosing(scene.ask(ASKED, origin)) as first, aclosing(scene.ask(RESENT, origin)) as second:
        await begin(first)
        await begin(second)
    assert len(scene.inner.seen) == 1


async def test_equal_requests_of_one_session_are_apart_while_both_are_read(scene: Scene) -> None:
    async with aclosing(scene.ask(IN_SESSION, FIRST)) as first, aclosing(scene.ask(IN_SESSION, FIRST)) as second:
        await begin(first)
        await begin(second)
    assert len(scene.inner.seen) == 2


async def test_work_of_a_session_waits_for_its_client_to_come_back(scene: Scene) -> None:
    async with aclosing(scene.ask(IN_SESSION, Origin())) as first:
        await begin(first)
    assert scene.inner.running == 1
    assert [timer.seconds for timer in scene.timers.waiting] == [5]
    scene.go.set()
    assert await text_of(scene.ask(replace(IN_SESSION, id="2"), Origin())) == "one two three"
    assert scene.timers.waiting[0].cancelled
    assert len(scene.inner.seen) == 1
    assert scene.inner.running == scene.coalescer.running == 0


async def test_an_answer_that_ended_while_nobody_read_is_there_for_who_comes_back(scene: Scene) -> None:
    async with aclosing(scene.ask(IN_SESSION, Origin())) as first:
        await begin(first)
    scene.go.set()
    await scene.inner.ended.wait()
    assert await text_of(scene.ask(IN_SESSION, Origin())) == "one two three"
    assert len(scene.inner.seen) == 1
    assert await text_of(scene.ask(IN_SESSION, Origin())) == "one two three"
    assert len(scene.inner.seen) == 2


async def test_work_that_nobody_comes_back_for_is_cancelled(scene: Scene) -> None:
    async with aclosing(scene.ask(IN_SESSION, Origin())) as first:
        await begin(first)
    scene.timers.run_out()
    await settle()
    assert scene.inner.closed_early == ["1"]
    assert scene.inner.running == scene.coalescer.running == 0


async def test_without_a_session_the_work_ends_with_its_last_reader(scene: Scene) -> None:
    async with aclosing(scene.ask(ASKED, FIRST)) as first:
        await begin(first)
        async with aclosing(scene.ask(RESENT, AGAIN)) as second:
            await begin(second)
        assert scene.inner.running == 1
    assert scene.inner.closed_early == ["1"]
    assert scene.timers.waiting == []


async def test_at_the_end_of_the_server_nobody_is_waited_for(scene: Scene) -> None:
    async with aclosing(scene.ask(IN_SESSION, Origin())) as reading:
        await begin(reading)
        async with aclosing(scene.ask(replace(IN_SESSION, text="y"), Origin())) as left:
            await begin(left)
        scene.coalescer.end_orphans()
        await settle()
        assert scene.inner.running == 1
    assert scene.inner.running == scene.coalescer.running == 0


async def test_a_failure_reaches_all_readers_and_is_not_kept(scene: Scene) -> None:
    scene.inner.script = [*answer("one")[:2], scene.go, EngineFailed("It died.")]
    async with aclosing(scene.ask(IN_SESSION, FIRST)) as first, aclosing(scene.ask(IN_SESSION, AGAIN)) as second:
        await begin(first)
        await begin(second)
        scene.go.set()
        for each in (first, second):
            with pytest.raises(EngineFailed, match=r"It died\."):
                await text_of(each)
    scene.inner.script = answer("fine")
    assert await text_of(scene.ask(IN_SESSION, AGAIN)) == "fine"


async def test_the_reader_sets_the_pace(scene: Scene) -> None:
    scene.inner.script = answer(*"abcdefgh")
    async with aclosing(scene.ask(ASKED, FIRST)) as stream:
        await anext(stream)
        await anext(stream)
        await settle()
        assert scene.inner.pulled == 2
        async with aclosing(scene.ask(RESENT, AGAIN)) as second:
            assert await text_of(second) == "abcdefgh"
        assert await text_of(stream) == "bcdefgh"


async def test_an_answer_too_long_to_keep_is_still_read_to_its_end_but_not_joined() -> None:
    scene = Scene(budget_bytes=300)
    scene.go.set()
    async with aclosing(scene.ask(ASKED, FIRST)) as first:
        await begin(first)
        await anext(first)
        assert await text_of(scene.ask(RESENT, AGAIN)) == "one two three"
        assert await text_of(first) == " three"
    assert len(scene.inner.seen) == 2
    assert scene.inner.running == 0


async def test_what_was_kept_is_given_back() -> None:
    scene = Scene(budget_bytes=1000)
    scene.go.set()
    for _ in range(20):
        assert await text_of(scene.ask(IN_SESSION, FIRST)) == "one two three"
        async with aclosing(scene.ask(ASKED, FIRST)) as first:
            await begin(first)
            assert scene.coalescer.of(AGAIN).joins(RESENT)


async def test_an_orphan_that_grows_too_long_ends() -> None:
    scene = Scene(budget_bytes=400)
    async with aclosing(scene.ask(IN_SESSION, Origin())) as first:
        await begin(first)
    scene.go.set()
    await settle()
    assert scene.inner.running == 0


async def test_an_answer_that_takes_too_long_is_ended_with_the_reason() -> None:
    inner = ScriptedGenerator(script=[*answer("one")[:2], asyncio.Event()])
    control = Control(inner, Settings(limits=LimitsSettings(request_seconds=0.01)), clock=lambda: 0.0, backlog=lambda: 0)
    call = control.call(Caller(), [ASKED], [FIRST])

    async def merged() -> AsyncGenerator[tuple[int, GenerateEvent]]:
        async with aclosing(call.generators[0].generate(ASKED)) as events:
            async for event in events:
                yield 0, event

    async def read() -> None:
        async for _ in control.guard(call, merged(), lambda _: None):
            pass

    with pytest.raises(TimedOut, match=r"0\.01 seconds.*limits\.request_seconds"):
        await read()
    assert inner.running == control.queue.count == 0
