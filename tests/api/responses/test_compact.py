"""Counting and shortening conversations."""

from typing import Any

import pytest
from openai import BadRequestError

from pomona.core.generation import Finished
from pomona.core.messages import Message
from tests.api.gateway import MODEL, Gateway
from tests.api.responses.scripts import USAGE, called, function, said, script, thought, user

LONG: list[Any] = [user("What is in the box? " + "word " * 60), {"role": "assistant", "content": "I look. " + "word " * 60}]


def messages(gateway: Gateway) -> tuple[Message, ...]:
    return gateway.generator.seen[-1].messages or ()


def test_tokens_are_counted(gateway: Gateway) -> None:
    client = gateway.openai()
    assert client.responses.input_tokens.count(model=MODEL, input="one two three").input_tokens == 3
    assert client.responses.input_tokens.count(model=MODEL, input=[user("a b")], instructions="be brief").input_tokens == 4  # pyright: ignore[reportArgumentType]
    assert client.responses.input_tokens.count(input="one").input_tokens == 1
    first = client.responses.create(model=MODEL, input="a b c")
    counted = client.responses.input_tokens.count(model=MODEL, input="d", previous_response_id=first.id)
    assert (counted.input_tokens, counted.object) == (6, "response.input_tokens")
    with pytest.raises(BadRequestError, match="input"):
        client.responses.input_tokens.count(model=MODEL)


def test_a_conversation_in_short_can_be_continued(gateway: Gateway) -> None:
    client = gateway.openai()
    gateway.generator.script = script(thought("Hm."), said("The box holds ", "a pear."))
    compacted = client.responses.compact(model=MODEL, input=LONG, instructions="Be brief.")
    assert compacted.object == "response.compaction"
    assert compacted.usage.output_tokens == USAGE.completion_tokens
    (item,) = compacted.output
    assert item.type == "compaction"
    assert "pear" not in item.encrypted_content
    asked = gateway.generator.seen[-1]
    assert [message.role for message in messages(gateway)] == ["system", "user", "assistant", "user"]
    assert "in short" in messages(gateway)[-1].text
    assert asked.max_tokens == 64
    assert asked.reasoning.enabled is False
    gateway.generator.script = script(said("Yes."))
    client.responses.create(model=MODEL, input=[item.to_dict(), user("Sure?")])  # pyright: ignore[reportArgumentType]
    assert messages(gateway)[0].text.endswith("The box holds a pear.")
    assert tokens(gateway, [item.to_dict()]) < tokens(gateway, LONG)


@pytest.mark.parametrize("summary", ["", "word " * 5000])
def test_a_summary_that_is_no_shorter_is_replaced_by_a_clipped_transcript(gateway: Gateway, summary: str) -> None:
    gateway.generator.script = script(said(summary))
    long = [user("word " * 3000), {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}]
    (item,) = gateway.openai().responses.compact(model=MODEL, input=long).output  # pyright: ignore[reportArgumentType]
    assert item.type == "compaction"
    gateway.openai().responses.create(model=MODEL, input=[item.to_dict()])  # pyright: ignore[reportArgumentType]
    text = messages(gateway)[0].text
    assert "user: word word" in text
    assert "assistant: look({})" in text
    assert tokens(gateway, [item.to_dict()]) < 3000


def test_what_cannot_be_shorter_comes_back_as_it_is(gateway: Gateway) -> None:
    gateway.generator.script = script(said("A long summary of nearly nothing at all, with many words."))
    (item,) = gateway.http().post("/v1/responses/compact", json={"model": MODEL, "input": "Hi"}).json()["output"]
    assert item["content"] == [{"type": "input_text", "text": "Hi"}]


def test_an_earlier_response_is_put_in_short(gateway: Gateway) -> None:
    first = gateway.openai().responses.create(model=MODEL, input=LONG)
    gateway.generator.script = script(said("Short."))
    (item,) = gateway.openai().responses.compact(model=MODEL, previous_response_id=first.id).output
    assert item.type == "compaction"


def test_tools_stay_in_the_prompt_but_are_not_called(gateway: Gateway) -> None:
    body = {"model": MODEL, "input": LONG, "tools": [function("look")], "tool_choice": "required"}
    assert gateway.http().post("/v1/responses/compact", json=body).status_code == 200
    asked = gateway.generator.seen[-1]
    assert [tool.name for tool in asked.tools] == ["look"]
    assert asked.tool_choice.mode == "none"


def test_a_stopped_summary_is_an_error(gateway: Gateway) -> None:
    gateway.generator.script = [*script(said("Sho"))[:2], Finished(reason="cancelled", usage=USAGE)]
    assert gateway.http().post("/v1/responses/compact", json={"model": MODEL, "input": LONG}).status_code == 503


def test_a_trigger_makes_a_compaction_item(gateway: Gateway) -> None:
    gateway.generator.script = script(thought("Hm."), said("Short", "."), called("look", "{}"))
    asked: list[Any] = [*LONG, {"type": "compaction_trigger"}]
    with gateway.openai().responses.stream(model=MODEL, input=asked) as stream:
        kinds = [event.type for event in stream]
        (item,) = stream.get_final_response().output
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.compaction.compacting",
        "response.output_item.done",
        "response.completed",
    ]
    gateway.openai().responses.create(model=MODEL, input=[item.to_dict()])  # pyright: ignore[reportArgumentType]
    assert messages(gateway)[0].text.endswith("Short.")


def test_what_another_server_put_in_short_is_said_to_be_missing(gateway: Gateway) -> None:
    foreign: Any = {"type": "compaction", "encrypted_content": "gAAAAA"}
    gateway.openai().responses.create(model=MODEL, input=[foreign, user("x")])  # pyright: ignore[reportArgumentType]
    assert "cannot be read" in messages(gateway)[0].text


def tokens(gateway: Gateway, items: list[Any]) -> int:
    return gateway.openai().responses.input_tokens.count(model=MODEL, input=items).input_tokens
