"""Items of every type, and the messages that the model reads."""

import json
from typing import Any

import pytest

from pomona.core.messages import Message
from pomona.server.openai.responses.opaque import seal, unseal
from tests.api.gateway import MODEL, Gateway
from tests.api.responses.scripts import called, said, script, thought, user


def read(gateway: Gateway, *items: object, **fields: object) -> list[Message]:
    """The messages that the generator got for `items`."""
    response = gateway.http().post("/v1/responses", json={"model": MODEL, "input": items, **fields})
    assert response.status_code == 200, response.text
    return list(gateway.generator.seen[-1].messages or ())


def brief(messages: list[Message]) -> list[tuple[str, str]]:
    """Roles and texts; calls as text."""
    return [
        (
            message.role,
            " ".join([*([message.text] if message.text else []), *(f"{call.name}({call.arguments})" for call in message.tool_calls)]),
        )
        for message in messages
    ]


def test_roles_and_parts(gateway: Gateway) -> None:
    messages = read(
        gateway,
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
        {"role": "system", "content": "c"},
        {"role": "user", "content": "d"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "e"}, {"type": "refusal", "refusal": "f"}]},
        {"role": "user", "content": "g"},
        {"role": "assistant", "content": "h"},
        {"role": "assistant", "content": "i"},
        {"role": "user", "content": None},
    )
    expected = ["developer ab", "system c", "user d", "assistant ef", "user g", "assistant h", "assistant i", "user "]
    assert [f"{role} {text}" for role, text in brief(messages)] == expected


def test_what_the_assistant_did_between_two_turns_is_one_message(gateway: Gateway) -> None:
    messages = read(
        gateway,
        user("x"),
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"a":1}', "status": "completed"},
        {"type": "function_call", "call_id": "c2", "name": "get", "namespace": "shop", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "two"}, {"type": "input_image", "image_url": "x"}],
        },
    )
    assert brief(messages) == [
        ("user", "x"),
        ("assistant", 'I look. look({"a":1}) shop__get({})'),
        ("tool", "one"),
        ("tool", "two\n[picture: this model cannot see pictures]"),
    ]
    assert messages[1].reasoning == "Hm."
    assert [(message.tool_call_id, message.name) for message in messages[2:]] == [("c1", "look"), ("c2", "shop__get")]


def test_calls_of_other_tools(gateway: Gateway) -> None:
    messages = read(
        gateway,
        user("x"),
        {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": 'a "b"\n'},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
        {"type": "shell_call", "call_id": "c2", "action": {"commands": ["ls"], "timeout_ms": None}, "status": "completed"},
        {
            "type": "shell_call_output",
            "call_id": "c2",
            "output": [
                {"stdout": "out", "stderr": "err", "outcome": {"type": "exit", "exit_code": 2}},
                {"stdout": "", "stderr": "", "outcome": {"type": "timeout"}},
            ],
        },
        {"type": "local_shell_call", "id": "lsh_1", "call_id": "c3", "action": {"type": "exec", "command": ["pwd"], "env": {}}},
        {"type": "local_shell_call_output", "id": "c3", "output": "/"},
        {"type": "apply_patch_call", "call_id": "c4", "operation": {"type": "delete_file", "path": "a"}, "status": "completed"},
        {"type": "apply_patch_call_output", "call_id": "c4", "status": "failed"},
        {"type": "tool_search_call", "call_id": "c5", "arguments": {"query": "q"}, "execution": "client"},
        {"type": "tool_search_output", "call_id": "c5", "tools": [{"type": "function", "name": "found"}]},
        {"type": "mcp_call", "id": "mcp_1", "server_label": "s", "name": "remote", "arguments": "{}", "output": "far"},
    )
    assert brief(messages) == [
        ("user", "x"),
        ("assistant", 'patch({"input": "a \\"b\\"\\n"})'),
        ("tool", "done"),
        ("assistant", 'shell({"commands": ["ls"]})'),
        ("tool", "out\nerr\n(exit code 2)\n(timed out)"),
        ("assistant", 'local_shell({"command": ["pwd"]})'),
        ("tool", "/"),
        ("assistant", 'apply_patch({"type": "delete_file", "path": "a"})'),
        ("tool", "failed"),
        ("assistant", 'tool_search({"query": "q"})'),
        ("tool", '[{"name": "found"}]'),
        ("assistant", "remote({})"),
        ("tool", "far"),
    ]
    assert [tool.name for tool in gateway.generator.seen[-1].tools] == ["found"]
    assert all(message.tool_call_id for message in messages if message.role == "tool")


def test_hosted_and_unknown_items_are_left_out(gateway: Gateway) -> None:
    messages = read(
        gateway,
        user("x"),
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
        {"type": "file_search_call", "id": "fs_1", "queries": []},
        {"type": "computer_call", "id": "c", "call_id": "c", "action": {}},
        {"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot"}},
        {"type": "code_interpreter_call", "id": "ci", "code": "1"},
        {"type": "image_generation_call", "id": "ig", "result": None},
        {"type": "mcp_list_tools", "id": "m", "tools": []},
        {"type": "program", "id": "p", "code": "x"},
        {"type": "never_heard_of", "content": {"deep": [1]}, "role": 5},
        {"type": ["odd"]},
    )
    assert brief(messages) == [("user", "x")]


def test_a_thought_comes_back_sealed_and_is_read_again(gateway: Gateway) -> None:
    gateway.generator.script = script(thought("The word is ", "pomme."), called("look", "{}"))
    client = gateway.openai()
    first = client.responses.create(
        model=MODEL, input="x", store=False, include=["reasoning.encrypted_content"], reasoning={"summary": "auto"}
    )
    items: list[Any] = [item.to_dict() for item in first.output]
    assert items[0]["summary"] == [{"type": "summary_text", "text": "The word is pomme."}]
    assert "pomme" not in items[0]["encrypted_content"]
    del items[0]["id"]
    items[0]["summary"] = []
    client.responses.create(model=MODEL, input=[*items, {"type": "function_call_output", "call_id": "call_0", "output": "y"}])
    turn = next(iter(gateway.generator.seen[-1].messages or ()))
    assert (turn.reasoning, turn.tool_calls[0].name) == ("The word is pomme.", "look")


@pytest.mark.parametrize("content", ["gAAAAA", "pomona1.!!", "pomona1.", seal("x")[:-4], None])
def test_what_others_sealed_is_not_read(content: str | None) -> None:
    assert unseal(content) is None


def test_a_small_seal_that_unpacks_to_much_is_not_read() -> None:
    assert unseal(seal("x" * 2**20)) == "x" * 2**20
    assert unseal(seal("x" * 2**24)) is None


def test_thoughts_of_others_are_read_from_content_or_summary(gateway: Gateway) -> None:
    foreign = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "short"}], "encrypted_content": "gAAAA"}
    assert read(gateway, user("x"), foreign, {"role": "assistant", "content": "y"})[1].reasoning == "short"
    full = {**foreign, "content": [{"type": "reasoning_text", "text": "long"}]}
    assert read(gateway, user("x"), full, {"role": "assistant", "content": "y"})[1].reasoning == "long"


def test_thoughts_of_earlier_turns_can_be_left_out(gateway: Gateway) -> None:
    old = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "old"}]}
    new = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "new"}]}
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    items = [user("x"), old, {"role": "assistant", "content": "y"}, user("z"), new, call]
    assert [message.reasoning for message in read(gateway, *items)] == ["", "old", "", "new"]
    assert [message.reasoning for message in read(gateway, *items, reasoning={"context": "current_turn"})] == ["", "", "", "new"]


def test_a_configuration_update_holds_from_then_on(gateway: Gateway) -> None:
    form = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
    read(
        gateway,
        {"type": "configuration_update", "reasoning": {"effort": "low"}, "text": {"format": form}},
        user("x"),
        {"type": "configuration_update", "reasoning": {"effort": "high"}},
        reasoning={"effort": "medium"},
    )
    seen = gateway.generator.seen[-1]
    assert seen.reasoning.effort == "high"
    assert seen.output_format is not None
    assert json.loads(seen.output_format.source) == {"type": "object"}


def test_additional_tools_are_shown(gateway: Gateway) -> None:
    read(gateway, {"type": "additional_tools", "role": "developer", "tools": [{"type": "custom", "name": "patch"}]}, user("x"))
    assert [tool.name for tool in gateway.generator.seen[-1].tools] == ["patch"]


def test_old_items_are_left_out_where_the_input_is_too_long(gateway: Gateway) -> None:
    long = " ".join(["word"] * 100)
    items: list[object] = [{"role": "developer", "content": "stay"}]
    for number in range(6):
        items += [
            user(f"{number} {long}"),
            {"type": "function_call", "call_id": f"c{number}", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": f"c{number}", "output": "out"},
        ]
    assert len(read(gateway, *items)) == 19
    messages = read(gateway, *items, truncation="auto", max_output_tokens=50)
    assert messages[0].text == "stay"
    assert [message.text[0] for message in messages if message.role == "user"] == ["2", "3", "4", "5"]
    calls = {call.id for message in messages for call in message.tool_calls}
    assert {message.tool_call_id for message in messages if message.role == "tool"} <= calls
    assert messages[-1].tool_call_id == "c5"


def test_what_fits_is_left_as_it_is(gateway: Gateway) -> None:
    assert brief(read(gateway, user("a"), user("b"), truncation="auto")) == [("user", "a"), ("user", "b")]


def test_what_can_never_fit_is_left_to_the_generator_to_refuse(gateway: Gateway) -> None:
    assert len(read(gateway, user("a"), user(" ".join(["word"] * 600)), truncation="auto")) == 2


def test_said_is_what_the_model_reads_again(gateway: Gateway) -> None:
    gateway.generator.script = script(said("I look."), called("look", '{"a":1}'), said(" And wait."))
    items = gateway.openai().responses.create(model=MODEL, input="x").output
    messages = read(gateway, *[item.to_dict() for item in items], {"type": "function_call_output", "call_id": "call_0", "output": "y"})
    assert brief(messages) == [("assistant", 'I look. And wait. look({"a":1})'), ("tool", "y")]
