"""Requests that differ in a picture alone are not the same request."""

import asyncio
from contextlib import aclosing

import pytest

from pomona.control.coalescing import Coalescer, Origin
from pomona.core.generation import GenerateRequest
from pomona.core.messages import Message, PicturePart, TextPart
from tests.doubles import ScriptedGenerator, answer

FIRST = PicturePart(url="data:image/png;base64,AAAA", param="messages[0].content[0].image_url")
OTHERS = [
    PicturePart(url="data:image/png;base64,AAAB", param=FIRST.param),
    PicturePart(data=b"\0\0\0", param=FIRST.param),
    PicturePart(url=FIRST.url, detail="low", param=FIRST.param),
]


def asked(part: PicturePart) -> GenerateRequest:
    return GenerateRequest(id="x", model="m", messages=(Message(role="user", content=(part, TextPart(text="Hi"))),))


@pytest.mark.parametrize("other", OTHERS)
async def test_only_the_same_picture_joins(other: PicturePart) -> None:
    origin = Origin(account="a", retries=1, idempotency_key="k")
    inner = ScriptedGenerator(script=(*answer("Hi")[:1], asyncio.Event()))
    coalescer = Coalescer(inner, grace_seconds=0, budget_bytes=2**20)
    async with aclosing(coalescer.of(origin).generate(asked(FIRST))) as events:
        await anext(events)
        assert coalescer.of(origin).joins(asked(FIRST))
        assert not coalescer.of(origin).joins(asked(other))
