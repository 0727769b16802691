"""Answers as Anthropic's own clients see them, whole and streamed."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from anthropic.types import Message, TextBlock, ThinkingBlock, ToolUseBlock

from pomona.core.generation import CacheReport, Started, TextDelta, ToolCallDelta, ToolCallFinished, ToolCallStarted
from tests.api.anthropic.clients import HELLO, async_client_of, beta_whole, client_of, http_of, post, turns_of, whole
from tests.api.anthropic.scripts import calling, cut_call, finished, stopped, thinking
from tests.api.gateway import MODEL, Gateway
from tests.doubles import Script, answer

SCRIPTS: dict[str, Script] = {
    "text": answer("Grüße", ' "🍎"\n', prompt_tokens=5, cached_tokens=4),
    "nothing": answer(),
    "white space": answer(" ", "\n"),
    "thinking": thinking(),
    "calling": calling(),
    "cut call": cut_call(),
    "cut": answer("one", reason="length"),
    "stopped": stopped("END"),
}


def streamed(gateway: Gateway, **fields: Any) -> Message:
    with client_of(gateway).messages.stream(**{**HELLO, **fields}) as stream:
        return stream.get_final_message()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_stream_adds_up_to_the_whole(gateway: Gateway, name: str) -> None:
    gateway.generator.script = SCRIPTS[name]
    message = whole(gateway)
    gateway.generator.script = SCRIPTS[name]
    with client_of(gateway).messages.stream(**HELLO) as stream:
        parts = stream.get_final_message()
    assert plain(parts) == plain(message)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_beta_client_reads_the_same(gateway: Gateway, name: str) -> None:
    gateway.generator.script = SCRIPTS[name]
    message = beta_whole(gateway, betas=["context-management-2025-06-27", "from-the-future"])
    gateway.generator.script = SCRIPTS[name]
    with client_of(gateway).beta.messages.stream(**HELLO) as stream:
        parts = stream.get_final_message()
    assert plain(parts) == plain(message)


async def test_the_asynchronous_client(gateway: Gateway) -> None:
    gateway.generator.script = thinking()
    async with async_client_of(gateway) as client, client.messages.stream(**HELLO) as stream:
        texts = [text async for text in stream.text_stream]
        message = await stream.get_final_message()
    assert texts == ["\n\nIt is", " 4."]
    assert message.stop_reason == "end_turn"


def plain(message: Any) -> Mapping[str, Any]:
    """A message without what differs from answer to answer, and without what a stream's accumulator does not take up."""
    found = message.model_dump(exclude={"id": True, "content": {"__all__": {"parsed_output"}}}, exclude_none=True)
    found["usage"] = {name: found["usage"][name] for name in ("input_tokens", "output_tokens", "cache_read_input_tokens")}
    return found


def test_a_whole_answer(gateway: Gateway) -> None:
    gateway.generator.script = answer("Hi", " you", prompt_tokens=10, cached_tokens=7)
    message = whole(gateway)
    assert message.id.startswith("msg_")
    assert (message.type, message.role, message.model, message.stop_reason) == ("message", "assistant", MODEL, "end_turn")
    assert message.content == [TextBlock(type="text", text="Hi you")]
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens, usage.output_tokens) == (3, 7, 0, 2)
    assert usage.cache_creation is not None
    assert usage.cache_creation.ephemeral_5m_input_tokens == 0


def test_thoughts_are_blocks_with_a_signature(gateway: Gateway) -> None:
    gateway.generator.script = thinking()
    message = whole(gateway)
    thought, text = message.content
    assert isinstance(thought, ThinkingBlock)
    assert thought.thinking == "Let me see."
    assert thought.signature
    assert isinstance(text, TextBlock)
    assert text.text == "\n\nIt is 4."
    assert message.usage.output_tokens_details is not None
    assert message.usage.output_tokens_details.thinking_tokens == 3


def test_thoughts_that_are_not_shown_come_back_through_their_signature(gateway: Gateway) -> None:
    gateway.generator.script = thinking()
    options = {"type": "adaptive", "display": "omitted"}
    hidden = whole(gateway, thinking=options)
    assert isinstance(hidden.content[0], ThinkingBlock)
    assert hidden.content[0].thinking == ""
    gateway.generator.script = thinking()
    assert streamed(gateway, thinking=options).content[0] == hidden.content[0]
    turns: list[Any] = [
        *HELLO["messages"],
        {"role": "assistant", "content": hidden.to_dict()["content"]},
        {"role": "user", "content": "Sure?"},
    ]
    post(gateway, messages=turns)
    assert turns_of(gateway.generator.seen[-1])[1].reasoning == "Let me see."


def test_calls_are_blocks_of_their_own(gateway: Gateway) -> None:
    gateway.generator.script = calling()
    message = streamed(gateway)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert message.content[2] == ToolUseBlock(type="tool_use", id="call_1", name="Read", input={"path": 'a "b"'})
    assert message.content[3] == ToolUseBlock(type="tool_use", id="call_2", name="Stop", input={})
    assert message.stop_reason == "tool_use"


def test_a_call_that_was_cut_keeps_what_is_complete(gateway: Gateway) -> None:
    gateway.generator.script = cut_call()
    message = whole(gateway)
    assert isinstance(message.content[0], ToolUseBlock)
    assert message.content[0].input == {"path": "a", "lines": [1, 2]}
    assert message.stop_reason == "max_tokens"


@pytest.mark.parametrize(
    ("script", "max_tokens", "reason", "sequence"),
    [
        (answer("a"), 64, "end_turn", None),
        (answer("a", "b", reason="length"), 2, "max_tokens", None),
        (answer("a", "b", reason="length"), 64, "model_context_window_exceeded", None),
        (stopped("END"), 64, "stop_sequence", "END"),
        (calling(), 64, "tool_use", None),
    ],
)
def test_why_an_answer_ended(gateway: Gateway, script: Script, max_tokens: int, reason: str, sequence: str | None) -> None:
    for stream in (False, True):
        gateway.generator.script = script
        message = (streamed if stream else whole)(gateway, max_tokens=max_tokens)
        assert (message.stop_reason, message.stop_sequence) == (reason, sequence)


def test_zero_tokens_read_the_prompt_into_the_cache(gateway: Gateway) -> None:
    for stream in (False, True):
        gateway.generator.script = answer("unseen", reason="length")
        response = post(gateway, max_tokens=0, stream=stream)
        assert "unseen" not in response.text
        assert '"stop_reason":"max_tokens"' in response.text
        assert '"output_tokens":0' in response.text
        assert gateway.generator.seen[-1].max_tokens == 1


def events(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for part in text.strip().split("\n\n"):
        name, _, data = part.partition("\n")
        yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_order_of_events(gateway: Gateway, name: str) -> None:
    gateway.generator.script = SCRIPTS[name]
    found = list(events(post(gateway, stream=True).text))
    assert all(name == data["type"] for name, data in found)
    names = [name for name, _ in found]
    assert names[:2] == ["message_start", "ping"]
    assert names[-2:] == ["message_delta", "message_stop"]
    open_block, next_index = None, 0
    for kind, data in found[2:-2]:
        if kind == "content_block_start":
            assert (open_block, data["index"]) == (None, next_index)
            open_block, next_index = next_index, next_index + 1
        else:
            assert data["index"] == open_block
            open_block = None if kind == "content_block_stop" else open_block
    assert open_block is None


def test_message_start_comes_before_any_token(gateway: Gateway) -> None:
    gateway.generator.script = [Started(prompt_tokens=40_000), gateway.never, TextDelta(text="late")]
    with http_of(gateway).stream("POST", "/v1/messages", json={**HELLO, "stream": True}) as response:
        first = next(response.iter_text())
    found = list(events(first))
    assert [name for name, _ in found] == ["message_start", "ping"]
    assert found[0][1]["message"]["usage"]["input_tokens"] == 40_000
    gateway.wait_for(gateway.generator.ended)


def test_the_name_that_was_asked_for_comes_back(gateway: Gateway) -> None:
    gateway.generator.script = answer("a")
    assert post(gateway, model="alias").json()["model"] == "alias"


def test_speed_is_priority(gateway: Gateway) -> None:
    assert post(gateway, speed="fast").json()["usage"]["speed"] == "fast"
    assert gateway.generator.seen[-1].priority == "high"
    gateway.generator.script = answer("a")
    assert post(gateway, speed="standard", service_tier="standard_only").json()["usage"]["speed"] == "standard"
    assert gateway.generator.seen[-1].priority == "normal"


CHANGED = CacheReport(reason="tools_changed", shared_tokens=10, missed_tokens=70)


@pytest.mark.parametrize(
    ("report", "shown"),
    [
        (None, None),
        (CacheReport(reason="none"), None),
        (CHANGED, {"type": "tools_changed", "cache_missed_input_tokens": 70}),
        (CacheReport(reason="messages_changed"), {"type": "messages_changed", "cache_missed_input_tokens": 60}),
        (CacheReport(reason="first_request"), {"type": "previous_message_not_found"}),
        (CacheReport(reason="evicted", missed_tokens=5), {"type": "unavailable"}),
    ],
)
def test_why_the_cache_missed(gateway: Gateway, report: CacheReport | None, shown: Mapping[str, Any] | None) -> None:
    script: Script = [Started(prompt_tokens=100), finished("stop", prompt=100, cached=40, cache=report)]
    gateway.generator.script = script
    opened = post(gateway, diagnostics={"previous_message_id": None}).json()
    first = opened["id"]
    assert opened["diagnostics"] == {"cache_miss_reason": None}
    session = gateway.generator.seen[-1].session
    assert session
    fields = {"diagnostics": {"previous_message_id": first}}
    assert post(gateway, fields).json()["diagnostics"] == {"cache_miss_reason": shown}
    assert gateway.generator.seen[-1].session == session
    found = dict(events(post(gateway, fields, stream=True).text))
    assert found["message_start"]["message"]["diagnostics"] == {"cache_miss_reason": None}
    assert found["message_delta"]["diagnostics"] == {"cache_miss_reason": shown}


def test_an_answer_that_was_never_given_is_not_compared_with(gateway: Gateway) -> None:
    gateway.generator.script = [Started(prompt_tokens=1), finished("stop", cache=CHANGED)]
    found = beta_whole(gateway, diagnostics={"previous_message_id": "msg_elsewhere"})
    assert found.diagnostics is not None
    assert found.diagnostics.cache_miss_reason is not None
    assert found.diagnostics.cache_miss_reason.type == "previous_message_not_found"


def test_a_member_of_a_toolset_is_called_by_its_own_name(gateway: Gateway) -> None:
    gateway.generator.script = [
        Started(prompt_tokens=1),
        ToolCallStarted(index=0, id="call_1", name="browser_navigate"),
        ToolCallDelta(index=0, arguments='{"url": "https://example.com"}'),
        ToolCallFinished(index=0),
        finished("tool_calls"),
    ]
    message = beta_whole(gateway, tools=[{"type": "browser_toolset_20260801"}])
    assert gateway.generator.seen[-1].tools[0].name == "browser_navigate"
    assert message.content[0].to_dict() == {
        "type": "tool_use",
        "id": "call_1",
        "name": "navigate",
        "toolset_name": "browser",
        "caller": {"type": "direct"},
        "input": {"url": "https://example.com"},
    }
    turns: list[Any] = [
        *HELLO["messages"],
        {"role": "assistant", "content": [message.content[0].to_dict()]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "ok"}]},
    ]
    post(gateway, messages=turns)
    assert [(each.role, each.name) for each in turns_of(gateway.generator.seen[-1])][1:] == [
        ("assistant", None),
        ("tool", "browser_navigate"),
    ]
