"""A client that leaves takes its work with it, wherever it was waiting; one that reads slowly slows the generator."""

import asyncio
import json
import socket
from collections.abc import Mapping

import pytest
from starlette.types import Message, Scope

from pomona.core.generation import Started, TextDelta
from pomona.core.metrics import Metrics
from pomona.server.application import create_public_app
from pomona.server.services import Backend
from tests.api.gateway import CARDS, MODEL, READY, Gateway, settings_with
from tests.api.leaving import post
from tests.doubles import FixedDirectory, FixedStatus, FixedTokenization, Script, ScriptedGenerator, answer

CHAT: Mapping[str, object] = {"model": MODEL, "messages": [{"role": "user", "content": "Hello?"}]}


def connect(gateway: Gateway, body: Mapping[str, object]) -> socket.socket:
    """A connection over which a chat was asked for."""
    return post(f"{gateway.urls.public}/v1/chat/completions", body)


def read_until(connection: socket.socket, part: bytes) -> bytes:
    found = b""
    while part not in found:
        piece = connection.recv(65536)
        assert piece, f"closed after {found!r}"
        found += piece
    return found


@pytest.mark.parametrize("choices", [1, 3])
def test_leaving_a_stream_that_waits_for_its_next_token_cancels_it(gateway: Gateway, choices: int) -> None:
    gateway.generator.script = [*answer("one", " two")[:2], gateway.never]
    with connect(gateway, {**CHAT, "stream": True, "n": choices}) as connection:
        read_until(connection, b'"content":"one"')
    gateway.wait_until(lambda: len(gateway.generator.closed_early) == choices)
    assert gateway.generator.running == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("script", ["silent", "begun"])
def test_leaving_before_anything_was_sent_cancels_the_work(gateway: Gateway, stream: bool, script: str) -> None:
    gateway.generator.script = [gateway.never] if script == "silent" else [Started(prompt_tokens=1), gateway.never]
    with connect(gateway, {**CHAT, "stream": stream}):
        gateway.wait_for(gateway.generator.begun)
    gateway.wait_until(lambda: len(gateway.generator.closed_early) == 1)
    assert gateway.generator.running == 0


def test_a_cancelled_request_is_counted_as_such(gateway: Gateway) -> None:
    labels = {"endpoint": "chat.completions", "outcome": "cancelled"}
    before = gateway.metrics.registry.get_sample_value("pomona_requests_total", labels) or 0
    gateway.generator.script = [Started(prompt_tokens=1), gateway.never]
    with connect(gateway, {**CHAT, "stream": True}) as connection:
        read_until(connection, b"assistant")
    gateway.wait_until(lambda: gateway.metrics.registry.get_sample_value("pomona_requests_total", labels) == before + 1)


def test_the_server_goes_on_after_clients_left(gateway: Gateway) -> None:
    gateway.generator.choose = lambda request: [Started(prompt_tokens=1), gateway.never] if request.sampling.seed else answer("fine")
    for _ in range(20):
        with connect(gateway, {**CHAT, "stream": True, "seed": 1}) as connection:
            read_until(connection, b"assistant")
    gateway.wait_until(lambda: len(gateway.generator.closed_early) == 20)
    found = gateway.openai().chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}])
    assert found.choices[0].message.content == "fine"


class Reader:
    """The ASGI server's side of one request, whose client takes a chunk only when told to."""

    def __init__(self, body: Mapping[str, object]) -> None:
        self._body = json.dumps(body).encode()
        self._asked = False
        self.left = asyncio.Event()
        self.may_take = asyncio.Semaphore(0)
        self.taken: list[bytes] = []

    async def receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self.may_take.acquire()
        self.taken.append(message.get("body", b""))


def scope() -> Scope:
    headers = [(b"content-type", b"application/json")]
    return {"type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"", "headers": headers}


@pytest.mark.parametrize("choices", [1, 2])
async def test_a_slow_reader_stops_the_pulling(choices: int) -> None:
    script: Script = [Started(prompt_tokens=1), *(TextDelta(text=str(number)) for number in range(1000)), asyncio.Event()]
    generator = ScriptedGenerator(script=script)
    backend = Backend(generator=generator, directory=FixedDirectory(CARDS), status=FixedStatus((READY,)), tokenization=FixedTokenization())
    app = create_public_app(backend, settings_with(), Metrics())
    reader = Reader({**CHAT, "stream": True, "n": choices})
    serving = asyncio.create_task(app(scope(), reader.receive, reader.send))
    for allowed in (0, 1, 10, 200):
        for _ in range(allowed):
            reader.may_take.release()
        for _ in range(20 * (allowed + 10)):
            await asyncio.sleep(0)
        assert len(reader.taken) <= generator.pulled <= len(reader.taken) + 1 + choices
    reader.left.set()
    await asyncio.wait_for(serving, timeout=60)
    assert len(reader.taken) == 211
    assert generator.running == 0
    assert len(generator.closed_early) == choices
