"""Whatever is in a body, it becomes a call or an error that the caller can mend."""

import json
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from hypothesis import given
from hypothesis import strategies as some

from pomona.core.errors import InvalidRequest
from pomona.server.bodies import parse_body
from pomona.server.openai.call import Call
from pomona.server.openai.chat.decode import decode_chat
from pomona.server.openai.completions.decode import decode_completion
from pomona.server.openai.wire import MAX_CHOICES, ChatCompletionRequest, CompletionRequest
from tests.api.gateway import CARDS, MODEL, Gateway

CHAT: Mapping[str, object] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "t"}]},
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "x"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": dict[str, object]()}}],
    "tool_choice": "auto",
    "stop": ["a"],
    "n": 2,
    "logit_bias": {"1": 2},
    "logprobs": True,
    "top_logprobs": 2,
    "temperature": 0.5,
    "seed": 1,
    "stream": True,
    "stream_options": {"include_usage": True},
    "response_format": {"type": "text"},
}
TEXT: Mapping[str, object] = {"model": "m", "prompt": ["a", "b"], "n": 2, "best_of": 2, "echo": True, "suffix": None, "logprobs": None}
JSON = some.recursive(
    some.none() | some.booleans() | some.integers(-(2**70), 2**70) | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths of all values inside `value`."""
    inside: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        inside = list(value.items())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    elif isinstance(value, list):
        inside = list(enumerate(value))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return [path, *(place for key, each in inside for place in places(each, (*path, key)))]


def put(body: Mapping[str, object], path: tuple[str | int, ...], value: object) -> bytes:
    """`body` with `value` at `path`."""
    changed: Any = json.loads(json.dumps(body))
    if not path:
        return json.dumps(value).encode()
    here = changed
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = value
    return json.dumps(changed).encode()


def check(call: Call) -> None:
    assert 1 <= len(call.requests) <= MAX_CHOICES
    assert len({request.id for request in call.requests}) == len(call.requests)
    for request in call.requests:
        assert [request.messages, request.text, request.token_ids].count(None) == 2
        assert request.max_tokens is None or request.max_tokens >= 1
        assert 0 <= request.sampling.temperature <= 2
        assert 0 < request.sampling.top_p <= 1
        assert all(request.stop)


def complaint(raw: bytes, kind: type[ChatCompletionRequest] | type[CompletionRequest]) -> str:
    """What is wrong with a body; empty where it became a sane call."""
    try:
        body = parse_body(raw, kind)
        chat = isinstance(body, ChatCompletionRequest)
        check(decode_chat(body, "id", CARDS[0]) if chat else decode_completion(body, "id", CARDS[0]))
    except InvalidRequest as error:
        return error.message
    return ""


@given(path=some.sampled_from(places(CHAT)), value=JSON)
def test_any_change_to_a_chat_body(path: tuple[str | int, ...], value: object) -> None:
    message = complaint(put(CHAT, path, value), ChatCompletionRequest)
    assert message == "" or message.endswith(".")
    assert len(message) < 2000


@given(path=some.sampled_from(places(TEXT)), value=JSON)
def test_any_change_to_a_completion_body(path: tuple[str | int, ...], value: object) -> None:
    message = complaint(put(TEXT, path, value), CompletionRequest)
    assert message == "" or message.endswith(".")
    assert len(message) < 2000


@given(raw=some.binary())
def test_bytes_that_are_no_body(raw: bytes) -> None:
    assert complaint(raw, ChatCompletionRequest)


def test_the_bodies_that_are_changed_are_good_ones() -> None:
    assert complaint(json.dumps(CHAT).encode(), ChatCompletionRequest) == ""
    assert complaint(json.dumps(TEXT).encode(), CompletionRequest) == ""


REAL: Mapping[str, Mapping[str, object]] = {
    "/v1/chat/completions": {**CHAT, "model": MODEL},
    "/v1/completions": {**TEXT, "model": MODEL},
    "/v1/decisions": {
        "model": MODEL,
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}],
        "questions": [
            {"type": "predicate", "instructions": "Is so."},
            {"type": "choice", "instructions": "Which?", "choices": [{"value": "a"}, {"value": True}]},
            {"type": "score", "instructions": "How?", "levels": [{"label": "a"}, {"label": "b"}], "name": "q"},
        ],
    },
    "/v1/messages": {
        "model": MODEL,
        "max_tokens": 9,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "x"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "y"}]},
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto"},
        "thinking": {"type": "enabled", "budget_tokens": 5},
        "stream": True,
    },
    "/v1/messages/count_tokens": {
        "model": MODEL,
        "messages": [{"role": "user", "content": "x"}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
    },
    "/v1/responses": {
        "model": MODEL,
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "y"},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}, {"type": "custom", "name": "g"}],
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        "reasoning": {"effort": "low"},
        "store": False,
        "stream": True,
    },
    "/v1/responses/input_tokens": {"model": MODEL, "input": "x"},
    "/tokenize": {"messages": [{"role": "user", "content": "x"}], "with_pieces": True, "tools": CHAT["tools"]},
    "/detokenize": {"tokens": [1, 2]},
    "/apply-template": {"messages": [{"role": "user", "content": "x"}], "chat_template_kwargs": {"a": 1}},
    "/v1/tokenize": {"prompt": "x", "add_special_tokens": True, "return_token_strs": True},
    "/v1/detokenize": {"model": MODEL, "tokens": [1, 2]},
    "/v1/apply-template": {"messages": [{"role": "user", "content": "x"}], "tools": CHAT["tools"]},
    "/v1/responses/compact": {"model": MODEL, "input": [{"role": "user", "content": "x"}], "instructions": "y"},
    "/v1/responses/resp_unknown/cancel": {"reason": "x"},
    "/v1/chat/completions/chatcmpl-unknown": {"metadata": {"a": "b"}},
}
CLIENTS = Path(__file__).parents[1] / "data" / "client_bodies"
WIRES = {"claude": "/v1/messages", "codex": "/v1/responses", "opencode": "/v1/chat/completions"}
"""By the first word of the file; other clients send chats."""
SENT = [
    *REAL.items(),
    *(
        (WIRES.get(path.stem.partition("_")[0], "/v1/chat/completions"), {**json.loads(path.read_text(encoding="utf-8")), "model": MODEL})
        for path in sorted(CLIENTS.glob("*.json"))
    ),
]
"""The bodies above, and those that real clients send."""
VALUES: tuple[object, ...] = (
    *json.loads('[null, true, 0, -1, 1180591620717411303424, 0.5, 1e308, "", "x", [], [null], [[]], {}, {"type": "x"}, {"": {}}]'),
    "\0",
    "a" * 3000,
)
MUTATIONS = 2000


def mutated(chance: random.Random, body: Mapping[str, object]) -> bytes:
    """`body` with one to three places changed, or cut, or with bytes changed."""
    raw = json.dumps(body).encode()
    kind = chance.random()
    if kind < 0.05:
        return raw[: chance.randrange(len(raw))]
    if kind < 0.1:
        place = chance.randrange(len(raw))
        return raw[:place] + bytes([chance.randrange(256)]) + raw[place + 1 :]
    for _ in range(chance.randint(1, 3)):
        found = json.loads(raw)
        raw = put(found, chance.choice(places(found)), chance.choice(VALUES))
        if not isinstance(json.loads(raw), dict):
            break
    return raw


async def test_mutated_bodies_of_all_endpoints_break_nothing(gateway: Gateway) -> None:
    chance = random.Random(20261121)
    chosen = (SENT[number % len(SENT)] for number in range(MUTATIONS))
    bodies = [(path, mutated(chance, body)) for path, body in chosen]
    broken: list[str] = []
    statuses: Counter[int] = Counter()

    async def send(client: httpx.AsyncClient, path: str, raw: bytes) -> None:
        response = await client.post(path, content=raw, headers={"content-type": "application/json"})
        statuses[response.status_code] += 1
        if response.status_code >= 500 or b"internal_error" in response.content or b"Something went wrong" in response.content:
            broken.append(f"{response.status_code} {path} {raw[:600]!r} {response.text[:300]}")

    async with httpx.AsyncClient(base_url=gateway.urls.public, timeout=60) as client:
        for path, raw in [*((path, json.dumps(body).encode()) for path, body in SENT), *bodies]:
            await send(client, path, raw)
    assert broken == []
    assert statuses[200] > MUTATIONS / 20
    assert statuses[400] > MUTATIONS / 10
    gateway.wait_until(lambda: gateway.generator.running == 0)
