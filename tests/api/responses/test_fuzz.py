"""Whatever is in a body, it becomes a response or an error that the caller can mend."""

import json
import random
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as some

from pomona.core.errors import InvalidRequest, NotFound
from pomona.core.generation import Finished, ToolChoice
from pomona.server.bodies import parse_body
from pomona.server.openai.responses.producing import Production
from pomona.server.openai.responses.reading.call import decode
from pomona.server.openai.responses.reading.context import context_of
from pomona.server.openai.responses.store import MemoryStore
from pomona.server.openai.responses.wire import Items, ResponseRequest
from tests.api.gateway import CARDS, MODEL, Gateway
from tests.api.responses.scripts import called, said, script, thought
from tests.doubles import ScriptedGenerator

ITEMS: list[object] = [
    {"role": "developer", "content": "d"},
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "t"}]},
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "s"}], "content": None, "encrypted_content": "e"},
    {"type": "function_call", "call_id": "c1", "name": "f", "namespace": "n", "arguments": "{}", "status": "completed"},
    {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "o"}]},
    {"type": "custom_tool_call", "call_id": "c2", "name": "p", "input": "i"},
    {"type": "custom_tool_call_output", "call_id": "c2", "output": "o"},
    {"type": "shell_call", "call_id": "c3", "action": {"commands": ["ls"]}},
    {"type": "shell_call_output", "call_id": "c3", "output": [{"stdout": "o", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]},
    {"type": "local_shell_call", "id": "l", "call_id": "c4", "action": {"type": "exec", "command": ["ls"], "env": {}}},
    {"type": "local_shell_call_output", "id": "c4", "output": "o"},
    {"type": "apply_patch_call", "call_id": "c5", "operation": {"type": "delete_file", "path": "p"}},
    {"type": "apply_patch_call_output", "call_id": "c5", "status": "completed", "output": "o"},
    {"type": "tool_search_call", "call_id": "c6", "arguments": {"query": "q"}},
    {"type": "tool_search_output", "call_id": "c6", "tools": [{"type": "function", "name": "g", "parameters": {}}]},
    {"type": "additional_tools", "role": "developer", "tools": [{"type": "custom", "name": "h"}]},
    {"type": "mcp_call", "id": "m", "name": "r", "arguments": "{}", "output": "o"},
    {"type": "configuration_update", "reasoning": {"effort": "low"}, "text": {"format": {"type": "text"}}},
    {"type": "compaction", "encrypted_content": "x"},
    {"type": "web_search_call", "id": "w", "action": {}},
]
BODY: Mapping[str, object] = {
    "model": MODEL,
    "input": ITEMS,
    "instructions": "i",
    "tools": [
        {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True, "defer_loading": False},
        {"type": "custom", "name": "p", "format": {"type": "grammar", "syntax": "lark", "definition": "start: /x/"}},
        {"type": "namespace", "name": "n", "description": "d", "tools": [{"type": "function", "name": "f"}]},
        {"type": "tool_search", "execution": "client", "parameters": {"type": "object"}},
        {"type": "shell"},
        {"type": "web_search"},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "reasoning": {"effort": "low", "summary": "auto", "context": "current_turn"},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}, "verbosity": "low"},
    "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
    "metadata": {"a": "b"},
    "max_output_tokens": 5,
    "max_tool_calls": 1,
    "top_logprobs": 1,
    "prompt_cache_options": {"prewarm": False},
    "prompt_cache_key": "k",
    "service_tier": "flex",
    "stop": ["a"],
    "seed": 1,
    "truncation": "auto",
    "background": False,
    "store": True,
}
ANSWER = script(
    thought("t"),
    said("x"),
    called("p", '{"input":"\\ud800"}'),
    called("shell", '{"commands":["\\udc00"],"timeout_ms":1e400}', index=1),
    called("n__f", "{", index=2),
)
JSON = some.recursive(
    some.none() | some.booleans() | some.integers(-(2**70), 2**70) | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
Path = tuple[str | int, ...]


def places(value: Any, path: Path = ()) -> list[Path]:
    """The paths of all values inside `value`."""
    inside: list[tuple[str | int, Any]] = []
    if isinstance(value, dict | list):
        inside = list(value.items() if isinstance(value, dict) else enumerate(value))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return [path, *(place for key, each in inside for place in places(each, (*path, key)))]


def put(path: Path, value: object) -> bytes:
    """The body with `value` at `path`."""
    if not path:
        return json.dumps(value).encode()
    changed: Any = json.loads(json.dumps(BODY))
    here = changed
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = value
    return json.dumps(changed).encode()


def complaint(raw: bytes) -> str:
    """What is wrong with a body; empty where it became a response."""
    store = MemoryStore(max_bytes=2**20, ttl_seconds=9)
    try:
        body = parse_body(raw, ResponseRequest)
        call = decode(body, context_of(body, store, "me"), CARDS[0], "resp_1", "me")
    except (InvalidRequest, NotFound) as error:
        return error.message
    assert isinstance(call.request.tool_choice, ToolChoice)
    assert all(message.tool_call_id for message in call.request.messages or () if message.role == "tool")
    production = Production(call, ((0, event) async for event in ScriptedGenerator().generate(call.request)))
    for event in ANSWER:
        if not isinstance(event, Exception | Finished) and not hasattr(event, "wait"):
            for told in production.composer.push(event):  # pyright: ignore[reportArgumentType]
                json.loads(told.partition(b"data: ")[2])
    json.loads(production.composer.document.encode())
    store.keep(production.stored())
    found = store.find("me", "resp_1")
    assert found is not None
    assert len(Items.validate_json(found.input)) == len(call.input)
    return ""


@given(path=some.sampled_from(places(BODY)), value=JSON)
def test_any_change_to_a_body(path: Path, value: object) -> None:
    message = complaint(put(path, value))
    assert message == "" or message.endswith(".")
    assert len(message) < 2000


@given(raw=some.binary())
def test_bytes_that_are_no_body(raw: bytes) -> None:
    assert complaint(raw)


def test_the_body_that_is_changed_is_a_good_one() -> None:
    assert complaint(json.dumps(BODY).encode()) == ""


def test_three_hundred_odd_bodies_over_http(gateway: Gateway) -> None:
    chance = random.Random(3)
    odd: list[object] = [None, True, -1, 2**70, 1e308, "", "x", "\x00", [], {}, [[]], {"type": "message"}, {"type": []}, ["x"], {"x": None}]
    gateway.generator.script = ANSWER
    client, statuses = gateway.http(), list[int]()
    for _ in range(300):
        raw = put(chance.choice(places(BODY)), chance.choice(odd))
        response = client.post("/v1/responses", content=raw, headers={"content-type": "application/json"})
        statuses.append(response.status_code)
        assert response.status_code < 500, (raw, response.text)
    assert statuses.count(200) > 50
    assert statuses.count(400) > 50
