"""Tools as the official client sends and reads them: functions, custom tools, choices, and OpenAI's old words."""

from typing import Any, cast

import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from pomona.core.generation import (
    Finished,
    FinishReason,
    GenerateEvent,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
    ToolChoice,
    Usage,
)
from pomona.core.messages import ToolCall, ToolDefinition
from tests.api.gateway import MODEL, Gateway

ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Weather?"}]
WEATHER: ChatCompletionToolParam = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
PYTHON: dict[str, object] = {
    "type": "custom",
    "custom": {
        "name": "python",
        "description": "Runs code.",
        "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": 'start: "x"'}},
    },
}
TOOLS = cast("list[Any]", [WEATHER, PYTHON])


def call(index: int, name: str, *arguments: str, complete: bool = True) -> list[GenerateEvent]:
    """The events of one call."""
    end = [ToolCallFinished(index=index)] if complete else []
    deltas = [ToolCallDelta(index=index, arguments=each) for each in arguments]
    return [ToolCallStarted(index=index, id=f"call_{index}", name=name), *deltas, *end]


def script(*events: GenerateEvent, reason: FinishReason = "tool_calls", warnings: tuple[str, ...] = ()) -> list[GenerateEvent]:
    """An answer of these events."""
    usage = Usage(prompt_tokens=9, cached_tokens=4, completion_tokens=7, reasoning_tokens=2, drafted_tokens=6, accepted_tokens=4)
    return [Started(prompt_tokens=9), *events, Finished(reason=reason, usage=usage, warnings=warnings)]


TWO_CALLS = script(
    ReasoningDelta(text="Rome, "),
    ReasoningDelta(text="then code."),
    TextDelta(text="Let me see."),
    *call(0, "weather", '{"ci', 'ty":"Röme"}'),
    *call(1, "python", '{"input": "a = \\"', '\\u00e9\\"\\n', 'b"', "}"),
)


def test_a_whole_answer_with_thoughts_text_and_calls(gateway: Gateway) -> None:
    gateway.generator.script = TWO_CALLS
    found = gateway.openai().chat.completions.create(model=MODEL, messages=ASK, tools=TOOLS)
    message = found.choices[0].message
    assert found.choices[0].finish_reason == "tool_calls"
    assert message.content == "Let me see."
    assert (message.model_extra or {})["reasoning_content"] == "Rome, then code."
    assert message.tool_calls is not None
    first, second = message.tool_calls
    assert first.type == "function"
    assert (first.id, first.function.name, first.function.arguments) == ("call_0", "weather", '{"city":"Röme"}')
    assert second.type == "custom"
    assert (second.id, second.custom.name, second.custom.input) == ("call_1", "python", 'a = "é"\nb')
    assert found.usage is not None
    assert found.usage.completion_tokens_details is not None
    assert found.usage.completion_tokens_details.reasoning_tokens == 2
    assert found.usage.completion_tokens_details.text_tokens == 5
    assert found.usage.completion_tokens_details.accepted_prediction_tokens == 4
    assert found.usage.completion_tokens_details.rejected_prediction_tokens == 2
    assert found.usage.prompt_tokens_details is not None
    assert found.usage.prompt_tokens_details.cache_write_tokens == 5


def test_content_is_null_where_there_are_only_calls(gateway: Gateway) -> None:
    gateway.generator.script = script(*call(0, "weather", "{}"))
    message = gateway.openai().chat.completions.create(model=MODEL, messages=ASK, tools=TOOLS).choices[0].message
    assert message.content is None


def test_streamed_calls_have_dense_indexes_and_begin_with_id_and_name(gateway: Gateway) -> None:
    gateway.generator.script = TWO_CALLS
    chunks = list(gateway.openai().chat.completions.create(model=MODEL, messages=ASK, tools=TOOLS, stream=True))
    deltas = [chunk.choices[0].delta.model_dump(exclude_unset=True) for chunk in chunks]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "Rome, "},
        {"reasoning_content": "then code."},
        {"content": "Let me see."},
        {"tool_calls": [{"index": 0, "id": "call_0", "type": "function", "function": {"name": "weather", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"ci'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": 'ty":"Röme"}'}}]},
        {"tool_calls": [{"index": 1, "id": "call_1", "type": "custom", "custom": {"name": "python", "input": ""}}]},
        {"tool_calls": [{"index": 1, "custom": {"input": 'a = "'}}]},
        {"tool_calls": [{"index": 1, "custom": {"input": 'é"\n'}}]},
        {"tool_calls": [{"index": 1, "custom": {"input": "b"}}]},
        {},
    ]
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "tool_calls"


def test_the_clients_own_accumulator_gathers_calls(gateway: Gateway) -> None:
    gateway.generator.script = script(TextDelta(text="Hm."), *call(0, "weather", '{"a', '":1}'), *call(1, "weather", "{}"))
    kinds: list[str] = []
    with gateway.openai().chat.completions.stream(model=MODEL, messages=ASK, tools=[WEATHER]) as stream:
        kinds.extend(event.type for event in stream)
        message = stream.get_final_completion().choices[0].message
    assert message.content == "Hm."
    assert [(each.id, each.function.name, each.function.arguments) for each in message.tool_calls or ()] == [
        ("call_0", "weather", '{"a":1}'),
        ("call_1", "weather", "{}"),
    ]
    assert kinds.count("tool_calls.function.arguments.done") == 2


class Weather(BaseModel):
    """Arguments of a strict tool."""

    city: str
    days: int


def test_strict_tools_are_parsed_by_the_client(gateway: Gateway) -> None:
    import openai

    gateway.generator.script = script(*call(0, "Weather", '{"city":"Rome",', '"days":3}'))
    tool = openai.pydantic_function_tool(Weather)
    found = gateway.openai().chat.completions.parse(model=MODEL, messages=ASK, tools=[tool])
    calls = found.choices[0].message.tool_calls or []
    assert [each.function.parsed_arguments for each in calls] == [Weather(city="Rome", days=3)]
    seen = gateway.generator.seen[0].tools[0]
    assert (seen.name, seen.strict) == ("Weather", True)
    with gateway.openai().chat.completions.stream(model=MODEL, messages=ASK, tools=[tool]) as stream:
        streamed = stream.get_final_completion().choices[0].message.tool_calls or []
    assert [each.function.parsed_arguments for each in streamed] == [Weather(city="Rome", days=3)]


def test_a_call_that_was_cut_is_shown_as_far_as_it_came(gateway: Gateway) -> None:
    gateway.generator.script = script(*call(0, "python", '{"input": "ab\\', complete=False), reason="length")
    client = gateway.openai()
    choice = client.chat.completions.create(model=MODEL, messages=ASK, tools=TOOLS).choices[0]
    calls = choice.message.tool_calls or []
    assert choice.finish_reason == "length"
    assert [each.custom.input for each in calls if each.type == "custom"] == ["ab"]


def test_other_arguments_of_a_custom_tool_come_at_its_end(gateway: Gateway) -> None:
    gateway.generator.script = script(*call(0, "python", '{"code": ', '"x"}'))
    response = gateway.http().post("/v1/chat/completions", json={"model": MODEL, "messages": ASK, "tools": TOOLS, "stream": True})
    assert '"tool_calls":[{"index":0,"custom":{"input":"x"}}]' in response.text


@pytest.mark.parametrize(
    ("body", "choice"),
    [
        ({}, ToolChoice()),
        ({"tool_choice": "auto", "parallel_tool_calls": False}, ToolChoice(parallel=False)),
        ({"tool_choice": "required"}, ToolChoice(mode="required")),
        ({"tool_choice": {"type": "function", "function": {"name": "weather"}}}, ToolChoice(mode="required", names=("weather",))),
        ({"tool_choice": {"type": "custom", "custom": {"name": "python"}}}, ToolChoice(mode="required", names=("python",))),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [WEATHER]}}},
            ToolChoice(mode="auto", names=("weather",)),
        ),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [PYTHON, WEATHER]}}},
            ToolChoice(mode="required", names=("python", "weather")),
        ),
    ],
)
def test_tool_choices(gateway: Gateway, body: dict[str, object], choice: ToolChoice) -> None:
    asked = {"model": MODEL, "messages": ASK, "tools": TOOLS, **body}
    assert gateway.http().post("/v1/chat/completions", json=asked).status_code == 200
    seen = gateway.generator.seen[0]
    assert seen.tool_choice == choice
    assert [tool.name for tool in seen.tools] == ["weather", "python"]


def test_a_custom_tool_is_a_function_of_one_string_to_the_model(gateway: Gateway) -> None:
    messages: list[dict[str, object]] = [
        {"role": "user", "content": "Run."},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "python", "input": 'x = "1"'}}]},
        {"role": "tool", "tool_call_id": "c", "content": "1"},
    ]
    assert gateway.http().post("/v1/chat/completions", json={"model": MODEL, "messages": messages, "tools": TOOLS}).status_code == 200
    seen = gateway.generator.seen[0]
    assert seen.tools[1].description == 'Runs code.\n\nThe input must fit this grammar (lark):\nstart: "x"'
    assert list(cast("dict[str, object]", seen.tools[1].parameters["properties"])) == ["input"]
    assert seen.messages is not None
    assert seen.messages[1].tool_calls == (ToolCall(id="c", name="python", arguments='{"input": "x = \\"1\\""}'),)


@pytest.mark.parametrize(
    ("asked", "choice"),
    [
        ({}, ToolChoice(parallel=False)),
        ({"function_call": "auto"}, ToolChoice(parallel=False)),
        ({"function_call": {"name": "f"}}, ToolChoice(mode="required", names=("f",), parallel=False)),
    ],
)
def test_the_old_form_of_tools_in_and_out(gateway: Gateway, asked: dict[str, object], choice: ToolChoice) -> None:
    gateway.generator.script = script(*call(0, "f", '{"a"', ":1}"))
    body = {"model": MODEL, "messages": ASK, "functions": [{"name": "f", "description": "d", "parameters": {"type": "object"}}], **asked}
    found = gateway.http().post("/v1/chat/completions", json=body).json()["choices"][0]
    assert found["finish_reason"] == "function_call"
    assert found["message"]["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert "tool_calls" not in found["message"]
    seen = gateway.generator.seen[0]
    assert seen.tools == (ToolDefinition(name="f", description="d", parameters={"type": "object"}),)
    assert seen.tool_choice == choice
    text = gateway.http().post("/v1/chat/completions", json={**body, "stream": True}).text
    assert '"delta":{"function_call":{"name":"f","arguments":""}}' in text
    assert '"delta":{"function_call":{"arguments":":1}"}}' in text
    assert '"finish_reason":"function_call"' in text


def test_functions_that_must_not_be_called(gateway: Gateway) -> None:
    body = {"model": MODEL, "messages": ASK, "functions": [{"name": "f"}], "function_call": "none"}
    assert gateway.http().post("/v1/chat/completions", json=body).status_code == 200
    assert gateway.generator.seen[0].tools == ()


@pytest.mark.parametrize("stream", [False, True])
def test_warnings_are_told(gateway: Gateway, stream: bool) -> None:
    gateway.generator.script = script(TextDelta(text="<call"), reason="stop", warnings=("A call could not be read.",))
    text = gateway.http().post("/v1/chat/completions", json={"model": MODEL, "messages": ASK, "stream": stream}).text
    assert '"warnings":["A call could not be read."]' in text
