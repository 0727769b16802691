"""Limits, priority, the queue and resent requests as clients meet them over HTTP."""

import asyncio
import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from urllib.parse import urlsplit

import anthropic
import httpx
import openai
import pytest

from pomona.control.callers import Allowance
from pomona.control.keys import KeyRing, make_key
from pomona.core.generation import Priority, Started
from pomona.core.settings import EngineSettings, LimitsSettings
from tests.api.gateway import MODEL, READY, Gateway, running, settings_with
from tests.doubles import answer

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hello?"}]}
MESSAGE = {**CHAT, "max_tokens": 5}
IDLE = replace(READY, counters=replace(READY.counters, waiting=0))


def key_of(name: str, priority: Priority = "normal", **limits: int) -> tuple[str, str]:
    key, text = make_key(name, now=time.time(), allowance=Allowance(**limits), priority=priority)
    KEYS.append(key)
    return key.id, text


KEYS = list(KeyRing().keys.values())
_, FEW = key_of("few", requests_per_minute=2, tokens_per_minute=10_000)
_, ALSO_FEW = key_of("also-few", requests_per_minute=1)
_, ONE = key_of("one", concurrent=1)
_, LOW = key_of("low", "low")
_, HIGH = key_of("high", "high")
_, FREE = key_of("free")
COUNTING = {
    path: ({"model": MODEL, **body}, key_of(path, requests_per_minute=1)[1])
    for path, body in (("/tokenize", {"prompt": "x"}), ("/v1/messages/count_tokens", CHAT), ("/v1/responses/input_tokens", {"input": "x"}))
}


@pytest.fixture(scope="module")
def narrow() -> Iterator[Gateway]:
    """A gateway with keys, one row and one place to wait."""
    settings = settings_with(max_body_bytes=2000).model_copy(
        update={
            "engine": EngineSettings(max_rows=1, max_waiting=1),
            "limits": LimitsSettings(header_seconds=1.5, body_seconds=1.5, max_header_bytes=2048, max_headers=20, max_connections=5),
        }
    )
    with running(Gateway(settings=settings, keys=KeyRing(KEYS))) as gateway:
        yield gateway


@pytest.fixture
def gateway(narrow: Gateway) -> Iterator[Gateway]:
    narrow.status.reports = (IDLE,)
    yield narrow
    narrow.reset()


def ask(gateway: Gateway, key: str = FREE, **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.http().post("/v1/chat/completions", json=CHAT, headers={"x-api-key": key} | names)


def test_openai_clients_see_what_is_left_and_when_to_come_again(gateway: Gateway) -> None:
    first, second, third = (ask(gateway, FEW) for _ in range(3))

    assert [first.status_code, second.status_code, third.status_code] == [200, 200, 429]
    assert [each.headers["x-ratelimit-remaining-requests"] for each in (first, second, third)] == ["1", "0", "0"]
    assert {each.headers["x-ratelimit-limit-requests"] for each in (first, second, third)} == {"2"}
    assert first.headers["x-ratelimit-limit-tokens"] == "10000"
    assert re.fullmatch(r"(\d+m)?\d+(\.\d+)?s|\d+ms", first.headers["x-ratelimit-reset-tokens"])
    assert 1 <= int(third.headers["retry-after"]) <= 30
    assert int(third.headers["retry-after-ms"]) <= 30_000
    assert third.headers["x-should-retry"] == "true"
    assert third.json()["error"]["type"] == "rate_limit_error"
    with (
        openai.OpenAI(base_url=f"{gateway.urls.public}/v1", api_key=FEW, max_retries=0) as client,
        pytest.raises(openai.RateLimitError),
    ):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}])


def test_anthropic_clients_see_it_in_their_own_words(gateway: Gateway) -> None:
    first, second = (gateway.http().post("/v1/messages", json=MESSAGE, headers={"x-api-key": ALSO_FEW}) for _ in range(2))

    assert (first.status_code, second.status_code) == (200, 429)
    assert first.headers["anthropic-ratelimit-requests-limit"] == "1"
    assert first.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert datetime.fromisoformat(first.headers["anthropic-ratelimit-requests-reset"]).timestamp() > time.time()
    assert "x-ratelimit-limit-requests" not in first.headers
    assert second.json()["error"]["type"] == "rate_limit_error"
    with (
        anthropic.Anthropic(base_url=gateway.urls.public, api_key=ALSO_FEW, max_retries=0) as client,
        pytest.raises(anthropic.RateLimitError),
    ):
        client.messages.create(model=MODEL, max_tokens=5, messages=[{"role": "user", "content": "x"}])


def test_callers_without_limits_get_no_headers_about_them(gateway: Gateway) -> None:
    response = ask(gateway)
    assert [name for name in response.headers if "ratelimit" in name or "queue" in name] == []


def test_streams_carry_the_headers_too(gateway: Gateway) -> None:
    headers = {"x-api-key": ONE}
    with gateway.http().stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}, headers=headers) as response:
        assert response.status_code == 200
        response.read()
    assert ask(gateway, ONE).status_code == 200


def test_a_place_is_free_again_when_its_stream_is_left(gateway: Gateway) -> None:
    gateway.generator.script = [*answer("one", " two")[:2], gateway.never]
    with gateway.http().stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}, headers={"x-api-key": ONE}) as response:
        pieces = response.iter_raw()
        assert next(pieces)
        refused = ask(gateway, ONE)
        assert refused.status_code == 429
        assert "1 answers at a time; 1 are running" in refused.json()["error"]["message"]
    gateway.wait_until(lambda: gateway.generator.running == 0)
    gateway.generator.script = answer("fine")
    assert ask(gateway, ONE).status_code == 200


@pytest.mark.parametrize(
    ("key", "header", "priority"),
    [
        (FREE, None, "normal"),
        (FREE, "low", "low"),
        (FREE, "HIGH", "normal"),
        (HIGH, None, "high"),
        (HIGH, "low", "low"),
        (LOW, "high", "low"),
    ],
)
def test_priority_is_what_was_asked_for_up_to_the_keys_own(gateway: Gateway, key: str, header: str | None, priority: str) -> None:
    ask(gateway, key, **({} if header is None else {"x_priority": header}))
    assert gateway.generator.seen[-1].priority == priority


def test_a_priority_that_is_none_is_refused(gateway: Gateway) -> None:
    response = ask(gateway, x_priority="urgent")
    assert response.status_code == 400
    assert "'urgent'. Choose one of low, normal, high" in response.json()["error"]["message"]


def test_who_has_to_wait_is_told_so_and_one_too_many_is_refused(gateway: Gateway) -> None:
    gateway.generator.script = [Started(prompt_tokens=1), gateway.never]
    with httpx.Client(base_url=gateway.urls.public, headers={"x-api-key": FREE}) as client:
        streams = [client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) for _ in range(2)]
        with streams[0] as first:
            assert "x-queue-position" not in first.headers
            with streams[1] as second:
                assert second.headers["x-queue-position"] == "1"
                assert float(second.headers["x-queue-wait-seconds"]) > 0
                full = ask(gateway)
                assert full.status_code == 503
                assert int(full.headers["retry-after"]) >= 1
                assert full.json()["error"]["code"] == "overloaded"
                other = gateway.http().post("/v1/messages", json=MESSAGE, headers={"x-api-key": FREE})
                assert other.status_code == 529
                assert other.json()["error"]["type"] == "overloaded_error"
    gateway.wait_until(lambda: gateway.generator.running == 0)
    gateway.generator.script = answer("fine")
    assert ask(gateway).status_code == 200


def test_a_call_with_more_choices_than_there_is_room_for_begins_none(gateway: Gateway) -> None:
    response = gateway.http().post("/v1/chat/completions", json={**CHAT, "n": 3}, headers={"x-api-key": FREE})
    assert response.status_code == 503
    assert gateway.generator.seen == []


def test_a_resent_request_joins_the_running_answer_even_where_there_is_no_room(gateway: Gateway) -> None:
    before = gateway.metrics.registry.get_sample_value("pomona_coalesced_requests_total", {"endpoint": "chat.completions"}) or 0
    go = asyncio.Event()
    first, second, *rest = answer("one", " two")
    gateway.generator.script = [first, second, go, *rest]
    body = {**CHAT, "stream": True}
    client = gateway.http()
    asked, again = ({"x-api-key": FREE, "x-stainless-retry-count": count} for count in "01")
    with (
        client.stream("POST", "/v1/chat/completions", json=body, headers=asked) as running_one,
        client.stream("POST", "/v1/chat/completions", json=body, headers=again) as resent,
    ):
        gateway.set(go)
        texts = [text_of(response.read().decode()) for response in (running_one, resent)]
    assert texts == ["one two", "one two"]
    assert len(gateway.generator.seen) == 1
    assert gateway.metrics.registry.get_sample_value("pomona_coalesced_requests_total", {"endpoint": "chat.completions"}) == before + 1


def text_of(stream: str) -> str:
    chunks = [json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def connect(gateway: Gateway) -> socket.socket:
    address = urlsplit(gateway.urls.public)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=60)


def read_all(connection: socket.socket) -> bytes:
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionResetError:  # it closed while more was on its way
        pass
    return found


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-Api-Key: " + FREE.encode() + b"\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (HEAD + b"X-Long: " + b"x" * 3000, 408),
        (HEAD + b"X-Long: " + b"x" * 3000 + b"\r\nContent-Length: 2\r\n\r\n{}", 431),
        (HEAD + b"X-Many: x\r\n" * 30 + b"Content-Length: 2\r\n\r\n{}", 431),
        (HEAD, 408),
        (HEAD + b"Content-Length: 500\r\n\r\n{", 408),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", 408),
    ],
    ids=["long-unfinished", "long", "many", "slow-head", "slow-body", "no-chunk"],
)
def test_heads_and_bodies_without_an_end_are_ended(gateway: Gateway, sent: bytes, status: int) -> None:
    with connect(gateway) as connection:
        connection.sendall(sent)
        answered = read_all(connection)
    assert answered.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(answered.partition(b"\r\n\r\n")[2])["error"]["message"]


def test_a_head_that_never_ends_is_cut_off(gateway: Gateway) -> None:
    with connect(gateway) as connection:
        connection.sendall(HEAD)
        sent = 0
        try:
            while sent < 10_000_000:
                connection.sendall(b"X-More: " + b"x" * 1000 + b"\r\n")
                sent += 1010
        except OSError:
            pass
        assert sent < 5_000_000


def test_a_connection_that_sends_nothing_is_closed(gateway: Gateway) -> None:
    with connect(gateway) as connection:
        assert read_all(connection) == b""


def test_one_connection_too_many_is_told_so(gateway: Gateway) -> None:
    gateway.generator.script = [Started(prompt_tokens=1), gateway.never]
    body = json.dumps({**CHAT, "stream": True}).encode()
    whole = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    connections = [connect(gateway) for _ in range(5)]
    try:
        connections[0].sendall(whole)
        gateway.wait_for(gateway.generator.begun)
        with connect(gateway) as late:
            assert read_all(late).startswith(b"HTTP/1.1 503 ")
    finally:
        for connection in connections:
            connection.close()
    gateway.wait_until(lambda: gateway.generator.running == 0)
    gateway.generator.script = answer("fine")
    assert ask(gateway).status_code == 200


@pytest.mark.parametrize("path", COUNTING)
def test_counting_tokens_is_a_request_too(gateway: Gateway, path: str) -> None:
    body, key = COUNTING[path]
    first, second = (gateway.http().post(path, json=body, headers={"x-api-key": key}) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 429)
    assert int(second.headers["retry-after"]) >= 1
