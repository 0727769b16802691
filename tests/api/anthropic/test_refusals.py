"""Errors in Anthropic's words: statuses, types, request ids, and inside streams."""

import json
from collections.abc import Callable

import anthropic
import pytest

from pomona.core.errors import (
    Cancelled,
    Conflict,
    ContextOverflow,
    EngineFailed,
    Forbidden,
    InvalidRequest,
    ModelNotFound,
    NotFound,
    NotReady,
    Overloaded,
    PomonaError,
    RateLimited,
    Unauthenticated,
)
from pomona.core.generation import Finished, Usage
from tests.api.anthropic.clients import HELLO, async_client_of, client_of, http_of, post, whole
from tests.api.gateway import MODEL, Gateway, running, settings_with
from tests.doubles import answer

ERRORS: list[tuple[Callable[[str], PomonaError], int, type[anthropic.APIStatusError], str]] = [
    (InvalidRequest, 400, anthropic.BadRequestError, "invalid_request_error"),
    (Unauthenticated, 401, anthropic.AuthenticationError, "authentication_error"),
    (Forbidden, 403, anthropic.PermissionDeniedError, "permission_error"),
    (NotFound, 404, anthropic.NotFoundError, "not_found_error"),
    (ModelNotFound, 404, anthropic.NotFoundError, "not_found_error"),
    (Conflict, 409, anthropic.ConflictError, "conflict_error"),
    (RateLimited, 429, anthropic.RateLimitError, "rate_limit_error"),
    (PomonaError, 500, anthropic.InternalServerError, "api_error"),
    (EngineFailed, 503, anthropic.InternalServerError, "api_error"),
    (Overloaded, 529, anthropic.InternalServerError, "overloaded_error"),
    (NotReady, 529, anthropic.InternalServerError, "overloaded_error"),
]


@pytest.mark.parametrize(("make", "status", "kind", "name"), ERRORS)
def test_errors_have_the_clients_own_types(
    gateway: Gateway, make: Callable[[str], PomonaError], status: int, kind: type[anthropic.APIStatusError], name: str
) -> None:
    gateway.generator.script = [make("It is so.")]
    with pytest.raises(kind) as caught:
        whole(gateway)
    assert caught.value.status_code == status
    assert caught.value.request_id
    assert caught.value.body == {"type": "error", "error": {"type": name, "message": "It is so."}, "request_id": caught.value.request_id}
    gateway.generator.script = [make("It is so.")]
    with pytest.raises(kind), client_of(gateway).messages.stream(**HELLO) as stream:
        stream.until_done()


@pytest.mark.parametrize(
    ("make", "retries"), [(InvalidRequest, "false"), (RateLimited, "true"), (Overloaded, "true"), (EngineFailed, "true")]
)
def test_errors_say_whether_to_come_again(gateway: Gateway, make: Callable[[str], PomonaError], retries: str) -> None:
    gateway.generator.script = [make("It is so.")]
    headers = post(gateway).headers
    assert headers["x-should-retry"] == retries
    assert ("retry-after" in headers) == (retries == "true")


async def test_the_asynchronous_client_too(gateway: Gateway) -> None:
    gateway.generator.script = [RateLimited("Later.", retry_after=7)]
    async with async_client_of(gateway) as client:
        with pytest.raises(anthropic.RateLimitError) as caught:
            await client.messages.create(model=MODEL, max_tokens=9, messages=[{"role": "user", "content": "Hi"}])
    assert caught.value.response.headers["retry-after"] == "7"


def test_an_overflow_is_told_in_the_words_that_make_claude_code_compact(gateway: Gateway) -> None:
    error = ContextOverflow("The prompt has 70,000 tokens.", tokens=70_000, limit=65_536)
    gateway.generator.script = [error]
    with pytest.raises(anthropic.BadRequestError) as caught:
        whole(gateway)
    assert "prompt is too long: 70000 tokens > 65535 maximum" in str(caught.value)
    gateway.generator.script = [ContextOverflow("The prompt is too long, by far.")]
    assert post(gateway).json()["error"]["message"] == "The prompt is too long, by far."


def test_an_unknown_model(gateway: Gateway) -> None:
    with pytest.raises(anthropic.NotFoundError, match="There is no model 'nobody' here"):
        whole(gateway, model="nobody")


def test_a_body_that_is_too_large() -> None:
    with running(Gateway(settings=settings_with(max_body_bytes=1024))) as gateway:
        with pytest.raises(anthropic.APIStatusError) as caught:
            whole(gateway, system="x" * 2000)
        assert caught.value.status_code == 413
        assert isinstance(caught.value.body, dict)
        assert caught.value.body["error"]["type"] == "request_too_large"
        gateway.generator.reset(())


def test_an_error_in_the_midst_of_a_stream(gateway: Gateway) -> None:
    gateway.generator.script = [*answer("Hi")[:2], EngineFailed("The engine died.")]
    response = post(gateway, stream=True)
    assert response.status_code == 200
    last = response.text.strip().split("\n\n")[-1]
    assert last.startswith("event: error\ndata: ")
    error = {"type": "error", "error": {"type": "api_error", "message": "The engine died."}, "request_id": response.headers["request-id"]}
    assert json.loads(last.partition("data: ")[2]) == error
    gateway.generator.script = [*answer("Hi")[:2], EngineFailed("The engine died.")]
    with pytest.raises(anthropic.APIStatusError, match="The engine died"), client_of(gateway).messages.stream(**HELLO) as stream:
        stream.until_done()


def test_an_answer_that_was_stopped_is_an_error(gateway: Gateway) -> None:
    script = [*answer("Hi")[:2], Finished(reason="cancelled", usage=Usage())]
    gateway.generator.script = script
    assert post(gateway).status_code == 503
    gateway.generator.script = script
    assert "event: error" in post(gateway, stream=True).text
    gateway.generator.script = answer("Hi")[:2]
    assert post(gateway).status_code == 503


def test_a_shutdown_ends_streams_with_an_error(gateway: Gateway) -> None:
    gateway.generator.script = [*answer("Hi")[:2], Cancelled("The server is shutting down.")]
    assert '"type":"api_error"' in post(gateway, stream=True).text


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/messages", 405), ("HEAD", "/v1/messages", 405), ("POST", "/v1/messages/x", 404)]
)
def test_addresses_that_are_not_there(gateway: Gateway, method: str, path: str, status: int) -> None:
    response = http_of(gateway).request(method, path)
    assert response.status_code == status
    if method != "HEAD":
        assert response.json()["type"] == "error"
        assert response.json()["request_id"] == response.headers["request-id"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_claude_codes_probe(gateway: Gateway, method: str) -> None:
    assert http_of(gateway).request(method, "/").status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"model": "\xff"}'])
def test_what_is_no_body(gateway: Gateway, body: bytes) -> None:
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        response = http_of(gateway).post(path, content=body, headers={"content-type": "application/json"})
        assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


def test_silence_is_broken_by_pings() -> None:
    with running(Gateway(settings=settings_with(keepalive_seconds=0.01))) as gateway:
        gateway.generator.script = [*answer("Hi")[:1], gateway.never]
        seen = ""
        with http_of(gateway).stream("POST", "/v1/messages", json={**HELLO, "stream": True}) as response:
            for text in response.iter_text():
                seen += text
                if seen.count("event: ping") >= 3:
                    break
        assert seen.startswith("event: message_start")
        gateway.wait_for(gateway.generator.ended)


def test_a_client_that_leaves_cancels_the_work(gateway: Gateway) -> None:
    gateway.generator.script = [*answer("Hi")[:2], gateway.never]
    with http_of(gateway).stream("POST", "/v1/messages", json={**HELLO, "stream": True}) as response:
        next(response.iter_text())
    gateway.wait_for(gateway.generator.ended)
    assert gateway.generator.running == 0
    assert len(gateway.generator.closed_early) == 1
