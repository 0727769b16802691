"""Silence, request ids and body limits on the way through the gateway."""

import asyncio
import json
from collections.abc import Generator, Iterator, Mapping

import httpx
import pytest

from pomona.core.errors import NotReady
from pomona.core.generation import Started
from tests.api.gateway import MODEL, Gateway, running, settings_with
from tests.doubles import ScriptedGenerator, answer

CHAT: Mapping[str, object] = {"model": MODEL, "messages": [{"role": "user", "content": "Hello?"}]}
LIMIT_BYTES = 4096


@pytest.fixture(scope="module")
def impatient_gateway() -> Generator[Gateway]:
    """One that comments every 10 ms of silence and reads small bodies only."""
    settings = settings_with(keepalive_seconds=0.01, max_body_bytes=LIMIT_BYTES)
    with running(Gateway(settings=settings)) as served:
        yield served


@pytest.fixture
def impatient(impatient_gateway: Gateway) -> Generator[Gateway]:
    yield impatient_gateway
    impatient_gateway.reset()


def read_comment(lines: Iterator[str]) -> None:
    while next(lines) != ": keepalive":
        pass


def test_a_silent_stream_is_kept_alive_by_comments(impatient: Gateway) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    whole = answer("one", " two")
    impatient.generator.script = [*whole[:2], first, whole[2], second, whole[3]]
    with impatient.http().stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as response:
        lines = response.iter_lines()
        assert '"role":"assistant"' in next(lines)
        read_comment(lines)
        read_comment(lines)
        impatient.set(first)
        while '"content":" two"' not in next(lines):
            pass
        read_comment(lines)
        impatient.set(second)
        rest = [line for line in lines if line and line != ": keepalive"]
    assert ['"finish_reason":"stop"' in rest[0], rest[1:]] == [True, ["data: [DONE]"]]


def test_headers_go_out_before_the_first_event_when_it_is_late(impatient: Gateway) -> None:
    late = asyncio.Event()
    impatient.generator.script = [late, NotReady("The model is loading.")]
    with impatient.http().stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as response:
        assert response.status_code == 200
        lines = response.iter_lines()
        read_comment(lines)
        impatient.set(late)
        rest = [line for line in lines if line and line != ": keepalive"]
    assert json.loads(rest[0].removeprefix("data: "))["error"]["code"] == "not_ready"
    assert len(rest) == 1


@pytest.mark.parametrize(("path", "prompt"), [("chat/completions", {"messages": CHAT["messages"]}), ("completions", {"prompt": "x"})])
def test_headers_go_out_as_soon_as_the_prompt_is_known(gateway: Gateway, path: str, prompt: dict[str, object]) -> None:
    prefill = asyncio.Event()
    gateway.generator.script = [Started(prompt_tokens=1), prefill, *answer("x")[1:]]
    with gateway.http().stream("POST", f"/v1/{path}", json={"model": MODEL, "stream": True, **prompt}) as response:
        assert response.status_code == 200
        gateway.set(prefill)
        text = "".join(response.iter_text())
    assert text.endswith("data: [DONE]\n\n")
    assert "keepalive" not in text


def test_the_official_client_does_not_see_comments(impatient: Gateway) -> None:
    pause = asyncio.Event()
    impatient.generator.script = [Started(prompt_tokens=1), pause, *answer("late")[1:]]
    stream = impatient.openai().chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}], stream=True)
    texts = [next(stream).choices[0].delta.content]
    impatient.set(pause)
    texts += [chunk.choices[0].delta.content for chunk in stream]
    assert texts == ["", "late", None]


def test_a_body_over_the_limit_is_refused_by_its_declared_length(impatient: Gateway) -> None:
    response = impatient.http().post("/v1/chat/completions", json={**CHAT, "user": "x" * 3_000_000})
    check_too_large(response, impatient.generator)


def test_a_body_over_the_limit_is_refused_when_it_comes_in_pieces(impatient: Gateway) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"user": "'
        for _ in range(100):
            yield b"x" * 1000

    headers = {"content-type": "application/json"}
    response = impatient.http().post("/v1/chat/completions", content=pieces(), headers=headers)
    check_too_large(response, impatient.generator)


def check_too_large(response: httpx.Response, generator: ScriptedGenerator) -> None:
    assert response.status_code == 413
    error = response.json()["error"]
    assert (error["code"], error["type"], error["param"]) == ("request_too_large", "invalid_request_error", None)
    assert "up to 4096" in error["message"]
    assert "server.max_body_bytes" in error["message"]
    assert response.headers["x-request-id"]
    assert generator.seen == []


def test_a_body_of_exactly_the_limit_is_read(impatient: Gateway) -> None:
    body = json.dumps({**CHAT, "user": ""})
    body = json.dumps({**CHAT, "user": "x" * (LIMIT_BYTES - len(body))})
    assert len(body) == LIMIT_BYTES
    response = impatient.http().post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 200


@pytest.mark.parametrize("given", ["abc-123", "req:1.2_x", "z" * 128])
def test_a_sane_request_id_is_echoed(gateway: Gateway, given: str) -> None:
    client = gateway.http()
    assert client.get("/health", headers={"x-request-id": given}).headers["x-request-id"] == given
    assert client.post("/v1/completions", json={}, headers={"x-request-id": given}).headers["x-request-id"] == given
    streamed = client.post("/v1/chat/completions", json={**CHAT, "stream": True}, headers={"x-request-id": given})
    assert streamed.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "z" * 129, "with space", "semi;colon", "<script>"])
def test_another_request_id_is_replaced_by_a_fresh_one(gateway: Gateway, given: str) -> None:
    found = [gateway.http().get("/health", headers={"x-request-id": given}).headers["x-request-id"] for _ in range(2)]
    assert all(each.startswith("req_") for each in found)
    assert found[0] != found[1]
