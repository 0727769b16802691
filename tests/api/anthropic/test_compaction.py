"""Summaries of conversations, made and sent back."""

from typing import Any

from pomona.core.generation import ToolChoice
from tests.api.anthropic.clients import HELLO, beta_whole, client_of, refusal, said, turns_of, understood
from tests.api.anthropic.scripts import thinking
from tests.api.gateway import Gateway
from tests.doubles import answer

HI = {"role": "user", "content": "Hi"}
READ: dict[str, Any] = {"name": "Read", "input_schema": {"type": "object"}}
FLY: dict[str, Any] = {"name": "Fly", "input_schema": {"type": "object"}, "defer_loading": True}
WISH = {"type": "summarize"}


def test_a_summary_is_the_whole_answer(gateway: Gateway) -> None:
    gateway.generator.script = thinking()
    message = beta_whole(gateway, compaction=WISH)
    assert message.stop_reason == "compaction"
    block = message.content[0]
    assert block.type == "compaction"
    assert block.content == "It is 4."
    gateway.generator.script = thinking()
    with client_of(gateway).beta.messages.stream(**HELLO, compaction={"type": "summarize"}) as stream:
        streamed = stream.get_final_message()
    assert (streamed.to_dict()["content"], streamed.stop_reason) == (message.to_dict()["content"], "compaction")


def test_the_wish_comes_last_and_the_prompt_begins_as_before(gateway: Gateway) -> None:
    turns = [HI, {"role": "assistant", "content": "Yes."}]
    request = understood(gateway, messages=turns, tools=[READ], compaction=WISH)
    roles = [each.role for each in turns_of(request)]
    assert roles == ["user", "assistant", "user"]
    assert turns_of(request)[2].text.startswith("Summarize this conversation")
    assert not request.continue_last_message
    assert request.tool_choice == ToolChoice(mode="none")
    assert request.tools == understood(gateway, messages=turns, tools=[READ]).tools


def test_the_clients_words_for_it(gateway: Gateway) -> None:
    assert said(gateway, [HI], compaction={**WISH, "instructions": "In one word."}) == [("user", "Hi\nIn one word.")]


def test_a_summary_stands_for_the_turns_before_it(gateway: Gateway) -> None:
    gateway.generator.script = answer("They", " met.")
    block = beta_whole(gateway, compaction=WISH).to_dict()["content"]
    found = said(gateway, [{"role": "assistant", "content": block}, HI])
    assert found == [("user", "The conversation until here, in short:\nThey met.\nHi")]


def test_changes_of_tools_outlive_the_turns_that_made_them(gateway: Gateway) -> None:
    added = {"role": "system", "content": [{"type": "tool_addition", "tool": {"type": "tool_reference", "name": "Fly"}}]}
    message = beta_whole(gateway, messages=[HI, added], tools=[READ, FLY], compaction=WISH)
    block = message.to_dict()["content"]
    request = understood(gateway, messages=[{"role": "assistant", "content": block}, HI], tools=[READ, FLY])
    assert [tool.name for tool in request.tools] == ["Read", "Fly"]
    assert [tool.name for tool in understood(gateway, messages=[HI], tools=[READ, FLY]).tools] == ["Read"]


def test_open_calls_cannot_be_summarized(gateway: Gateway) -> None:
    call = {"type": "tool_use", "id": "a", "name": "Read", "input": dict[str, Any]()}
    assert "tool_result for 'a'" in refusal(gateway, messages=[HI, {"role": "assistant", "content": [call]}], compaction=WISH)
