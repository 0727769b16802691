"""Bodies as Claude Code sends them, whole and damaged."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from pomona.core.errors import InvalidRequest
from pomona.core.generation import ReasoningOptions
from pomona.server.anthropic.decode import Call, decode_count, decode_messages
from pomona.server.anthropic.edits import apply_edits
from pomona.server.anthropic.wire import CountTokensRequest, MessagesRequest
from pomona.server.bodies import parse_body
from tests.api.anthropic.clients import http_of, turns_of
from tests.api.anthropic.scripts import calling
from tests.api.gateway import CARDS, MODEL, Gateway
from tests.doubles import FixedTokenization

BODIES = Path(__file__).parents[2] / "data" / "client_bodies"
HEADERS = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,adaptive-thinking-2026-01-28,context-management-2025-06-27,effort-2025-11-24,from-the-future",
    "authorization": "Bearer pomona",
    "user-agent": "claude-cli/2.1.197 (external, cli)",
    "x-app": "cli",
    "x-stainless-lang": "js",
}


def body_of(name: str) -> dict[str, Any]:
    return json.loads((BODIES / f"claude_code_{name}.json").read_text(encoding="utf-8")) | {"model": MODEL}


FIRST, SECOND = body_of("first"), body_of("tool_result")


@pytest.mark.parametrize("stream", [False, True])
def test_the_first_request(gateway: Gateway, stream: bool) -> None:
    gateway.generator.script = calling()
    response = http_of(gateway).post("/v1/messages?beta=true", json={**FIRST, "stream": stream}, headers=HEADERS)
    assert response.status_code == 200, response.text
    request = gateway.generator.seen[-1]
    assert [each.role for each in turns_of(request)] == ["system", "user", "system"]
    assert [tool.name for tool in request.tools] == [tool["name"] for tool in FIRST["tools"]]
    assert (request.max_tokens, request.clamp_max_tokens) == (32_000, True)
    assert request.reasoning == ReasoningOptions(enabled=True, effort="high")
    assert request.session == "968cdbad-e17d-45d3-bb7c-d72d746632eb"


def test_the_second_request_begins_as_the_first(gateway: Gateway) -> None:
    for body in (FIRST, SECOND):
        assert http_of(gateway).post("/v1/messages?beta=true", json=body, headers=HEADERS).status_code == 200
    first, second = (turns_of(request) for request in gateway.generator.seen)
    assert [each.role for each in second] == ["system", "user", "system", "assistant", "tool"]
    assert [each.role for each in first] == ["system", "user", "system"]
    assert second[3].tool_calls[0].name == "Read"
    assert "plum" in second[4].text
    assert gateway.generator.seen[0].session == gateway.generator.seen[1].session


def test_its_tokens_are_counted(gateway: Gateway) -> None:
    body = {name: value for name, value in SECOND.items() if name not in ("max_tokens", "stream")}
    response = http_of(gateway).post("/v1/messages/count_tokens?beta=true", json=body, headers=HEADERS)
    assert response.status_code == 200
    assert response.json()["input_tokens"] > 100


RICH: Mapping[str, Any] = {
    "model": MODEL,
    "max_tokens": 64,
    "system": [{"type": "text", "text": "x-anthropic-billing-header: cch=1;"}, {"type": "text", "text": "Be brief."}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}},
                {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}, "title": "t"},
                {"type": "search_result", "title": "t", "source": "s", "content": [{"type": "text", "text": "a"}]},
                {"type": "container_upload", "file_id": "f"},
            ],
        },
        {"role": "system", "content": [{"type": "tool_addition", "tool": {"type": "tool_reference", "name": "Fly"}}], "clear_at": "never"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "", "signature": "pomona2.eJzzSS1RyE1VKE5N1QMAFkEDow=="},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
                {
                    "type": "web_search_tool_result",
                    "tool_use_id": "s",
                    "content": [{"type": "web_search_result", "title": "A", "url": "u"}],
                },
                {"type": "tool_use", "id": "a", "name": "Read", "input": {"path": "x"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "a",
                    "is_error": True,
                    "content": [
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                        {"type": "tool_reference", "tool_name": "Fly"},
                    ],
                }
            ],
        },
        {"role": "system", "content": "Now.", "output_config": {"effort": "low"}},
    ],
    "tools": [
        {"name": "Read", "description": "d", "input_schema": {"type": "object"}, "strict": True, "input_examples": [{"path": "a"}]},
        {"name": "Fly", "input_schema": {"type": "object"}, "defer_loading": True, "allowed_callers": ["direct"]},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
        {"type": "computer_20251124", "name": "computer", "display_width_px": 8, "display_height_px": 8},
        {"type": "browser_toolset_20260801", "configs": {"zoom": {"enabled": False}}},
        {"type": "web_search_20250305", "name": "web_search"},
    ],
    "tool_choice": {"type": "tool", "name": "Read", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
    "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    "context_management": {
        "edits": [
            {"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns", "value": 0}},
            {
                "type": "clear_tool_uses_20250919",
                "trigger": {"type": "tool_uses", "value": 1},
                "keep": {"type": "tool_uses", "value": 0},
                "clear_at_least": {"type": "input_tokens", "value": 0},
                "clear_tool_inputs": ["Read"],
                "exclude_tools": ["Fly"],
            },
        ]
    },
    "stop_sequences": ["END"],
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 5,
    "seed": 1,
    "metadata": {"user_id": "user_x_account__session_1"},
    "speed": "fast",
    "stream": True,
    "diagnostics": {"previous_message_id": None},
}
JSON = some.recursive(
    some.none() | some.booleans() | some.integers(-(2**70), 2**70) | some.floats() | some.text(max_size=5),
    lambda inner: (
        some.lists(inner, max_size=3) | some.dictionaries(some.sampled_from(["type", "text", "name", "value", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)
Place = tuple[str | int, ...]


def places(value: Any, path: Place = ()) -> list[Place]:
    """The paths of all values inside `value`."""
    inside: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inside = [(str(key), each) for key, each in value.items()]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    elif isinstance(value, list):
        inside = list(enumerate(value))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return [path, *(place for key, each in inside for place in places(each, (*path, key)))]


def damaged(body: Mapping[str, Any], path: Place, value: object) -> bytes:
    """`body` with `value` at `path`, or without that place where `value` is the text "gone"."""
    changed: Any = json.loads(json.dumps(body))
    if not path:
        return json.dumps(value).encode()
    here = changed
    for key in path[:-1]:
        here = here[key]
    if value == "gone":
        del here[path[-1]]
    else:
        here[path[-1]] = value
    return json.dumps(changed).encode()


def complaint(raw: bytes) -> str:
    """What is wrong with a body; empty where it became a sane call."""
    try:
        call = decode_messages(parse_body(raw, MessagesRequest), "id", CARDS[0], strip_attribution=True)
        counted = decode_count(parse_body(raw, CountTokensRequest), "id", CARDS[0], strip_attribution=True)
        edited, _ = asyncio.run(apply_edits(call, FixedTokenization()))
    except InvalidRequest as error:
        return error.message
    assert counted.request.messages == call.request.messages
    check(edited)
    return ""


def check(call: Call) -> None:
    request = call.request
    assert request.messages
    assert request.max_tokens is not None
    assert request.max_tokens >= 1
    assert 0 <= request.sampling.temperature <= 2
    assert 0 < request.sampling.top_p <= 1
    assert len({tool.name for tool in request.tools}) == len(request.tools)
    assert set(request.tool_choice.names) <= {tool.name for tool in request.tools}
    called = {each.id for turn in request.messages for each in turn.tool_calls}
    assert {turn.tool_call_id for turn in request.messages if turn.role == "tool"} <= called


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(path=some.sampled_from(places(RICH)), value=JSON | some.just("gone"))
def test_any_change_to_a_body(path: Place, value: object) -> None:
    message = complaint(damaged(RICH, path, value))
    assert message == "" or message.endswith(".")
    assert len(message) < 3000


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(path=some.sampled_from(places(SECOND)), value=JSON | some.just("gone"))
def test_any_change_to_claude_codes_own(path: Place, value: object) -> None:
    message = complaint(damaged(SECOND, path, value))
    assert message == "" or message.endswith(".")


@settings(deadline=None)
@given(raw=some.binary())
def test_bytes_that_are_no_body(raw: bytes) -> None:
    assert complaint(raw)


def test_the_bodies_that_are_changed_are_good_ones() -> None:
    assert [complaint(json.dumps(body).encode()) for body in (RICH, FIRST, SECOND)] == ["", "", ""]


def test_damaged_bodies_never_make_the_server_fail(gateway: Gateway) -> None:
    client = http_of(gateway)

    @settings(max_examples=150, deadline=None)
    @given(path=some.sampled_from(places(RICH)), value=JSON | some.just("gone"))
    def send(path: Place, value: object) -> None:
        raw = damaged(RICH, path, value)
        for address in ("/v1/messages", "/v1/messages/count_tokens"):
            response = client.post(address, content=raw, headers={"content-type": "application/json"})
            assert response.status_code in (200, 400, 404), response.text

    send()
    assert gateway.generator.running == 0
