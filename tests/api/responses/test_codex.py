"""What Codex sends, and what it needs to hear."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.api.gateway import MODEL, Gateway
from tests.api.responses.scripts import called, said, script, thought

BODIES = Path(__file__).parents[2] / "data" / "client_bodies"


def body(name: str, **changes: object) -> dict[str, Any]:
    return json.loads((BODIES / f"{name}.json").read_text(encoding="utf-8")) | {"model": "gpt-5-codex"} | changes


def events(gateway: Gateway, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Read as Codex reads: by the data lines alone."""
    response = gateway.http().post("/v1/responses", json=asked, headers={"accept": "text/event-stream", "originator": "codex_exec"})
    assert response.status_code == 200, response.text
    return [json.loads(line.removeprefix("data: ")) for line in response.text.split("\n") if line.startswith("data: ")]


@pytest.fixture(autouse=True)
def standing_in(gateway: Gateway) -> Any:
    gateway.directory.stands_in = "gpt-*"
    yield
    gateway.directory.stands_in = ""


def test_a_turn_with_a_tool_and_the_next_one(gateway: Gateway) -> None:
    gateway.generator.script = script(
        thought("Read it."), called("exec_command", '{"cmd":"cat note.txt"}', call_id="call_x"), reason="tool_calls"
    )
    first = body("codex_first")
    told = events(gateway, first)
    assert told[-1]["type"] == "response.completed"
    assert told[-1]["response"]["model"] == "gpt-5-codex"
    reasoning, call = told[-1]["response"]["output"]
    assert reasoning["summary"][0]["text"] == "Read it."
    assert reasoning["encrypted_content"]
    assert (call["type"], call["name"], call["call_id"]) == ("function_call", "exec_command", "call_x")
    seen = gateway.generator.seen[0]
    assert seen.model == MODEL
    assert seen.session == first["prompt_cache_key"]
    assert [message.role for message in seen.messages or ()] == ["developer", "developer", "user", "user"]
    names = [tool.name for tool in seen.tools]
    assert names[:2] == ["exec_command", "write_stdin"]
    assert any(name.startswith("multi_agent_v1__") for name in names)
    assert "web_search" not in names

    gateway.generator.script = script(said("The secret word is pomme."))
    result = {"type": "function_call_output", "call_id": "call_x", "output": "pomme"}
    told = events(gateway, {**first, "input": [*first["input"], {**reasoning, "content": None}, call, result]})
    assert told[-1]["response"]["output"][0]["content"][0]["text"] == "The secret word is pomme."
    messages = list(gateway.generator.seen[1].messages or ())
    assert tuple(messages[:4]) == seen.messages
    assert (messages[4].reasoning, messages[4].tool_calls[0].name, messages[5].text) == ("Read it.", "exec_command", "pomme")
    assert gateway.generator.seen[1].tools == seen.tools


def test_the_second_request_of_a_turn_as_it_was_sent(gateway: Gateway) -> None:
    assert events(gateway, body("codex_tool_result"))[-1]["type"] == "response.completed"
    messages = list(gateway.generator.seen[0].messages or ())
    assert [message.role for message in messages] == ["developer", "developer", "user", "user", "assistant", "tool"]
    assert messages[-1].tool_call_id == messages[-2].tool_calls[0].id


def test_a_call_of_a_group_gets_its_namespace_back(gateway: Gateway) -> None:
    asked = body("codex_first")
    group = next(tool for tool in asked["tools"] if tool["type"] == "namespace")
    name = group["tools"][0]["name"]
    gateway.generator.script = script(called(f"{group['name']}__{name}", "{}"), reason="tool_calls")
    told = events(gateway, asked)
    for item in (told[2]["item"], told[-1]["response"]["output"][0]):
        assert (item["name"], item["namespace"]) == (name, group["name"])


def test_older_codex_with_a_patch_tool_and_verbosity(gateway: Gateway) -> None:
    patch = {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark", "definition": "start: /x/"}}
    asked = body("codex_first", instructions="You are Codex.", tools=[patch], text={"verbosity": "low"}, include=[], reasoning=None)
    gateway.generator.script = script(called("apply_patch", '{"input":"*** Begin Patch\\n*** End Patch"}'), reason="tool_calls")
    item = events(gateway, asked)[-1]["response"]["output"][0]
    assert (item["type"], item["input"]) == ("custom_tool_call", "*** Begin Patch\n*** End Patch")


def test_a_conversation_is_put_in_short_by_its_own_request(gateway: Gateway) -> None:
    gateway.generator.script = script(said("Short."))
    asked = {name: value for name, value in body("codex_tool_result").items() if name not in {"stream", "store", "include"}}
    response = gateway.http().post("/v1/responses/compact", json=asked)
    assert response.status_code == 200, response.text
    assert [item["type"] for item in response.json()["output"]] == ["compaction"]
