"""What is left out of long conversations, and how tokens are counted."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.api.anthropic.clients import HELLO, beta_whole, client_of, post, turns_of, understood
from tests.api.gateway import MODEL, Gateway

HI = {"role": "user", "content": "Hi"}
RESULT = "one two three four five six seven eight nine ten eleven twelve"
THOUGHTS, USES = "clear_thinking_20251015", "clear_tool_uses_20250919"


def turn(number: int) -> list[dict[str, Any]]:
    """A thing that a person says, a thought and a call, its result, another thought and the answer."""
    return [
        {"role": "user", "content": f"Question {number}"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": f"Thought {number}", "signature": "s"},
                {"type": "tool_use", "id": f"call_{number}", "name": "Read" if number % 2 else "List", "input": {"path": "a b c"}},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": f"call_{number}", "content": RESULT}],
        },
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": f"Insight {number}", "signature": "s"}, {"type": "text", "text": "Yes."}],
        },
    ]


LONG = [*turn(1), *turn(2), *turn(3), *turn(4), HI]


def edited(gateway: Gateway, **edit: Any) -> tuple[list[str], list[str], list[str], list[dict[str, Any]]]:
    """Thoughts, results and arguments that are left, and what the answer says of it."""
    response = post(gateway, messages=LONG, context_management={"edits": [edit]})
    assert response.status_code == 200, response.text
    turns = turns_of(gateway.generator.seen[-1])
    thoughts = [each.reasoning for each in turns if each.reasoning]
    results = [each.text for each in turns if each.role == "tool"]
    arguments = [call.arguments for each in turns for call in each.tool_calls]
    return thoughts, results, arguments, response.json()["context_management"]["applied_edits"]


@pytest.mark.parametrize(
    ("keep", "left"),
    [("all", 4), ({"type": "all"}, 4), ({"type": "thinking_turns", "value": 2}, 2), ({"type": "thinking_turns", "value": 9}, 4), (None, 1)],
)
def test_old_thoughts_are_left_out(gateway: Gateway, keep: Any, left: int) -> None:
    thoughts, results, _, applied = edited(gateway, type=THOUGHTS, keep=keep)
    assert thoughts == [text for number in range(5 - left, 5) for text in (f"Thought {number}", f"Insight {number}")]
    assert len(set(results)) == 1
    assert [(each["type"], each["cleared_thinking_turns"]) for each in applied] == ([] if left == 4 else [(THOUGHTS, 4 - left)])


def test_old_results_are_left_out(gateway: Gateway) -> None:
    trigger = {"type": "tool_uses", "value": 3}
    thoughts, results, arguments, applied = edited(gateway, type=USES, trigger=trigger, keep={"type": "tool_uses", "value": 1})
    assert [text.startswith("[") for text in results] == [True, True, True, False]
    assert len(set(arguments)) == 1
    assert len(thoughts) == 8
    assert applied == [{"type": USES, "cleared_input_tokens": 3 * (12 - 7), "cleared_tool_uses": 3}]


def test_some_tools_are_spared_and_arguments_go_too(gateway: Gateway) -> None:
    edit = {"trigger": {"type": "tool_uses", "value": 1}, "keep": {"type": "tool_uses", "value": 0}, "exclude_tools": ["List"]}
    _, results, arguments, applied = edited(gateway, type=USES, clear_tool_inputs=True, **edit)
    assert [text.startswith("[") for text in results] == [True, False, True, False]
    assert [each == "{}" for each in arguments] == [True, False, True, False]
    assert applied[0]["cleared_tool_uses"] == 2
    _, _, arguments, _ = edited(gateway, type=USES, clear_tool_inputs=["List"], trigger=edit["trigger"], keep=edit["keep"])
    assert [each == "{}" for each in arguments] == [False, True, False, True]


@pytest.mark.parametrize(
    "edit",
    [
        {"type": USES},
        {"type": USES, "trigger": {"type": "input_tokens", "value": 5000}},
        {"type": USES, "trigger": {"type": "tool_uses", "value": 4}},
        {"type": USES, "trigger": {"type": "tool_uses", "value": 1}, "clear_at_least": {"type": "input_tokens", "value": 1000}},
        {"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": 1}},
        {"type": "from_the_future", "keep": 7} | {"keep": "all"},
    ],
)
def test_edits_whose_time_has_not_come(gateway: Gateway, edit: Mapping[str, Any]) -> None:
    thoughts, results, _, applied = edited(gateway, **edit)
    assert (len(thoughts), len(set(results)), applied) == (8, 1, [])


def test_an_edit_that_waits_for_tokens(gateway: Gateway) -> None:
    edit = {"type": USES, "trigger": {"type": "input_tokens", "value": 20}, "keep": {"type": "tool_uses", "value": 0}}
    _, results, _, applied = edited(gateway, **edit)
    assert all(text.startswith("[") for text in results)
    assert applied[0]["cleared_tool_uses"] == 4


def test_the_client_reads_what_was_cleared(gateway: Gateway) -> None:
    message = beta_whole(gateway, messages=LONG, context_management={"edits": [{"type": THOUGHTS}]})
    assert message.context_management is not None
    assert message.context_management.applied_edits[0].type == THOUGHTS
    with client_of(gateway).beta.messages.stream(
        model=MODEL, max_tokens=9, messages=[{"role": "user", "content": "Hi"}], context_management={"edits": [{"type": THOUGHTS}]}
    ) as stream:
        assert stream.get_final_message().context_management is not None


def test_nothing_is_said_of_edits_that_nobody_asked_for(gateway: Gateway) -> None:
    assert "context_management" not in post(gateway).json()


def test_tokens_are_counted(gateway: Gateway) -> None:
    client = client_of(gateway)
    counted = client.messages.count_tokens(model=MODEL, system="one two", messages=[{"role": "user", "content": "three four five"}])
    assert counted.input_tokens == 5
    assert gateway.generator.seen == []
    beta = client.beta.messages.count_tokens(
        model=MODEL, messages=[{"role": "user", "content": "three four"}], context_management={"edits": [{"type": THOUGHTS}]}
    )
    assert (beta.input_tokens, beta.context_management and beta.context_management.original_input_tokens) == (2, 2)


def test_tokens_are_counted_as_they_were_before_and_after_edits(gateway: Gateway) -> None:
    edits = {"edits": [{"type": USES, "trigger": {"type": "tool_uses", "value": 1}, "keep": {"type": "tool_uses", "value": 1}}]}
    longer = {"model": MODEL, "messages": LONG}
    plain = post(gateway, longer, "/v1/messages/count_tokens").json()["input_tokens"]
    found = post(gateway, longer, "/v1/messages/count_tokens", context_management=edits).json()
    assert found == {"input_tokens": plain - 3 * (12 - 7), "context_management": {"original_input_tokens": plain}}


def test_nothing_is_cleared_where_that_would_add(gateway: Gateway) -> None:
    short = json.loads(json.dumps(LONG).replace(RESULT, "one"))
    edit = {"type": USES, "trigger": {"type": "tool_uses", "value": 1}}
    response = post(gateway, messages=short, context_management={"edits": [edit]})
    assert response.json()["context_management"] == {"applied_edits": []}


def test_counting_reads_what_answering_reads(gateway: Gateway) -> None:
    fields = {"system": "x-anthropic-billing-header: cch=1;\nBe brief.", "messages": HELLO["messages"]}
    understood(gateway, **fields)
    words = " ".join(each.text for each in turns_of(gateway.generator.seen[-1])).split()
    assert post(gateway, fields, "/v1/messages/count_tokens").json() == {"input_tokens": len(words)}


@pytest.mark.parametrize("fields", [{"messages": []}, {"model": 7}, {"messages": [{"role": "user", "content": 7}]}])
def test_a_body_that_cannot_be_counted(gateway: Gateway, fields: Mapping[str, Any]) -> None:
    response = post(gateway, fields, "/v1/messages/count_tokens")
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
