"""Which tools the model is told of, and whether it must call one."""

from collections.abc import Mapping
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pomona.core.generation import ToolChoice
from tests.api.anthropic.clients import refusal, understood
from tests.api.gateway import Gateway

SCHEMA: Mapping[str, Any] = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
READ: Mapping[str, Any] = {"name": "Read", "description": "Read a file.", "input_schema": SCHEMA}
FLY: Mapping[str, Any] = {"name": "Fly", "input_schema": {"type": "object"}, "defer_loading": True}
HI = {"role": "user", "content": "Hi"}


def names(gateway: Gateway, **fields: Any) -> list[str]:
    return [tool.name for tool in understood(gateway, **fields).tools]


def test_tools_of_the_client(gateway: Gateway) -> None:
    tool = {
        **READ,
        "type": "custom",
        "strict": True,
        "input_examples": [{"path": "a"}],
        "eager_input_streaming": True,
        "cache_control": None,
    }
    found = understood(gateway, tools=[tool]).tools[0]
    assert (found.name, found.parameters, found.strict) == ("Read", SCHEMA, True)
    assert found.description == 'Read a file.\nExamples of input:\n{"path":"a"}'
    plain = understood(gateway, tools=[{**READ, "type": None}, {"name": "Bare"}]).tools
    assert [(each.name, each.strict) for each in plain] == [("Read", False), ("Bare", False)]


CLIENT_TOOLS: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"type": "bash_20250124", "name": "bash"}, "bash", {"command": "ls"}),
    ({"type": "bash_20241022", "name": "bash"}, "bash", {"restart": True}),
    (
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 9},
        "str_replace_based_edit_tool",
        {"command": "insert", "path": "/a", "insert_line": 0, "insert_text": "x"},
    ),
    ({"type": "text_editor_20241022", "name": "str_replace_editor"}, "str_replace_editor", {"command": "undo_edit", "path": "/a"}),
    ({"type": "memory_20250818", "name": "memory"}, "memory", {"command": "rename", "old_path": "/a", "new_path": "/b"}),
    (
        {"type": "computer_20251124", "name": "computer", "display_width_px": 800, "display_height_px": 600, "enable_zoom": True},
        "computer",
        {"action": "zoom", "region": [0, 0, 1, 1]},
    ),
    (
        {"type": "computer_20241022", "name": "computer", "display_width_px": 1, "display_height_px": 1},
        "computer",
        {"action": "screenshot"},
    ),
]


@pytest.mark.parametrize(("tool", "name", "arguments"), CLIENT_TOOLS)
def test_tools_that_a_type_names_get_their_schemas(gateway: Gateway, tool: Any, name: str, arguments: Any) -> None:
    found = understood(gateway, tools=[tool]).tools[0]
    assert found.name == name
    assert found.description
    Draft202012Validator.check_schema(found.parameters)
    validator = Draft202012Validator(found.parameters)
    assert validator.is_valid(arguments)
    assert not validator.is_valid({"command": 7, "action": 7})


def test_later_editors_cannot_undo(gateway: Gateway) -> None:
    found = understood(gateway, tools=[{"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}]).tools[0]
    assert not Draft202012Validator(found.parameters).is_valid({"command": "undo_edit", "path": "/a"})


@pytest.mark.parametrize(("toolset", "count"), [("browser", 31), ("computer", 17)])
def test_toolsets_are_all_of_their_tools(gateway: Gateway, toolset: str, count: int) -> None:
    tool = {"type": f"{toolset}_toolset_20260801"}
    tools = understood(gateway, tools=[tool]).tools
    assert len(tools) == count
    for each in tools:
        assert each.name.startswith(f"{toolset}_")
        Draft202012Validator.check_schema(each.parameters)
    off = {**tool, "configs": {"screenshot": {"enabled": False}, "zoom": {"defer_loading": True}, "type": {"enabled": True}, "wait": None}}
    assert len(names(gateway, tools=[off])) == count - 2


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
        {"type": "web_fetch_20260318", "name": "web_fetch"},
        {"type": "code_execution_20250825", "name": "code_execution"},
        {"type": "advisor_20260301", "name": "advisor", "model": "m"},
        {"type": "mcp_toolset", "mcp_server_name": "m"},
        {"type": "from_the_future_20300101", "name": "future"},
        {**READ, "name": "Hidden", "allowed_callers": ["code_execution_20260120"]},
    ],
)
def test_tools_of_the_cloud_are_left_out(gateway: Gateway, tool: Mapping[str, Any]) -> None:
    assert names(gateway, tools=[READ, tool]) == ["Read"]


def test_a_tool_of_a_type_from_the_future_with_a_schema_can_be_called(gateway: Gateway) -> None:
    assert names(gateway, tools=[{"type": "special_20300101", "name": "Special", "input_schema": SCHEMA}]) == ["Special"]


def test_tools_are_held_back_until_they_are_named(gateway: Gateway) -> None:
    tools = [READ, FLY]
    assert names(gateway, tools=tools) == ["Read"]
    assert names(gateway, tools=tools, tool_choice={"type": "tool", "name": "Fly"}) == ["Read", "Fly"]
    found = {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "tool_reference", "tool_name": "Fly"}]}
    call: dict[str, Any] = {"type": "tool_use", "id": "a", "name": "Read", "input": {}}
    assert names(gateway, tools=tools, messages=[HI, {"role": "assistant", "content": [call]}, {"role": "user", "content": [found]}]) == [
        "Read",
        "Fly",
    ]
    called: dict[str, Any] = {"type": "tool_use", "id": "a", "name": "Fly", "input": {}}
    assert "Fly" in names(gateway, tools=tools, messages=[HI, {"role": "assistant", "content": [called]}, HI])
    searched = {
        "type": "tool_search_tool_result",
        "tool_use_id": "s",
        "content": {"type": "tool_search_tool_search_result", "tool_references": [{"type": "tool_reference", "tool_name": "Fly"}, 7]},
    }
    assert "Fly" in names(gateway, tools=tools, messages=[HI, {"role": "assistant", "content": [searched]}, HI])


def test_a_search_for_tools_in_the_cloud_is_spared_by_showing_all(gateway: Gateway) -> None:
    search = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}
    assert names(gateway, tools=[search, READ, FLY]) == ["Read", "Fly"]


def change(kind: str, **tool: Any) -> dict[str, Any]:
    return {"role": "system", "content": [{"type": f"tool_{kind}", "tool": tool}]}


def test_tools_come_and_go_in_the_midst_of_a_conversation(gateway: Gateway) -> None:
    tools = [READ, FLY]
    added = change("addition", type="tool_reference", name="Fly")
    removed = change("removal", type="tool_reference", name="Read")
    inline = change("addition", type="tool_definition", definition={"name": "Swim", "input_schema": SCHEMA})
    assert names(gateway, tools=tools, messages=[HI, added]) == ["Read", "Fly"]
    assert names(gateway, tools=tools, messages=[HI, removed]) == []
    assert names(gateway, tools=tools, messages=[HI, removed, added, inline]) == ["Fly", "Swim"]
    assert names(gateway, tools=tools, messages=[HI, change("addition", type="mcp_toolset_reference", server_name="m")]) == ["Read"]
    assert [message.role for message in understood(gateway, tools=tools, messages=[HI, added]).messages or ()] == ["user"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, ToolChoice()),
        ({"type": "auto"}, ToolChoice()),
        ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice(parallel=False)),
        ({"type": "any"}, ToolChoice(mode="required")),
        ({"type": "tool", "name": "Read", "disable_parallel_tool_use": True}, ToolChoice(mode="required", names=("Read",), parallel=False)),
        ({"type": "none"}, ToolChoice(mode="none")),
        ({"type": "tool", "name": "web_search"}, ToolChoice()),
    ],
)
def test_whether_tools_are_called(gateway: Gateway, choice: Any, expected: ToolChoice) -> None:
    request = understood(gateway, tools=[READ, {"type": "web_search_20250305", "name": "web_search"}], tool_choice=choice)
    assert request.tool_choice == expected
    assert [tool.name for tool in request.tools] == ["Read"]


def test_nothing_is_forced_where_all_tools_were_the_clouds(gateway: Gateway) -> None:
    tools = [{"type": "web_search_20250305", "name": "web_search"}]
    assert understood(gateway, tools=tools, tool_choice={"type": "any"}).tool_choice == ToolChoice()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tools": [READ], "tool_choice": {"type": "tool", "name": "Swim"}}, "tool_choice names the tool 'Swim'; there are 'Read'."),
        ({"tool_choice": {"type": "any"}}, "there are no tools"),
        ({"tools": [READ], "tool_choice": {"type": "sometimes"}}, "tool_choice.type = 'sometimes'"),
        ({"tools": [{"input_schema": SCHEMA}]}, "has no name"),
        ({"tools": [{"name": "a", "input_schema": "x"}]}, "tools[0].input_schema"),
    ],
)
def test_what_cannot_be_chosen(gateway: Gateway, fields: Mapping[str, Any], words: str) -> None:
    assert words in refusal(gateway, **fields)
