"""Words in, words out, with ids from a double in between."""

from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pomona.core.errors import AdapterUnusable, NotReady
from pomona.core.generation import Finished, GenerateEvent, GenerateRequest, Prompt, Started, TextDelta, TokenStep
from pomona.core.ports import Generator
from pomona.core.status import ModelFacts
from pomona.core.tracing.marks import AnswerTrace
from pomona.fleet.generator import ModelGenerator, Words
from pomona.models.references import bundled_folder
from pomona.text.tokenizer_loading import load_tokenizer

FACTS = ModelFacts(architecture="Echo", device="cpu", max_context=64, vocabulary=16384, weight_bytes=0, kv_budget_bytes=0, load_seconds=0.0)
WORDS = Words(tokenizer=load_tokenizer(bundled_folder()), template=None)


class Echo:
    """A token source that repeats its prompt, one token a step, and keeps what it was asked and whether it was closed early."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.prompts: list[Prompt] = []
        self.closed_early = 0
        self.places_taken = 0

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[ModelFacts]:
        if self.error is not None:
            raise self.error
        self.places_taken += 1
        yield FACTS
        self.places_taken -= 1

    async def stream(self, prompt: Prompt) -> AsyncGenerator[TokenStep]:
        self.prompts.append(prompt)
        complete = False
        try:
            for index, token_id in enumerate(prompt.token_ids[: prompt.max_tokens]):
                complete = index + 1 == prompt.max_tokens
                yield TokenStep(token_ids=(token_id,), finish_reason="length" if complete else None, cached_tokens=2)
        finally:
            self.closed_early += not complete


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def generator(echo: Echo) -> Generator:
    return ModelGenerator(WORDS, echo, ThreadPoolExecutor(1))


async def test_a_trace_counts_tokens_while_they_come(generator: Generator) -> None:
    trace = AnswerTrace()
    seen: list[int] = []
    async for _ in generator.generate(replace(request(), trace=trace)):
        seen.append(trace.tokens)
    assert (trace.prompt_tokens, trace.cached_tokens, seen[0], seen[-1]) == (5, 2, 0, 5)
    assert seen == sorted(seen)


def request(text: str = "one two three four five", max_tokens: int = 5, stop: tuple[str, ...] = ()) -> GenerateRequest:
    return GenerateRequest(id="a", model="echo", text=text, max_tokens=max_tokens, stop=stop)


async def events_of(generator: Generator, request: GenerateRequest) -> list[GenerateEvent]:
    return [event async for event in generator.generate(request)]


def text_of(events: list[GenerateEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def test_words_become_ids_and_ids_become_words(generator: Generator, echo: Echo) -> None:
    events = await events_of(generator, request())
    [prompt] = echo.prompts
    assert events[0] == Started(prompt_tokens=len(prompt.token_ids))
    assert isinstance(events[-1], Finished)
    assert (events[-1].reason, events[-1].usage.completion_tokens, events[-1].usage.cached_tokens) == ("length", 5, 2)
    assert "one two three four five".startswith(text_of(events).strip())
    assert (echo.closed_early, echo.places_taken) == (0, 0)


async def test_a_stop_string_closes_the_engines_stream(generator: Generator, echo: Echo) -> None:
    events = await events_of(generator, request(stop=("three",)))
    assert isinstance(events[-1], Finished)
    assert (events[-1].reason, events[-1].stop_sequence) == ("stop", "three")
    assert text_of(events).strip() == "one two"
    assert (echo.closed_early, echo.places_taken) == (1, 0)


async def test_started_comes_before_the_engine_is_asked(generator: Generator, echo: Echo) -> None:
    async with aclosing(generator.generate(request())) as events:
        assert isinstance(await anext(events), Started)
        assert echo.prompts == []


async def test_an_engine_that_is_not_there_is_said_first() -> None:
    generator = ModelGenerator(WORDS, Echo(NotReady("It loads.")), ThreadPoolExecutor(1))
    with pytest.raises(NotReady, match="It loads"):
        await events_of(generator, request())


class Refusing(Echo):
    """A token source that cannot use what the prompt asks for."""

    async def stream(self, prompt: Prompt) -> AsyncGenerator[TokenStep]:
        if prompt.token_ids:
            raise AdapterUnusable("The adapter 'poisoned' does not fit.")
        yield TokenStep()


async def test_an_answer_with_an_adapter_starts_once_the_engine_has_it() -> None:
    events: list[GenerateEvent] = []
    with pytest.raises(AdapterUnusable, match="poisoned"):
        await collect(ModelGenerator(WORDS, Refusing(), ThreadPoolExecutor(1), lambda _: Path("/adapters/poisoned")), events)
    assert events == []
    with pytest.raises(AdapterUnusable):
        await collect(ModelGenerator(WORDS, Refusing(), ThreadPoolExecutor(1)), events)
    assert [type(event) for event in events] == [Started]


async def collect(generator: Generator, events: list[GenerateEvent]) -> None:
    """Until the end or an error."""
    async with aclosing(generator.generate(request())) as stream:
        async for event in stream:
            events.append(event)
