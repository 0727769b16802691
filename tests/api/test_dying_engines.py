"""What clients are told, on every wire, of a model whose engines die: when to come again, or that it is no use."""

import json
from collections.abc import Iterator, Mapping

import anthropic
import httpx
import openai
import pytest

from pomona.core.errors import EngineFailed, EngineSuspended, PomonaError, Quarantined
from pomona.core.generation import Started, TextDelta
from tests.api.gateway import MODEL, Gateway

MESSAGES = [{"role": "user", "content": "Hello?"}]
WIRES: Mapping[str, Mapping[str, object]] = {
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/completions": {"prompt": "Hello?"},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 5},
    "/v1/responses": {"input": "Hello?"},
}
SUSPENDED = EngineSuspended("The engine died 6 times in a row. It is started again in 15 seconds.", retry_after=14.2)
QUARANTINED = Quarantined("This very request killed the engine twice in a row, so it is refused for another 600 seconds.")
FAILED = EngineFailed("The engine died 21 times while it worked for this request; it is not tried again.")
Refusal = tuple[PomonaError, int, str | None]
"""An error, its status, and Retry-After."""
TOLD: list[Refusal] = [(SUSPENDED, 503, "15"), (QUARANTINED, 422, None), (FAILED, 503, "1")]
ANTHROPIC_TYPES = {"engine_suspended": "overloaded_error", "request_quarantined": "invalid_request_error", "engine_failed": "api_error"}

RESPONSES_CODES = {"engine_suspended": "server_error", "request_quarantined": "invalid_prompt", "engine_failed": "server_error"}
"""OpenAI's list of them is closed. What is sent again to no use must not look like a failure of the server: clients send that again."""


def ask(gateway: Gateway, path: str, *, stream: bool) -> httpx.Response:
    return gateway.http().post(path, json={"model": MODEL, "stream": stream, **WIRES[path]})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", WIRES)
@pytest.mark.parametrize("refusal", TOLD)
def test_before_the_first_token_there_is_a_status_and_when_to_come_again(
    gateway: Gateway, path: str, stream: bool, refusal: Refusal
) -> None:
    error, status, seconds = refusal
    gateway.generator.script = (error,)
    response = ask(gateway, path, stream=stream)
    expected = 529 if path == "/v1/messages" and error is SUSPENDED else status
    assert response.status_code == expected
    assert response.headers.get("retry-after") == seconds
    assert (response.headers.get("retry-after-ms") == "14200") == (error is SUSPENDED)
    assert response.headers["x-should-retry"] == ("true" if seconds else "false")
    assert response.headers["content-type"] == "application/json"
    told = response.json()["error"]
    assert told["message"] == error.message
    if path == "/v1/messages":
        assert told["type"] == ANTHROPIC_TYPES[error.code]
    else:
        assert told["code"] == error.code


@pytest.mark.parametrize("path", WIRES)
@pytest.mark.parametrize("error", [SUSPENDED, QUARANTINED, FAILED], ids=lambda error: error.code)
def test_after_the_first_token_the_stream_ends_with_the_error(gateway: Gateway, path: str, error: PomonaError) -> None:
    gateway.generator.script = (Started(prompt_tokens=3), TextDelta(text="Hel"), error)
    response = ask(gateway, path, stream=True)
    assert response.status_code == 200
    last = list(documents(response))[-1]
    assert error.message in json.dumps(last)
    if path == "/v1/messages":
        assert (last["type"], last["error"]) == ("error", {"type": ANTHROPIC_TYPES[error.code], "message": error.message})
    elif path == "/v1/responses":
        assert f'"code": "{RESPONSES_CODES[error.code]}"' in json.dumps(last)
    else:
        assert error.code in json.dumps(last)
    assert "[DONE]" not in response.text
    assert "Hel" in response.text


@pytest.mark.parametrize("path", WIRES)
@pytest.mark.parametrize("refusal", TOLD)
def test_a_whole_answer_that_had_begun_is_an_error_with_a_status(gateway: Gateway, path: str, refusal: Refusal) -> None:
    error, status, seconds = refusal
    gateway.generator.script = (Started(prompt_tokens=3), TextDelta(text="Hel"), error)
    response = ask(gateway, path, stream=False)
    assert response.status_code == (529 if path == "/v1/messages" and error is SUSPENDED else status)
    assert response.headers.get("retry-after") == seconds


def test_official_clients_raise_their_own_classes(gateway: Gateway) -> None:
    client = gateway.openai()
    gateway.generator.script = (QUARANTINED,)
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}])
    assert caught.value.code == "request_quarantined"
    gateway.generator.script = (SUSPENDED,)
    with pytest.raises(openai.InternalServerError) as refused:
        client.responses.create(model=MODEL, input="x")
    assert refused.value.response.headers["retry-after"] == "15"
    with (
        anthropic.Anthropic(base_url=gateway.urls.public, api_key="any", max_retries=0, timeout=60) as other,
        pytest.raises(anthropic.InternalServerError) as overloaded,
    ):
        other.messages.create(model=MODEL, max_tokens=5, messages=[{"role": "user", "content": "x"}])
    assert overloaded.value.status_code == 529


def documents(response: httpx.Response) -> Iterator[dict[str, object]]:
    """The JSON of all events."""
    for line in response.text.splitlines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))
