"""The pictures of a request as one model takes them."""

import asyncio
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from pomona.core.errors import PictureRefused, UnsupportedField
from pomona.core.messages import Message, PicturePart, PreparedPicture, Role, TextPart
from pomona.core.settings import PicturesSettings
from pomona.pictures.blindness import without_pictures
from pomona.pictures.decoding.client import Decoder, Plan
from pomona.pictures.decoding.protocol import Limits
from pomona.pictures.geometry.facts import VisionFacts, fit
from pomona.pictures.geometry.fitting import CropSizing, FixedSizing
from pomona.pictures.preparing import Preparation, picture_digest
from pomona.pictures.sizes import GIGABYTE, Planner, longest_side
from tests.unit.pictures.drawing import facts, halves, pdf, saved

PNG = saved(halves(300, 200), "PNG")
FIELD = "messages[0].content[0].image_url"


@dataclass(slots=True)
class CountingDecoder:
    """A Decoder that counts its work."""

    inner: Decoder
    sources: list[bytes] = field(default_factory=list[bytes])

    def decode(self, source: bytes, limits: Limits, plan: Plan) -> list[bytes]:
        """As the real one."""
        self.sources.append(source)
        return self.inner.decode(source, limits, plan)

    def close(self) -> None:
        """The real one goes on for the next test."""


@pytest.fixture(scope="module")
def worker() -> Generator[Decoder]:
    with Decoder(workers=1) as shared:
        yield shared


@pytest.fixture
def decoder(worker: Decoder) -> CountingDecoder:
    return CountingDecoder(worker)


def preparation(decoder: CountingDecoder, **settings: Any) -> Preparation:
    return Preparation(PicturesSettings.model_validate({"max_side": 512} | settings), decoder=decoder)


def said(*parts: PicturePart | TextPart, role: Role = "user") -> tuple[Message, ...]:
    return (Message(role=role, content=parts),)


def part(data: bytes = PNG, param: str = FIELD) -> PicturePart:
    return PicturePart(data=data, param=param)


async def prepared(with_: Preparation, messages: Sequence[Message], vision: VisionFacts | None = None) -> list[PreparedPicture]:
    found = await with_.prepare(messages, vision or facts())
    return [each for message in found for each in message.content if isinstance(each, PreparedPicture)]


async def test_each_part_becomes_pictures_in_its_place(decoder: CountingDecoder) -> None:
    messages = said(TextPart(text="a"), part(), TextPart(text="b"), part(pdf((72, 72), (72, 144))), TextPart(text="c"))
    with preparation(decoder) as prepare:
        [message] = await prepare.prepare(messages, facts())
    kinds = ["picture" if isinstance(each, PreparedPicture) else each.text for each in message.content if not isinstance(each, PicturePart)]
    assert kinds == ["a", "picture", "b", "picture", "picture", "c"]
    first = message.content[1]
    assert isinstance(first, PreparedPicture)
    assert (first.width, first.height, len(first.pixels), first.token_ids) == (308, 196, 308 * 196 * 3, (7,) * 77)
    assert first.digest == picture_digest(first.pixels, 308, 196)


async def test_a_picture_is_decoded_once_for_all_turns_and_at_the_same_time(decoder: CountingDecoder) -> None:
    with preparation(decoder) as prepare:
        first = await prepared(prepare, said(part()))
        twice = await asyncio.gather(prepared(prepare, said(part(), part())), prepared(prepare, said(part())))
        assert [each for found in twice for each in found] == first * 3
        assert len(decoder.sources) == 1
        other = saved(halves(300, 200), "BMP")
        await asyncio.gather(*(prepared(prepare, said(part(other))) for _ in range(4)))
        assert len(decoder.sources) == 2
        await prepared(prepare, said(part()), facts(factor=14))
        assert len(decoder.sources) == 3


async def test_equal_pixels_have_equal_digests_whatever_the_file(decoder: CountingDecoder) -> None:
    with preparation(decoder) as prepare:
        one, two, three = await prepared(prepare, said(part(), part(saved(halves(300, 200), "BMP")), part(saved(halves(200, 300), "PNG"))))
    assert one.digest == two.digest
    assert one.digest != three.digest
    assert len(one.digest) == 16


async def test_the_memory_for_pictures_is_bounded(decoder: CountingDecoder) -> None:
    with preparation(decoder, cache_bytes=308 * 196 * 3 + 2000) as prepare:
        for data in (PNG, saved(halves(200, 300), "PNG"), PNG, PNG):
            await prepared(prepare, said(part(data)))
    assert len(decoder.sources) == 3


async def test_those_who_leave_do_not_take_the_picture_with_them(decoder: CountingDecoder) -> None:
    with preparation(decoder) as prepare:
        leaving = asyncio.ensure_future(prepared(prepare, said(part())))
        staying = asyncio.ensure_future(prepared(prepare, said(part())))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        leaving.cancel()
        assert len(await staying) == 1
        assert leaving.cancelled()


@pytest.mark.parametrize(
    ("messages", "words", "param"),
    [
        (said(*(part(param=f"p[{index}]") for index in range(3))), "holds 3 pictures; at most 2", "p[2]"),
        (said(part(b"nothing")), f"{FIELD} is no picture that can be read here", FIELD),
        (said(part(saved(halves(1200, 1000), "PNG"))), "more than 1,000,000 pixels", FIELD),
        (said(part(saved(halves(2000, 2), "PNG"))), "too narrow", FIELD),
        (said(part(pdf((72, 72), (72, 72)))), "PDF of 2 pages", FIELD),
        (said(part(b"")), "is empty", FIELD),
        (said(PicturePart(param=FIELD)), "holds no picture", FIELD),
        (said(part(bytes(200_000))), "more than 100,000 bytes", FIELD),
    ],
)
async def test_limits_name_the_field_and_what_is_allowed(
    decoder: CountingDecoder, messages: tuple[Message, ...], words: str, param: str
) -> None:
    limits = {"max_count": 2, "max_bytes": 100_000, "max_pixels": 1_000_000, "max_pdf_pages": 1}
    with preparation(decoder, **limits) as prepare, pytest.raises(PictureRefused) as caught:
        await prepared(prepare, messages)
    assert words in caught.value.message
    assert caught.value.param == param


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
async def test_pictures_are_for_users_and_tools(decoder: CountingDecoder, role: Role) -> None:
    with preparation(decoder) as prepare:
        assert len(await prepared(prepare, said(part(), role="tool"))) == 1
        with pytest.raises(UnsupportedField, match=f"of the role '{role}'"):
            await prepared(prepare, said(part(), role=role))


def test_the_longest_side_goes_by_memory() -> None:
    plain = PicturesSettings()
    tiers = {gigabytes: longest_side(plain, gigabytes * GIGABYTE) for gigabytes in (8, 16, 24, 31, 32, 63, 64, 512)}
    assert tiers == {8: 512, 16: 512, 24: 512, 31: 768, 32: 768, 63: 1024, 64: 1024, 512: 1024}
    assert longest_side(PicturesSettings(max_side=300), 8 * GIGABYTE) == 300


def test_pictures_within_the_side_are_as_the_model_s_own_rule_has_them() -> None:
    planner = Planner(vision=facts(), side=2000, detail="auto", max_pixels=10**8)
    for size in ((300, 200), (1999, 100), (28, 28), (57, 911)):
        assert planner.recipe(*size).resized == fit(facts(), *size).resized
    small = Planner(vision=facts(), side=512, detail="auto", max_pixels=10**8)
    assert small.recipe(3000, 2000).resized == (504, 336)
    assert Planner(vision=facts(), side=1024, detail="low", max_pixels=10**8).recipe(3000, 2000).resized == (504, 336)


def test_models_of_one_size_get_it_whatever_the_side() -> None:
    fixed = Planner(vision=facts(FixedSizing(width=896, height=896)), side=512, detail="auto", max_pixels=10**8)
    assert fixed.recipe(3000, 2000).resized == (896, 896)
    cut = Planner(vision=facts(CropSizing(shortest=336, width=336, height=336)), side=300, detail="low", max_pixels=10**6)
    assert cut.recipe(600, 400).crop == fit(cut.vision, 600, 400).crop
    with pytest.raises(PictureRefused, match="too narrow"):
        cut.recipe(40_000, 10)


def test_a_model_that_reads_text_is_told_what_its_tools_showed() -> None:
    def told(role: Role) -> tuple[Message, ...]:
        parts = (TextPart(text="one"), PicturePart(url="data:image/png;base64," + "A" * 4096), TextPart(text="two"), part())
        return without_pictures(said(*parts, role=role), "reader", ("seer",))

    [result] = told("tool")
    assert (
        result.text == "one\n[image/png picture of 3 KiB: this model cannot see pictures]\ntwo\n[picture: this model cannot see pictures]"
    )
    with pytest.raises(UnsupportedField, match=r"the model 'reader' takes no pictures\. Models here that do: 'seer'"):
        told("user")
    assert without_pictures(said(TextPart(text="Hi")), "reader") == said(TextPart(text="Hi"))
