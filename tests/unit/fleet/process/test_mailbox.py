import asyncio

import pytest

from pomona.core.errors import EngineFailed
from pomona.core.generation import TokenLogprobs, TokenStep
from pomona.engine.protocol import Row
from pomona.fleet.process.mailbox import Mailbox


class Calls:
    """Keeps what a mailbox asked for."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def mailbox(self, high_water: int = 4) -> Mailbox:
        return Mailbox(high_water, pause=lambda: self.made.append("pause"), resume=lambda: self.made.append("resume"))


def row(*token_ids: int, last: bool = False, cached_tokens: int = 0) -> Row:
    logprobs: list[tuple[float, list[tuple[int, float]]]] = [(-0.5, [(token_id, -0.5)]) for token_id in token_ids]
    return Row("row", list(token_ids), "length" if last else None, cached_tokens, logprobs)


async def test_what_came_while_nobody_read_arrives_as_one_step() -> None:
    mailbox = Calls().mailbox()
    for each in (row(1, cached_tokens=7), row(2, 3), row(4, last=True)):
        mailbox.put(each)
    logprobs = tuple(TokenLogprobs(logprob=-0.5, top=((token_id, -0.5),)) for token_id in (1, 2, 3, 4))
    assert await mailbox.take() == TokenStep(token_ids=(1, 2, 3, 4), logprobs=logprobs, finish_reason="length", cached_tokens=7)
    assert mailbox.finished


async def test_a_reader_that_waits_is_woken() -> None:
    mailbox = Calls().mailbox()
    reader = asyncio.ensure_future(mailbox.take())
    await asyncio.sleep(0)
    mailbox.put(row(1))
    assert (await reader).token_ids == (1,)


async def test_the_row_is_paused_once_above_the_high_water_and_resumed_when_read() -> None:
    calls = Calls()
    mailbox = calls.mailbox(high_water=4)
    for token_id in range(4):
        mailbox.put(row(token_id))
    assert calls.made == []
    mailbox.put(row(4))
    mailbox.put(row(5))
    assert calls.made == ["pause"]
    await mailbox.take()
    assert calls.made == ["pause", "resume"]


async def test_a_finished_row_is_neither_paused_nor_resumed() -> None:
    calls = Calls()
    mailbox = calls.mailbox(high_water=1)
    mailbox.put(row(1, 2, 3, last=True))
    await mailbox.take()
    assert calls.made == []


async def test_a_failure_comes_after_the_tokens_before_it() -> None:
    mailbox = Calls().mailbox()
    mailbox.put(row(1))
    mailbox.fail(EngineFailed("It is gone."))
    assert (await mailbox.take()).token_ids == (1,)
    with pytest.raises(EngineFailed, match=r"It is gone\."):
        await mailbox.take()


async def test_a_failure_wakes_the_reader() -> None:
    mailbox = Calls().mailbox()
    reader = asyncio.ensure_future(mailbox.take())
    await asyncio.sleep(0)
    mailbox.fail(EngineFailed("It is gone."))
    with pytest.raises(EngineFailed):
        await reader


async def test_a_failure_after_the_end_is_of_no_interest() -> None:
    mailbox = Calls().mailbox()
    mailbox.put(row(1, last=True))
    mailbox.fail(EngineFailed("It is gone."))
    assert (await mailbox.take()).finish_reason == "length"


async def test_a_reader_that_gave_up_is_not_woken() -> None:
    mailbox = Calls().mailbox()
    reader = asyncio.ensure_future(mailbox.take())
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.wait([reader])
    mailbox.put(row(1))
    assert (await mailbox.take()).token_ids == (1,)
