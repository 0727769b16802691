"""Readers who are cancelled at any moment neither lose an event for others nor leave work behind."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest

from pomona.control.coalescing import Coalescer, Origin
from pomona.core.errors import Cancelled
from pomona.core.generation import GenerateEvent, GenerateRequest, TextDelta
from tests.doubles import answer
from tests.unit.control.test_coalescing import AGAIN, ASKED, FIRST, IN_SESSION, PATIENCE_SECONDS, RESENT, Timers, settle


@dataclass
class Hand:
    """A source that gives texts when it is told to, and waits for them in each way that asyncio has."""

    texts: asyncio.Queue[str] = field(default_factory=asyncio.Queue[str])
    closed: bool = False

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateEvent]:
        try:
            while text := await self.take():
                yield TextDelta(text=text)
            yield answer()[-1]
        finally:
            self.closed = True

    async def take(self) -> str:
        await asyncio.sleep(0)
        task = asyncio.ensure_future(self.texts.get())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(0))
            return await task
        finally:
            task.cancel()


@dataclass
class Reader:
    """A task that reads all texts it can get."""

    stream: AsyncGenerator[GenerateEvent]
    texts: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.task = asyncio.ensure_future(self.read())

    async def read(self) -> str:
        async with aclosing(self.stream) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    self.texts.append(event.text)
        return "".join(self.texts)

    async def end(self) -> str:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.task

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task], timeout=PATIENCE_SECONDS)
        assert self.task.cancelled()


@dataclass
class HandScene:
    hand: Hand = field(default_factory=Hand)
    timers: Timers = field(default_factory=Timers)

    def __post_init__(self) -> None:
        self.coalescer = Coalescer(self.hand, grace_seconds=5, budget_bytes=2**20, call_later=self.timers)

    def read(self, request: GenerateRequest, origin: Origin) -> Reader:
        return Reader(self.coalescer.of(origin).generate(request))

    async def say(self, *texts: str) -> None:
        for text in texts:
            self.hand.texts.put_nowait(text)
        await settle()


@pytest.fixture
async def by_hand() -> HandScene:
    return HandScene()


@pytest.mark.parametrize("turns", range(8))
async def test_the_first_reader_may_be_cancelled_at_any_turn_while_another_reads(by_hand: HandScene, turns: int) -> None:
    first = by_hand.read(ASKED, FIRST)
    await by_hand.say("a", "b")
    second = by_hand.read(RESENT, AGAIN)
    for _ in range(turns):
        await asyncio.sleep(0)
    await first.leave()
    await by_hand.say("c", "d", "")
    assert first.texts == ["a", "b"]
    assert await second.end() == "abcd"
    assert by_hand.hand.closed
    assert by_hand.coalescer.running == 0


@pytest.mark.parametrize("turns", range(8))
async def test_a_reader_who_is_cancelled_at_any_turn_may_come_back(by_hand: HandScene, turns: int) -> None:
    first = by_hand.read(IN_SESSION, FIRST)
    by_hand.hand.texts.put_nowait("a")
    for _ in range(turns):
        await asyncio.sleep(0)
    begun = by_hand.coalescer.running
    await first.leave()
    await by_hand.say("b")
    second = by_hand.read(IN_SESSION, FIRST)
    await by_hand.say("c", "d", "")
    assert await second.end() == "abcd"
    assert by_hand.hand.closed
    assert by_hand.coalescer.running == 0
    assert len(by_hand.timers.waiting) == begun


@pytest.mark.parametrize("turns", range(8))
async def test_a_reader_who_is_cancelled_alone_ends_the_work(by_hand: HandScene, turns: int) -> None:
    first = by_hand.read(ASKED, FIRST)
    by_hand.hand.texts.put_nowait("a")
    for _ in range(turns + 1):
        await asyncio.sleep(0)
    await first.leave()
    assert by_hand.hand.closed
    assert by_hand.coalescer.running == 0


async def test_who_comes_back_and_leaves_again_loses_nothing(by_hand: HandScene) -> None:
    for text in ("a", "b", "c"):
        reader = by_hand.read(IN_SESSION, FIRST)
        await by_hand.say(text)
        await reader.leave()
    assert not by_hand.hand.closed
    last = by_hand.read(IN_SESSION, FIRST)
    await by_hand.say("d", "")
    assert await last.end() == "abcd"
    assert by_hand.coalescer.running == 0


async def test_one_reader_needs_no_task_of_its_own(by_hand: HandScene) -> None:
    before = len(asyncio.all_tasks())
    reader = by_hand.read(IN_SESSION, FIRST)
    await by_hand.say("a", "b")
    assert len(asyncio.all_tasks()) == before + 2  # the reader, and the source's own
    await by_hand.say("")
    assert await reader.end() == "ab"


async def test_a_source_that_is_cancelled_by_itself_tells_its_readers(by_hand: HandScene) -> None:
    first, second = by_hand.read(IN_SESSION, FIRST), by_hand.read(IN_SESSION, AGAIN)
    await by_hand.say("a")
    inside = [task for task in asyncio.all_tasks() if task not in {first.task, second.task, asyncio.current_task()}]
    assert len(inside) == 1
    inside[0].cancel()
    for reader in (first, second):
        with pytest.raises(Cancelled, match="Send the request again"):
            await reader.end()
    assert by_hand.hand.closed
