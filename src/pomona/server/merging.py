"""Several streams as one."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


async def merge(streams: Sequence[AsyncGenerator[T]]) -> AsyncGenerator[tuple[int, T]]:
    """(index of the stream, item) pairs as they come; each stream is at most one item ahead of the reader.

    The first error of a stream ends all of them, and so does closing the merged one.
    """
    if len(streams) == 1:
        async with aclosing(streams[0]) as only:
            async for item in only:
                yield 0, item
        return
    waiting = {_next(stream): index for index, stream in enumerate(streams)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=waiting.__getitem__):
                index = waiting.pop(task)
                if (found := task.result()) is not None:
                    waiting[_next(streams[index])] = index
                    yield index, found[0]
    finally:
        await _close(list(waiting), streams)


def _next(stream: AsyncGenerator[T]) -> "asyncio.Task[tuple[T] | None]":
    return asyncio.ensure_future(_take(stream))


async def _take(stream: AsyncGenerator[T]) -> tuple[T] | None:
    """The next item, boxed, or None at the end: a task must not end in StopAsyncIteration."""
    async for item in stream:
        return (item,)
    return None


async def _close(tasks: "list[asyncio.Task[tuple[T] | None]]", streams: Sequence[AsyncGenerator[T]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(*(stream.aclose() for stream in streams), return_exceptions=True)
