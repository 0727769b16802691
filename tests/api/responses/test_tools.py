"""Tools of every type: what the model is shown, and the items that its calls become."""

from typing import Any

import pytest

from pomona.core.generation import ToolChoice
from tests.api.gateway import MODEL, Gateway
from tests.api.responses.scripts import called, function, script

GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": 'start: "x"'}
TOOLS: list[object] = [
    function("look", a={"type": "integer"}),
    {"type": "custom", "name": "patch", "description": "Patches.", "format": GRAMMAR},
    {
        "type": "namespace",
        "name": "shop",
        "description": "The shop.",
        "tools": [function("get"), {"type": "custom", "name": "note", "format": {"type": "text"}}],
    },
    {"type": "shell"},
    {"type": "local_shell"},
    {"type": "apply_patch"},
    {"type": "web_search", "external_web_access": False},
    {"type": "mcp", "server_label": "s", "server_url": "u"},
    {"type": "tomorrows_tool", "parameters": 5},  # the last one: the SDK warns of what it does not know
]


def ask(gateway: Gateway, **fields: object) -> Any:
    response = gateway.http().post("/v1/responses", json={"model": MODEL, "input": "x", "tools": TOOLS, **fields})
    assert response.status_code == 200, response.text
    return response.json()


def stream(gateway: Gateway, **fields: Any) -> tuple[list[Any], Any]:
    """All events, and the final response of the SDK's accumulator."""
    with gateway.openai().responses.stream(model=MODEL, input="x", tools=fields.pop("tools", TOOLS[:-1]), **fields) as events:
        return list(events), events.get_final_response()


def test_the_model_is_shown_functions(gateway: Gateway) -> None:
    assert ask(gateway)["tools"] == TOOLS
    shown = {tool.name: tool for tool in gateway.generator.seen[0].tools}
    assert list(shown) == ["look", "patch", "shop__get", "shop__note", "shell", "local_shell", "apply_patch"]
    assert shown["look"].parameters == {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert not shown["look"].strict
    assert 'start: "x"' in shown["patch"].description
    assert shown["patch"].parameters["required"] == ["input"]
    assert shown["shop__get"].description == "The shop."


def test_strict_tools_are_strict(gateway: Gateway) -> None:
    ask(gateway, tools=[{**function("look"), "strict": True}])
    assert gateway.generator.seen[0].tools[0].strict


def test_a_call_of_a_namespace_gets_it_back(gateway: Gateway) -> None:
    gateway.generator.script = script(called("shop__get", "{}"), called("shop__note", '{"input":"n"}', index=1))
    events, final = stream(gateway)
    item, note = final.output
    assert (item.type, item.name, item.namespace) == ("function_call", "get", "shop")
    assert (note.type, note.name, note.namespace, note.input) == ("custom_tool_call", "note", "shop", "n")
    assert next(event for event in events if event.type == "response.output_item.added").item.namespace == "shop"


TEXT = 'Grüße "🍎"\n\tEnde \\'


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_the_input_of_a_custom_tool_is_decoded_while_it_streams(gateway: Gateway, size: int) -> None:
    arguments = '{"input": "Gr\\u00fc\\u00dfe \\"\\ud83c\\udf4e\\"\\n\\tEnde \\\\"}'
    gateway.generator.script = script(called("patch", *(arguments[at : at + size] for at in range(0, len(arguments), size))))
    events, final = stream(gateway)
    assert final.output[0].input == TEXT
    deltas = [event.delta for event in events if event.type == "response.custom_tool_call_input.delta"]
    assert "".join(deltas) == TEXT
    if size < 7:
        assert len(deltas) > 3
    done = next(event for event in events if event.type == "response.custom_tool_call_input.done")
    assert done.input == TEXT


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [('{"patch":"x"}', "x"), ('{"a":1,"b":2}', '{"a":1,"b":2}'), ("[1]", "[1]"), ('{"other":"\\ud800"}', "\ufffd")],
)
def test_other_arguments_of_a_custom_tool_are_not_lost(gateway: Gateway, arguments: str, expected: str) -> None:
    gateway.generator.script = script(called("patch", arguments))
    assert stream(gateway)[1].output[0].input == expected


def test_a_custom_call_that_was_cut(gateway: Gateway) -> None:
    gateway.generator.script = script(called("patch", '{"input":"half of \\u00', cut=True), reason="length")
    response = ask(gateway)
    assert response["status"] == "incomplete"
    assert (response["output"][0]["input"], response["output"][0]["status"]) == ("half of ", "incomplete")


def test_shell_calls(gateway: Gateway) -> None:
    gateway.generator.script = script(called("shell", '{"commands":["ls",', '"pwd"],"timeout_ms":5}'))
    events, final = stream(gateway)
    call = final.output[0]
    assert (call.type, call.call_id, call.action.commands, call.action.timeout_ms) == ("shell_call", "call_0", ["ls", "pwd"], 5)
    assert [event.type for event in events if "shell" in event.type] == [
        f"response.shell_call_command.{step}" for _ in range(2) for step in ("added", "delta", "done")
    ]


def test_local_shell_calls(gateway: Gateway) -> None:
    gateway.generator.script = script(called("local_shell", '{"command":["ls","-l"],"working_directory":"/"}'))
    call = stream(gateway)[1].output[0]
    assert (call.type, call.action.type, call.action.command, call.action.working_directory) == (
        "local_shell_call",
        "exec",
        ["ls", "-l"],
        "/",
    )


@pytest.mark.parametrize(
    ("arguments", "operation"),
    [
        ('{"type":"update_file","path":"a","diff":"@@"}', {"type": "update_file", "path": "a", "diff": "@@"}),
        ('{"type":"delete_file","path":"a","diff":"x"}', {"type": "delete_file", "path": "a"}),
        ('{"operation":{"type":"create_file","path":"a","diff":"+b"}}', {"type": "create_file", "path": "a", "diff": "+b"}),
        ('{"path":5}', {"type": "update_file", "path": "5", "diff": ""}),
    ],
)
def test_patch_calls(gateway: Gateway, arguments: str, operation: dict[str, str]) -> None:
    gateway.generator.script = script(called("apply_patch", arguments))
    call = stream(gateway)[1].output[0]
    assert call.type == "apply_patch_call"
    assert call.operation.to_dict() == operation


@pytest.mark.parametrize("arguments", ["{}", "[1]", "nonsense", '{"commands":"ls"}', '{"commands":[1,null],"timeout_ms":1e99}'])
def test_odd_arguments_still_make_an_item(gateway: Gateway, arguments: str) -> None:
    gateway.generator.script = script(
        called("shell", arguments), called("local_shell", arguments, index=1), called("apply_patch", arguments, index=2)
    )
    assert [item["type"] for item in ask(gateway)["output"]] == ["shell_call", "local_shell_call", "apply_patch_call"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"limit":1' + "0" * 30 + "}", {"limit": 1e30}),
        ("[" * 100_000, {}),
        ('{"a":"\\ud800"}', {"a": "\ufffd"}),
        ('{"a":NaN}', {"a": None}),
    ],
    ids=["long", "deep", "half", "no number"],
)
def test_arguments_that_are_hard_to_write_down(gateway: Gateway, arguments: str, expected: object) -> None:
    gateway.generator.script = script(called("tool_search", arguments))
    response = ask(gateway, tools=[{"type": "tool_search", "execution": "client"}])
    assert response["output"][0]["arguments"] == expected


def test_a_shell_call_that_was_cut_is_no_item(gateway: Gateway) -> None:
    gateway.generator.script = script(called("shell", '{"commands":["rm', cut=True), reason="length")
    response = ask(gateway)
    assert (response["output"], response["status"]) == ([], "incomplete")


def test_tools_are_found_by_a_search_of_the_client(gateway: Gateway) -> None:
    search = {"type": "tool_search", "execution": "client", "description": "Find.", "parameters": {"type": "object"}}
    deferred = {**function("hidden"), "defer_loading": True}
    group = {"type": "namespace", "name": "shop", "description": "", "tools": [{**function("get"), "defer_loading": True}]}
    gateway.generator.script = script(called("tool_search", '{"query":"q"}'))
    _, final = stream(gateway, tools=[search, deferred, function("look"), group])
    assert [tool.name for tool in gateway.generator.seen[-1].tools] == ["tool_search", "look"]
    call = final.output[0]
    assert (call.type, call.arguments, call.execution, call.call_id) == ("tool_search_call", {"query": "q"}, "client", "call_0")
    found: list[object] = [call.to_dict(), {"type": "tool_search_output", "call_id": "call_0", "execution": "client", "tools": [group]}]
    ask(gateway, input=[{"role": "user", "content": "x"}, *found], tools=[search, deferred])
    assert [tool.name for tool in gateway.generator.seen[-1].tools] == ["tool_search", "shop__get"]
    ask(gateway, tools=[{"type": "tool_search"}, deferred])
    assert [tool.name for tool in gateway.generator.seen[-1].tools] == ["hidden"]


def test_only_so_many_built_in_tools_are_called(gateway: Gateway) -> None:
    calls = [called("shell", '{"commands":["a"]}', index=0), called("shell", '{"commands":["b"]}', index=1), called("look", "{}", index=2)]
    gateway.generator.script = script(*calls)
    assert [item["type"] for item in ask(gateway, max_tool_calls=1)["output"]] == ["shell_call", "function_call"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, ToolChoice()),
        ("auto", ToolChoice()),
        ("none", ToolChoice(mode="none")),
        ("required", ToolChoice(mode="required")),
        ({"type": "function", "name": "look"}, ToolChoice(mode="required", names=("look",))),
        ({"type": "custom", "name": "patch"}, ToolChoice(mode="required", names=("patch",))),
        ({"type": "function", "name": "get"}, ToolChoice(mode="required", names=("shop__get",))),
        ({"type": "apply_patch"}, ToolChoice(mode="required", names=("apply_patch",))),
        ({"type": "shell"}, ToolChoice(mode="required", names=("shell",))),
        ({"type": "web_search_preview"}, ToolChoice()),
        ({"type": "mcp", "server_label": "s"}, ToolChoice()),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "look"}, {"type": "web_search"}]},
            ToolChoice(mode="required", names=("look",)),
        ),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "namespace", "name": "shop"}, {"type": "shell"}]},
            ToolChoice(names=("shop__get", "shop__note", "shell")),
        ),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}]}, ToolChoice(mode="none")),
    ],
)
def test_choices(gateway: Gateway, choice: object, expected: ToolChoice) -> None:
    assert ask(gateway, tool_choice=choice)["tool_choice"] == (choice or "auto")
    assert gateway.generator.seen[0].tool_choice == expected


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "name": "nobody"},
        {"type": "function"},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "nobody"}]},
        {"type": "allowed_tools", "mode": "auto"},
    ],
)
def test_choices_of_nothing(gateway: Gateway, choice: object) -> None:
    response = gateway.http().post("/v1/responses", json={"model": MODEL, "input": "x", "tools": TOOLS, "tool_choice": choice})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "tool_choice"


def test_a_required_tool_that_only_the_vendor_has_leaves_the_model_free(gateway: Gateway) -> None:
    ask(gateway, tools=[{"type": "web_search"}], tool_choice="required")
    assert gateway.generator.seen[0].tool_choice == ToolChoice()
