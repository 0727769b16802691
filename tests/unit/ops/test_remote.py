"""A server with OpenAI's API as a Generator: what is sent, what is read, what is told when it goes wrong."""

import json
from collections.abc import AsyncGenerator, Callable

import httpx
import pytest

from pomona.core import errors
from pomona.core.generation import (
    Finished,
    GenerateEvent,
    GenerateRequest,
    OutputFormat,
    ReasoningDelta,
    ReasoningOptions,
    SamplingParams,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
    ToolChoice,
    Usage,
)
from pomona.core.messages import Message, TextPart, ToolCall, ToolDefinition
from pomona.core.status import ModelCard
from pomona.ops.remote import RemoteGenerator
from pomona.ops.remote_request import request_body
from pomona.server.bodies import parse_body
from pomona.server.openai.chat.decode import decode_chat
from pomona.server.openai.wire import ChatCompletionRequest

URL = "http://127.0.0.1:11440"
REQUEST = GenerateRequest(id="r", model="m", text="Hi")
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
Handler = Callable[[httpx.Request], httpx.Response]


class Pieces(httpx.AsyncByteStream):
    """A body that comes in given pieces, and may break."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = pieces
        self.closed = False

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def aclose(self) -> None:
        self.closed = True


def chunk(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def text(words: str, reason: str | None = None) -> bytes:
    return chunk(choices=[{"index": 0, "text": words, "finish_reason": reason}])


async def events(body: httpx.AsyncByteStream | bytes, *, status: int = 200, request: GenerateRequest = REQUEST) -> list[GenerateEvent]:
    content = Pieces(body) if isinstance(body, bytes) else body
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(status, stream=content))) as client:
        return [event async for event in RemoteGenerator(URL, client=client).generate(request)]


async def test_a_stream_becomes_events() -> None:
    body = Pieces(text("Hel"), text("lo"), text("", "stop"), chunk(choices=[], usage=USAGE), b"data: [DONE]\n\n")

    assert await events(body) == [
        Started(prompt_tokens=0),
        TextDelta(text="Hel"),
        TextDelta(text="lo"),
        Finished(reason="stop", usage=Usage(prompt_tokens=9, cached_tokens=4, completion_tokens=2)),
    ]
    assert body.closed


@pytest.mark.parametrize("size", [1, 3, 17])
async def test_chunks_may_be_cut_anywhere(size: int) -> None:
    whole = b": keep-alive\r\n\r\n" + text("ü🍎") + b"event: x\n" + text("!", "length") + b"data: [DONE]\n\n"
    found = await events(Pieces(*(whole[at : at + size] for at in range(0, len(whole), size))))

    assert [event.text for event in found if isinstance(event, TextDelta)] == ["ü🍎", "!"]


async def test_chat_deltas_are_read() -> None:
    request = GenerateRequest(id="r", model="m", messages=(Message(role="user", content=(TextPart(text="Hi"),)),))
    first = chunk(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
    last = chunk(choices=[{"index": 0, "delta": {"content": "Yes"}, "finish_reason": "stop"}])

    found = await events(first + last + b"data: [DONE]\n\n", request=request)

    assert [event.text for event in found if isinstance(event, TextDelta)] == ["Yes"]


@pytest.mark.parametrize("kind", [errors.InvalidRequest, errors.ContextOverflow, errors.ModelNotFound, errors.Overloaded, errors.NotReady])
async def test_a_refusal_has_the_class_of_its_code(kind: type[errors.PomonaError]) -> None:
    document = json.dumps({"error": {"message": "No.", "code": kind.code}}).encode()

    with pytest.raises(kind, match="No"):
        await events(document, status=400)


async def test_an_error_inside_the_stream_is_raised() -> None:
    with pytest.raises(errors.EngineFailed, match="died"):
        await events(text("Hel") + chunk(error={"message": "It died.", "code": "engine_failed"}))


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (Pieces(text("Hel")), 200, "broke off"),
        (Pieces(text("Hel"), httpx.ReadError("reset")), 200, "reset"),
        (Pieces(b"data: {nonsense\n\n"), 200, "not JSON"),
        (Pieces(b"<html>"), 502, "502"),
        (Pieces(b'{"error": "text"}'), 500, "500"),
    ],
)
async def test_a_broken_server_is_told(body: Pieces, status: int, words: str) -> None:
    with pytest.raises(errors.EngineFailed, match=words):
        await events(body, status=status)


async def test_nobody_there() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(refuse)) as client:
        remote = RemoteGenerator(URL, client=client)
        with pytest.raises(errors.NotReady, match="pomona serve"):
            _ = [event async for event in remote.generate(REQUEST)]
        with pytest.raises(errors.NotReady, match=URL):
            await remote.models()


async def test_closing_early_closes_the_connection() -> None:
    body = Pieces(text("a"), text("b"), text("c", "stop"))
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=body))) as client:
        stream = RemoteGenerator(URL, client=client).generate(REQUEST)
        await anext(stream)
        await anext(stream)
        await stream.aclose()

    assert body.closed


def test_only_what_differs_from_the_defaults_is_sent() -> None:
    assert request_body(REQUEST) == {"model": "m", "prompt": "Hi", "stream": True, "stream_options": {"include_usage": True}}


def test_everything_that_was_chosen_is_sent() -> None:
    sampling = SamplingParams(temperature=0.0, top_k=3, top_p=0.5, min_p=0.1, repetition_penalty=1.1, presence_penalty=0.2, seed=0)
    request = GenerateRequest(id="r", model="m", token_ids=(1, 2), sampling=sampling, max_tokens=5, stop=("END",), ignore_eos=True)

    body = request_body(request)

    chosen = {"temperature": 0.0, "top_k": 3, "top_p": 0.5, "min_p": 0.1, "repetition_penalty": 1.1, "presence_penalty": 0.2, "seed": 0}
    assert body.items() >= {**chosen, "max_tokens": 5, "ignore_eos": True}.items()
    assert (body["prompt"], body["stop"]) == ([1, 2], ["END"])


TOOL = ToolDefinition(name="look", description="Looks.", parameters={"type": "object"}, strict=True)
OTHER = ToolDefinition(name="other")
ASKED = (Message(role="user", content=(TextPart(text="Hi"),)),)


def test_tools_thoughts_and_calls_are_sent() -> None:
    messages = (
        *ASKED,
        Message(role="assistant", reasoning="Hm.", tool_calls=(ToolCall(id="1", name="look", arguments="{}"),)),
        Message(role="tool", tool_call_id="1", content=(TextPart(text="seen"),)),
    )
    request = GenerateRequest(
        id="r",
        model="m",
        messages=messages,
        tools=(TOOL, OTHER),
        tool_choice=ToolChoice(mode="required", names=("look",), parallel=False),
        reasoning=ReasoningOptions(effort="low", budget_tokens=9, enabled=True),
        template_options={"a": 1},
        priority="high",
        session="talk",
    )
    body = request_body(request)
    function = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}, "strict": True}
    assert body["tools"] == [
        {"type": "function", "function": function},
        {"type": "function", "function": {"name": "other", "parameters": {}}},
    ]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    assert (body["parallel_tool_calls"], body["reasoning_effort"]) == (False, "low")
    assert body["reasoning"] == {"enabled": True, "max_tokens": 9}
    assert (body["service_tier"], body["prompt_cache_key"], body["chat_template_kwargs"]) == ("priority", "talk", {"a": 1})
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    assert body["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [call]},
        {"role": "tool", "content": "seen", "tool_call_id": "1"},
    ]


@pytest.mark.parametrize(
    "request_",
    [
        GenerateRequest(id="r", model="m", messages=ASKED, tools=(TOOL,), tool_choice=choice, output_format=form)
        for choice in (ToolChoice(), ToolChoice(mode="required"), ToolChoice(names=("look",)))
        for form in (
            None,
            OutputFormat(kind="json_object"),
            OutputFormat(kind="json_schema", source='{"type":"object"}'),
            OutputFormat(kind="regex", source="a+"),
            OutputFormat(kind="choice", source='["a","b"]'),
            OutputFormat(kind="lark", source="start: /a/"),
            OutputFormat(kind="xml", source='{"type":"object"}'),
        )
    ],
)
def test_our_own_server_understands_what_is_sent(request_: GenerateRequest) -> None:
    raw = json.dumps(request_body(request_)).encode()
    found = decode_chat(parse_body(raw, ChatCompletionRequest), "r", ModelCard(id="m", created=0, owned_by="me")).requests[0]
    form = found.output_format
    assert (form and (form.kind, form.source)) == (request_.output_format and (request_.output_format.kind, request_.output_format.source))
    assert (found.messages, found.tools, found.tool_choice) == (request_.messages, request_.tools, request_.tool_choice)


async def test_thoughts_and_calls_are_read() -> None:
    def delta(**fields: object) -> bytes:
        return chunk(choices=[{"index": 0, "delta": fields, "finish_reason": None}])

    def call(index: int, **function: str) -> bytes:
        return delta(tool_calls=[{"index": index, "id": f"c{index}", "function": function}])

    nothing: dict[str, object] = {}
    end = chunk(choices=[{"index": 0, "delta": nothing, "finish_reason": "tool_calls"}], warnings=["Odd."])
    found = await events(
        Pieces(
            delta(role="assistant", content=""),
            delta(reasoning_content="Hm."),
            delta(content="So:"),
            call(0, name="look", arguments=""),
            call(0, arguments='{"a"'),
            call(0, arguments=":1}"),
            call(1, name="other", arguments="{}"),
            end,
            b"data: [DONE]\n\n",
        ),
        request=GenerateRequest(id="r", model="m", messages=ASKED),
    )
    assert found == [
        Started(prompt_tokens=0),
        ReasoningDelta(text="Hm."),
        TextDelta(text="So:"),
        ToolCallStarted(index=0, id="c0", name="look"),
        ToolCallDelta(index=0, arguments='{"a"'),
        ToolCallDelta(index=0, arguments=":1}"),
        ToolCallFinished(index=0),
        ToolCallStarted(index=1, id="c1", name="other"),
        ToolCallDelta(index=1, arguments="{}"),
        ToolCallFinished(index=1),
        Finished(reason="tool_calls", usage=Usage(), warnings=("Odd.",)),
    ]


async def test_models_are_listed() -> None:
    document = {"data": [{"id": "a"}, {"id": "b"}]}
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, json=document))) as client:
        assert await RemoteGenerator(f"{URL}/", client=client).models() == ["a", "b"]
