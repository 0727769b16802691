"""Whatever is in a body, it becomes a call or an error that the caller can mend."""

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as some

from pomona.core.errors import InvalidRequest
from pomona.server.bodies import parse_body
from pomona.server.openai.call import Call
from pomona.server.openai.chat.decode import decode_chat
from pomona.server.openai.completions.decode import decode_completion
from pomona.server.openai.wire import MAX_CHOICES, ChatCompletionRequest, CompletionRequest
from tests.api.gateway import CARDS

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
