"""The bundled model in a process of its own: calls that it makes, that it must make, and forms of its answer."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from pomona.app import load_app
from pomona.core.generation import (
    Finished,
    GenerateEvent,
    GenerateRequest,
    OutputFormat,
    ReasoningDelta,
    ReasoningOptions,
    SamplingParams,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
    ToolChoice,
)
from pomona.core.messages import Message, TextPart, ToolDefinition
from pomona.core.ports import Generator
from pomona.core.settings import Settings

WEATHER = ToolDefinition(
    name="get_weather",
    description="Get the weather in a city.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
ADD = ToolDefinition(
    name="add",
    description="Add two numbers.",
    parameters={"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]},
)


@pytest.fixture
async def generator() -> AsyncGenerator[Generator]:
    async with load_app(Settings()).generator() as each:
        yield each


async def _answer(generator: Generator, text: str, **fields: Any) -> list[GenerateEvent]:
    given: dict[str, Any] = {"sampling": SamplingParams(temperature=0.0), "max_tokens": 100, "tools": (WEATHER, ADD), **fields}
    messages = (Message(role="user", content=(TextPart(text=text),)),)
    async with aclosing(generator.generate(GenerateRequest(id="one", model="pomona-tiny", messages=messages, **given))) as events:
        return [event async for event in events]


def _calls(events: list[GenerateEvent]) -> list[tuple[str, Any]]:
    """Complete calls only."""
    names = {event.index: event.name for event in events if isinstance(event, ToolCallStarted)}
    done = [event.index for event in events if isinstance(event, ToolCallFinished)]
    written = {index: "".join(e.arguments for e in events if isinstance(e, ToolCallDelta) and e.index == index) for index in done}
    return [(names[index], json.loads(written[index])) for index in done]


def _text(events: list[GenerateEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def _end(events: list[GenerateEvent]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


async def test_calls_thoughts_and_forms_of_the_bundled_model(generator: Generator) -> None:
    called = await _answer(generator, "What is the weather in Paris?")
    assert _calls(called) == [("get_weather", {"city": "Paris"})]
    assert _end(called).reason == "tool_calls"

    free = await _answer(generator, "Hello, who are you?")
    assert (_calls(free), _end(free).reason) == ([], "stop")
    assert _text(free)

    required = await _answer(generator, "Hello, who are you?", tool_choice=ToolChoice(mode="required", parallel=False))
    assert [name in ("get_weather", "add") for name, _ in _calls(required)] == [True]

    named = ToolChoice(mode="required", names=("add",), parallel=False)
    [(name, arguments)] = _calls(await _answer(generator, "Hello, who are you?", tool_choice=named, sampling=SamplingParams(seed=7)))
    assert (name, {type(value) for value in arguments.values()}, set(arguments)) == ("add", {int}, {"a", "b"})

    number = OutputFormat(kind="regex", source="[0-9]{2}")
    thinking = ReasoningOptions(enabled=True, budget_tokens=8)
    thought = await _answer(generator, "What is 2 + 3?", tools=(), output_format=number, reasoning=thinking)
    assert len(_text(thought)) == 2
    assert _text(thought).isdigit()
    assert any(isinstance(event, ReasoningDelta) for event in thought)
    assert 0 < _end(thought).usage.reasoning_tokens <= 8 + 3


async def test_calls_of_a_model_whose_template_shows_no_tools() -> None:
    settings = Settings.model_validate({"models": {"chat_template": Path("tests/data/chat_templates/plain-chatml.jinja")}})
    async with load_app(settings).generator() as generator:
        for choice in (ToolChoice(), ToolChoice(mode="required", parallel=False)):
            called = await _answer(generator, "What is the weather in Paris?", tool_choice=choice)
            assert _end(called).reason == "tool_calls"
            [(name, arguments)] = _calls(called)
            assert name == "get_weather"
            assert set(arguments) == {"city"}
