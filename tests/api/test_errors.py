"""Errors as OpenAI's body: status, type, code, the field, and a message that says what to do."""

from collections.abc import Mapping

import httpx
import openai
import pytest
from structlog.testing import capture_logs

from pomona.core.errors import (
    Cancelled,
    ConfigurationError,
    ContextOverflow,
    EngineFailed,
    InvalidRequest,
    ModelNotFound,
    ModelUnusable,
    NotReady,
    Overloaded,
    PomonaError,
    UnsupportedField,
)
from pomona.core.generation import Finished, Started, Usage
from tests.api.gateway import MODEL, Gateway

CHAT: Mapping[str, object] = {"model": MODEL, "messages": [{"role": "user", "content": "Hello?"}]}
TEXT: Mapping[str, object] = {"model": MODEL, "prompt": "Hello?"}
INVALID, UNSUPPORTED = "invalid_request", "unsupported_parameter"
TWO_TOOLS = [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "g"}}]


def message(**fields: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": "x"} | fields]}


BAD_CHATS: list[tuple[dict[str, object], str, str | None, str]] = [
    ({"messages": []}, INVALID, "messages", "messages = [] should have at least 1 item"),
    ({"messages": None}, INVALID, "messages", "messages = None should be a valid array"),
    ({"messages": "hi"}, INVALID, "messages", "messages = 'hi' should be a valid array"),
    ({"model": ""}, INVALID, "model", "model = '' "),
    ({"model": 7}, INVALID, "model", "model = 7 should be a valid string"),
    (message(role="boss"), INVALID, "messages[0].role", "messages[0].role = 'boss' should be 'developer', 'system'"),
    (message(content=3), INVALID, "messages[0].content", "messages[0].content = 3 should be a string or a list of content parts"),
    (message(content=None), INVALID, "messages[0].content", "messages[0].content is missing"),
    (message(content=[3]), INVALID, "messages[0].content[0]", "messages[0].content[0] = 3 should be an object"),
    (message(content=[{"text": "x"}]), INVALID, "messages[0].content[0].type", "messages[0].content[0].type is missing"),
    (message(content=[{"type": "text"}]), INVALID, "messages[0].content[0]", "must have a field 'text'"),
    (
        message(content=[{"type": "image_url", "image_url": {"url": "x"}}]),
        UNSUPPORTED,
        "messages[0].content[0].image_url",
        "takes no pictures",
    ),
    (message(content=[{"type": "input_audio"}]), UNSUPPORTED, "messages[0].content[0]", "takes no sound"),
    (message(content=[{"type": "hologram"}]), UNSUPPORTED, "messages[0].content[0]", "'hologram'"),
    (message(role="tool"), INVALID, "messages[0].tool_call_id", "tool_call_id"),
    (message(tool_calls=[{"id": "1", "function": {"name": "f", "arguments": "{}"}}]), INVALID, "messages[0]", "only assistant messages"),
    (message(role="assistant", tool_calls=[{"id": "1", "type": "custom"}]), UNSUPPORTED, "messages[0].tool_calls[0]", "'custom'"),
    ({"temperature": 2.5}, INVALID, "temperature", "temperature = 2.5 should be less than or equal to 2"),
    ({"temperature": "hot"}, INVALID, "temperature", "temperature = 'hot' should be a valid number"),
    ({"temperature": True}, INVALID, "temperature", "temperature = True should be a valid number"),
    ({"top_p": -0.1}, INVALID, "top_p", "greater than or equal to 0"),
    ({"n": 0}, INVALID, "n", "n = 0 should be greater than or equal to 1"),
    ({"n": 129}, INVALID, "n", "n = 129 should be less than or equal to 128"),
    ({"max_tokens": 0}, INVALID, "max_tokens", "max_tokens = 0"),
    ({"max_completion_tokens": 1.5}, INVALID, "max_completion_tokens", "should be a valid integer"),
    ({"stop": ""}, INVALID, "stop", "stop = '' should have at least 1 character"),
    ({"stop": ["a", ""]}, INVALID, "stop[1]", "stop[1] = ''"),
    ({"stop": ["a"] * 17}, INVALID, "stop", "at most 16"),
    ({"stop": 5}, INVALID, "stop", "stop = 5 should be a string or a list of up to 16 strings"),
    ({"logit_bias": {"dog": 1}}, INVALID, "logit_bias.dog", "should be a valid integer"),
    ({"logit_bias": {"5": 101}}, INVALID, "logit_bias.5", "less than or equal to 100"),
    ({"logprobs": True, "top_logprobs": 21}, INVALID, "top_logprobs", "less than or equal to 20"),
    ({"top_logprobs": 2}, INVALID, "top_logprobs", "needs logprobs to be true"),
    ({"seed": 2**63}, INVALID, "seed", "seed = 9223372036854775808"),
    ({"stream_options": {"include_usage": True}}, INVALID, "stream_options", "only allowed where stream is true"),
    ({"tools": [{"type": "function"}]}, UNSUPPORTED, "tools[0]", "'function'"),
    ({"tools": [{"type": "web_search"}]}, UNSUPPORTED, "tools[0]", "'web_search'"),
    ({"tool_choice": "required"}, INVALID, "tool_choice", "needs tools"),
    ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, INVALID, "tool_choice", "this request has none"),
    ({"tool_choice": {"type": "function"}}, INVALID, "tool_choice", "names no tool"),
    ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": []}}}, INVALID, "tool_choice", "is empty"),
    ({"tool_choice": {"allowed_tools": {"mode": "maybe"}}}, INVALID, "tool_choice.allowed_tools.mode", "'auto' or 'required'"),
    ({"tools": TWO_TOOLS, "tool_choice": {"type": "custom", "custom": {"name": "h"}}}, INVALID, "tool_choice", "has 'f', 'g'"),
    ({"tools": [TWO_TOOLS[0], TWO_TOOLS[0]]}, INVALID, "tools", "tools[1] is a second tool of the name 'f'"),
    ({"tool_choice": "always"}, INVALID, "tool_choice", "tool_choice = 'always' should be 'none', 'auto' or 'required'"),
    ({"functions": [{"name": "f"}], "tools": TWO_TOOLS}, INVALID, "functions", "Send tools only"),
    ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, INVALID, "function_call", "has 'f'"),
    ({"response_format": {"type": "yaml"}}, UNSUPPORTED, "response_format", "'json_schema', 'regex'"),
    ({"response_format": {"type": "json_schema"}}, INVALID, "response_format.json_schema", "needs a field 'json_schema'"),
    ({"response_format": {"type": "regex"}}, INVALID, "response_format.pattern", "a regular expression"),
    ({"response_format": {"type": "choice", "choices": []}}, INVALID, "response_format.choices", "a list of strings"),
    ({"response_format": {"type": "lark"}}, INVALID, "response_format.grammar", "a Lark grammar"),
    ({"response_format": {"type": "xml_schema"}}, INVALID, "response_format.schema", "a JSON Schema of the elements"),
    ({"guided_regex": "a", "guided_choice": ["b"]}, INVALID, "guided_choice", "guided_regex and guided_choice"),
    ({"reasoning": {"max_tokens": -1}}, INVALID, "reasoning.max_tokens", "greater than or equal to 0"),
    ({"thinking": {"type": "sometimes"}}, INVALID, "thinking.type", "'enabled', 'disabled' or 'adaptive'"),
    ({"audio": {"voice": "alloy"}, "modalities": ["audio"]}, UNSUPPORTED, "audio", "answer in text"),
]
BAD_COMPLETIONS: list[tuple[dict[str, object], str, str | None, str]] = [
    ({"prompt": None}, INVALID, "prompt", "prompt = None should be a string, a list of strings"),
    ({"prompt": []}, INVALID, "prompt", "prompt = []"),
    ({"prompt": [[]]}, INVALID, "prompt[0]", "prompt[0] = []"),
    ({"prompt": ["a", 1]}, INVALID, "prompt[1]", "prompt[1] = 1 should be a valid string"),
    ({"prompt": [1, "a"]}, INVALID, "prompt[1]", "prompt[1] = 'a' should be a valid integer"),
    ({"prompt": [-1]}, INVALID, "prompt[0]", "prompt[0] = -1"),
    ({"prompt": ["a", "b"], "n": 65}, INVALID, "n", "130 choices; one request has up to 128"),
    ({"suffix": "end", "prompt": [1]}, INVALID, "suffix", "needs a prompt of text"),
    ({"best_of": 2, "n": 3}, INVALID, "best_of", "best_of = 2 is less than n = 3"),
    ({"best_of": 2, "stream": True}, INVALID, "best_of", "cannot be streamed"),
    ({"max_tokens": 0}, INVALID, "max_tokens", "allowed where echo is true"),
    ({"max_tokens": -1}, INVALID, "max_tokens", "greater than or equal to 0"),
]


def check(response: httpx.Response, status: int, code: str, param: str | None, part: str) -> None:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param)
    assert part in error["message"]
    assert error["type"] == ("invalid_request_error" if status < 500 else "server_error")
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(("change", "code", "param", "part"), BAD_CHATS)
def test_bad_chat_bodies(gateway: Gateway, change: dict[str, object], code: str, param: str, part: str) -> None:
    check(gateway.http().post("/v1/chat/completions", json={**CHAT, **change}), 400, code, param, part)
    assert gateway.generator.seen == []


@pytest.mark.parametrize(("change", "code", "param", "part"), BAD_COMPLETIONS)
def test_bad_completion_bodies(gateway: Gateway, change: dict[str, object], code: str, param: str, part: str) -> None:
    check(gateway.http().post("/v1/completions", json={**TEXT, **change}), 400, code, param, part)
    assert gateway.generator.seen == []


@pytest.mark.parametrize(
    ("body", "param", "part"),
    [
        (b"", None, "not JSON"),
        (b'{"model": ', None, "not JSON"),
        (b'{"model": "\\ud800"}', None, "not JSON"),
        (b"\xff\xfe", None, "not JSON"),
        (b"[" * 5000, None, "recursion limit"),
        (b"[1, 2]", None, "must be a JSON object"),
        (b"{}", "model", "The field model is missing. The field messages is missing."),
        (b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}', "temperature", "finite number"),
    ],
)
def test_bodies_that_are_no_request(gateway: Gateway, body: bytes, param: str | None, part: str) -> None:
    response = gateway.http().post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    check(response, 400, INVALID, param, part)


def test_a_long_wrong_value_is_shortened_in_the_message(gateway: Gateway) -> None:
    response = gateway.http().post("/v1/chat/completions", json={**CHAT, "temperature": "x" * 100_000})
    check(response, 400, INVALID, "temperature", "(a str) should be a valid number")
    assert len(response.text) < 500


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_other_content_types_are_refused(gateway: Gateway, content_type: str) -> None:
    response = gateway.http().post("/v1/chat/completions", content=b"{}", headers={"content-type": content_type})
    check(response, 415, "unsupported_media_type", None, "Content-Type: application/json")


def test_an_unknown_model_is_answered_with_the_known_ones(gateway: Gateway) -> None:
    for path, body in (("/v1/chat/completions", CHAT), ("/v1/completions", TEXT)):
        response = gateway.http().post(path, json={**body, "model": "gpt-9"})
        check(response, 404, "model_not_found", "model", f"no model 'gpt-9' here. Available: '{MODEL}', 'alias'.")
    with pytest.raises(openai.NotFoundError):
        gateway.openai().models.retrieve("no/such/model")


def test_unknown_addresses_and_methods(gateway: Gateway) -> None:
    check(gateway.http().get("/v1/nothing"), 404, "not_found", None, "nothing at GET /v1/nothing")
    response = gateway.http().get("/v1/completions")
    check(response, 405, "method_not_allowed", None, "takes POST")
    assert response.headers["allow"] == "POST"


REFUSALS: list[tuple[PomonaError, int, str | None]] = [
    (InvalidRequest("The prompt is wrong.", param="messages"), 400, None),
    (ContextOverflow("600 tokens do not fit into 512.", param="messages"), 400, None),
    (UnsupportedField("No."), 400, None),
    (ModelNotFound("Gone."), 404, None),
    (ModelUnusable("config.json is missing."), 500, None),
    (ConfigurationError("A setting is wrong."), 500, None),
    (Overloaded("1024 requests wait already.", retry_after=2.25), 503, "3"),
    (NotReady("The model is loading."), 503, "2"),
    (EngineFailed("The engine died; a new one starts."), 503, "1"),
    (Cancelled("Stopped."), 503, "1"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("error", "status", "retry_after"), REFUSALS)
def test_refusals_before_the_first_event_have_a_status(
    gateway: Gateway, error: PomonaError, status: int, retry_after: str | None, stream: bool
) -> None:
    gateway.generator.script = (error,)
    response = gateway.http().post("/v1/chat/completions", json={**CHAT, "stream": stream})
    check(response, status, error.code, error.param, error.message)
    assert response.headers.get("retry-after") == retry_after
    assert response.headers["x-should-retry"] == ("false" if retry_after is None else "true")


def test_retry_after_is_also_given_in_milliseconds(gateway: Gateway) -> None:
    gateway.generator.script = (Overloaded("Full.", retry_after=0.25),)
    response = gateway.http().post("/v1/chat/completions", json=CHAT)
    assert (response.headers["retry-after"], response.headers["retry-after-ms"]) == ("1", "250")


def test_the_official_client_raises_its_own_classes(gateway: Gateway) -> None:
    client = gateway.openai()
    gateway.generator.script = (ContextOverflow("600 tokens do not fit into 512."),)
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=MODEL, prompt="x")
    assert caught.value.code == "context_length_exceeded"
    gateway.generator.script = (Started(prompt_tokens=1), EngineFailed("The engine died."))
    with pytest.raises(openai.APIError, match=r"The engine died\."):
        list(client.completions.create(model=MODEL, prompt="x", stream=True))


@pytest.mark.parametrize("stream", [False, True])
def test_an_unexpected_error_tells_the_log_everything_and_the_client_nothing(gateway: Gateway, stream: bool) -> None:
    gateway.generator.script = (ZeroDivisionError("secret"),)
    with capture_logs() as logs:
        response = gateway.http().post("/v1/chat/completions", json={**CHAT, "stream": stream}, headers={"x-request-id": "find-me"})
    check(response, 500, "internal_error", None, "request id find-me")
    assert "secret" not in response.text
    assert [str(entry["exc_info"]) for entry in logs if entry["event"] == "request_failed"] == ["secret"]


def test_an_unexpected_error_inside_a_stream_ends_it_without_the_details(gateway: Gateway) -> None:
    gateway.generator.script = (Started(prompt_tokens=1), ZeroDivisionError("secret"))
    response = gateway.http().post("/v1/chat/completions", json={**CHAT, "stream": True})
    assert '"code":"internal_error"' in response.text.splitlines()[-2]
    assert "secret" not in response.text
    assert "[DONE]" not in response.text


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_was_stopped_from_inside_is_an_error(gateway: Gateway, stream: bool) -> None:
    gateway.generator.script = (Started(prompt_tokens=1), Finished(reason="cancelled", usage=Usage(prompt_tokens=1)))
    response = gateway.http().post("/v1/chat/completions", json={**CHAT, "stream": stream})
    assert response.status_code == (200 if stream else 503)
    assert '"code":"cancelled"' in response.text


def test_an_error_of_one_choice_ends_the_others(gateway: Gateway) -> None:
    gateway.generator.choose = lambda request: (
        (Started(prompt_tokens=1), EngineFailed("It died.")) if request.id.endswith("-1") else (Started(prompt_tokens=1), gateway.never)
    )
    check(gateway.http().post("/v1/chat/completions", json={**CHAT, "n": 3}), 503, "engine_failed", None, "It died.")
    assert len(gateway.generator.closed_early) == 2
