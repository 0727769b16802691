"""What every Generator owes its callers, checked on each implementation in `generators.py`."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import pytest

from pomona.core.generation import Finished, GenerateEvent, Started, TextDelta
from tests.contracts.generators import SUBJECTS, Subject

PATIENCE_SECONDS = 120


@pytest.fixture(params=list(SUBJECTS.values()), ids=list(SUBJECTS))
async def subject(request: pytest.FixtureRequest) -> AsyncGenerator[Subject]:
    async with request.param() as each:
        yield each


async def events_of(subject: Subject, name: str = "finishing") -> list[GenerateEvent]:
    request = replace(subject.finishing, id=name)
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [event async for event in subject.generator.generate(request)]


def text_of(events: list[GenerateEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def read_text(stream: AsyncGenerator[GenerateEvent]) -> None:
    """Read on to the first text."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for event in stream:
            if isinstance(event, TextDelta) and event.text:
                return


async def test_started_comes_first_and_finished_last_and_both_once(subject: Subject) -> None:
    events = await events_of(subject)
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert all(isinstance(event, TextDelta) for event in events[1:-1])
    assert sum(bool(event.text) for event in events[1:-1] if isinstance(event, TextDelta)) >= 3


async def test_usage_agrees_with_the_start_and_counts_the_answer(subject: Subject) -> None:
    events = await events_of(subject)
    started, finished = events[0], events[-1]
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    assert finished.usage.prompt_tokens == started.prompt_tokens > 0
    assert finished.usage.completion_tokens >= 3
    assert 0 <= finished.usage.cached_tokens <= finished.usage.prompt_tokens
    assert finished.reason in {"stop", "length"}


async def test_nothing_is_at_work_after_the_end(subject: Subject) -> None:
    await events_of(subject)
    await asyncio.wait_for(subject.idle(), PATIENCE_SECONDS)


async def test_closing_in_the_middle_cancels_the_work(subject: Subject) -> None:
    async with aclosing(subject.generator.generate(subject.endless)) as stream:
        await read_text(stream)
    await asyncio.wait_for(subject.idle(), PATIENCE_SECONDS)


async def test_closing_before_the_first_event_leaves_nothing_at_work(subject: Subject) -> None:
    await subject.generator.generate(subject.endless).aclose()
    await asyncio.wait_for(subject.idle(), PATIENCE_SECONDS)


async def test_a_cancelled_reader_cancels_the_work(subject: Subject) -> None:
    reading = asyncio.Event()

    async def read() -> None:
        async with aclosing(subject.generator.generate(subject.endless)) as stream:
            await read_text(stream)
            reading.set()
            async for _ in stream:
                pass

    task = asyncio.create_task(read())
    await asyncio.wait_for(reading.wait(), PATIENCE_SECONDS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(subject.idle(), PATIENCE_SECONDS)


async def test_a_refusal_is_raised_from_the_iterator_and_leaves_nothing_at_work(subject: Subject) -> None:
    stream = subject.generator.generate(subject.refused)
    with pytest.raises(subject.refusal) as caught:
        await anext(stream)
    assert caught.value.message
    await asyncio.wait_for(subject.idle(), PATIENCE_SECONDS)


async def test_a_cancelled_request_does_not_disturb_its_neighbours(subject: Subject) -> None:
    alone = await events_of(subject)
    async with aclosing(subject.generator.generate(subject.endless)) as leaving:
        await read_text(leaving)
        together = await asyncio.gather(*(events_of(subject, f"neighbour-{number}") for number in range(3)))
    assert {text_of(events) for events in together} == {text_of(alone)}
    await asyncio.wait_for(subject.idle(), PATIENCE_SECONDS)


async def test_an_id_can_be_used_again_after_its_request_ended(subject: Subject) -> None:
    assert text_of(await events_of(subject, "again")) == text_of(await events_of(subject, "again")) != ""
