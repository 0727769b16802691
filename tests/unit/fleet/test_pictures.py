"""From a request with pictures to what the engine gets, what is counted, and what is said of the cache."""

from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from pomona.core.errors import UnsupportedField
from pomona.core.generation import Finished, GenerateEvent, GenerateRequest, Prompt, TokenStep
from pomona.core.messages import Message, PicturePart, Role, TextPart
from pomona.core.settings import PicturesSettings
from pomona.core.status import ModelFacts
from pomona.fleet.generator import Eyes, ModelGenerator, Words
from pomona.fleet.tokenization import ModelTokenization
from pomona.pictures.preparing import Preparation
from pomona.text.pictures.writing import picture_writing
from pomona.text.templates import ChatTemplate
from tests.unit.pictures.drawing import facts, halves, saved
from tests.unit.text.pictures.test_pictures import FOLDER, seeing_tokenizer

RED, BLUE = (saved(halves(width, 56), "PNG") for width in (56, 84))
FACTS = ModelFacts(architecture="a", device="cpu", max_context=512, vocabulary=20_000, weight_bytes=0, kv_budget_bytes=0, load_seconds=0.0)


@dataclass(slots=True)
class Echo:
    """An engine that keeps what it is given and answers one token, `cached` tokens spared."""

    cached: int = 0
    prompts: list[Prompt] = field(default_factory=list[Prompt])

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[ModelFacts]:
        """Always one."""
        yield FACTS

    async def stream(self, prompt: Prompt) -> AsyncGenerator[TokenStep]:
        """One token."""
        self.prompts.append(prompt)
        yield TokenStep(token_ids=(5,), finish_reason="length", cached_tokens=self.cached)


@pytest.fixture(scope="module")
def preparation() -> Generator[Preparation]:
    with Preparation(PicturesSettings(max_side=512)) as shared:
        yield shared


@pytest.fixture(scope="module")
def pool() -> Generator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


@pytest.fixture
def words(preparation: Preparation) -> Words:
    tokenizer = seeing_tokenizer()
    vision = facts()
    vision = replace(vision, placeholder_id=tokenizer.special_tokens[vision.placeholder])
    writing = picture_writing(tokenizer, vision.placeholder, vision.surrounded, vision.placeholder_id)
    source = (FOLDER / "qwen2_5_vl.jinja").read_text(encoding="utf-8")
    template = ChatTemplate({"default": source}, variables={}, pictures=writing)
    return Words(tokenizer=tokenizer, template=template, eyes=Eyes(vision=vision, writing=writing, pictures=preparation))


def asked(*pictures: bytes, role: Role = "user", session: str = "") -> GenerateRequest:
    parts = tuple(PicturePart(data=each, param=f"messages[0].content[{index}]") for index, each in enumerate(pictures))
    messages = (Message(role="user", content=(TextPart(text="Look"),)), Message(role=role, content=parts))
    return GenerateRequest(id="one", model="m", messages=messages, session=session, max_tokens=4)


async def events(generator: ModelGenerator, request: GenerateRequest) -> list[GenerateEvent]:
    async with aclosing(generator.generate(request)) as stream:
        return [event async for event in stream]


async def test_the_engine_gets_pictures_at_their_places(words: Words, pool: ThreadPoolExecutor) -> None:
    engine = Echo()
    end = (await events(ModelGenerator(words, engine, pool), asked(RED, BLUE)))[-1]
    [prompt] = engine.prompts
    first, second = prompt.pictures
    assert [(each.width, each.height, each.length, len(each.pixels)) for each in prompt.pictures] == [
        (56, 56, 4, 56 * 56 * 3),
        (84, 56, 6, 84 * 56 * 3),
    ]
    assert prompt.token_ids[first.start : first.start + 4] == (7,) * 4
    assert prompt.token_ids[second.start : second.start + 6] == (7,) * 6
    assert first.digest != second.digest
    assert isinstance(end, Finished)
    assert (end.usage.picture_tokens, end.usage.prompt_tokens) == (10, len(prompt.token_ids))


async def test_tokens_are_counted_as_the_engine_gets_them(words: Words, pool: ThreadPoolExecutor) -> None:
    engine = Echo()
    request = asked(RED, BLUE)
    await events(ModelGenerator(words, engine, pool), request)
    rendered = await ModelTokenization(words, pool).render(request)
    assert rendered.token_ids == engine.prompts[0].token_ids
    assert (rendered.text or "").count("<|image_pad|>") == 2


async def test_a_changed_picture_is_why_a_prompt_was_not_found(words: Words, pool: ThreadPoolExecutor) -> None:
    """Equal ids stand for both pictures, so only their digests tell them apart."""
    other = saved(halves(56, 56).rotate(180), "PNG")
    generator = ModelGenerator(words, Echo(), pool)
    told = [(await events(generator, asked(each, *[BLUE] * 4, session="s")))[-1] for each in (RED, RED, other)]
    reports = [event.cache for event in told if isinstance(event, Finished) and event.cache is not None]
    assert [report.reason for report in reports] == ["first_request", "none", "none"]
    assert reports[2].shared_tokens < reports[1].shared_tokens


async def test_a_model_without_eyes_is_told_of_tools_pictures_and_refuses_others(words: Words, pool: ThreadPoolExecutor) -> None:
    blind = replace(
        words, eyes=None, template=ChatTemplate({"default": "{% for m in messages %}{{ m.content }};{% endfor %}"}, variables={})
    )
    engine = Echo()
    await events(ModelGenerator(blind, engine, pool), asked(RED, role="tool"))
    assert "cannot see pictures" in seeing_tokenizer().decode(engine.prompts[0].token_ids)
    assert engine.prompts[0].pictures == ()
    with pytest.raises(UnsupportedField, match="the model 'm' takes no pictures") as caught:
        await events(ModelGenerator(blind, engine, pool), asked(RED))
    assert caught.value.param == "messages[0].content[0]"
