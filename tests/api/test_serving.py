"""Ports and the end of a gateway: what runs may finish, what does not finish is told why."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Mapping

import httpx
import pytest

from pomona.core.errors import ConfigurationError
from pomona.core.generation import Started
from pomona.core.settings import ServerSettings, Settings
from pomona.server.application import create_admin_app, create_public_app
from pomona.server.serving import Urls, serve
from pomona.server.sockets import listen
from tests.api.gateway import MODEL, Gateway, running, settings_with
from tests.doubles import ScriptedGenerator, answer

CHAT: Mapping[str, object] = {"model": MODEL, "messages": [{"role": "user", "content": "Hello?"}]}
BODIES: Mapping[str, Mapping[str, object]] = {
    "chat/completions": CHAT,
    "completions": {"model": MODEL, "prompt": "Hello?"},
    "messages": {**CHAT, "max_tokens": 9},
    "responses": {"model": MODEL, "input": "Hello?"},
}
PATIENCE_SECONDS = 120


class Life:
    """One gateway served in the test's own loop."""

    def __init__(self, grace_seconds: float, notice_seconds: float = 0) -> None:
        seconds = {"shutdown_grace_seconds": grace_seconds, "shutdown_notice_seconds": notice_seconds}
        self.parts = Gateway(settings=settings_with(**seconds))
        self.generator: ScriptedGenerator = self.parts.generator
        self.urls: asyncio.Future[Urls] = asyncio.get_running_loop().create_future()
        self.stop = asyncio.Event()
        parts = self.parts
        public = create_public_app(parts.backend, parts.settings, parts.metrics)
        admin = create_admin_app(parts.backend, parts.settings, parts.metrics)
        serving = serve(public, admin, parts.settings.server, self.urls.set_result, stop=self.stop)
        self.task = asyncio.create_task(serving)
        self.client = httpx.AsyncClient(timeout=PATIENCE_SECONDS)

    async def ask(self, *, stream: bool, wire: str = "chat/completions") -> asyncio.Task[httpx.Response]:
        """Send a request and wait until the generator works on it."""
        urls = await self.urls
        asked = asyncio.create_task(self.client.post(f"{urls.public}/v1/{wire}", json={**BODIES[wire], "stream": stream}))
        await asyncio.wait_for(self.generator.begun.wait(), PATIENCE_SECONDS)
        return asked

    async def refused(self) -> httpx.Response:
        """Ask until the gateway takes nothing new: what it says then."""
        urls = await self.urls
        self.generator.script = answer("served")
        for _ in range(1000):
            response = await self.client.post(f"{urls.public}/v1/chat/completions", json=CHAT)
            if response.status_code != 200:
                return response
        pytest.fail("the gateway went on to take requests")

    async def drained(self) -> None:
        """Wait until the admin address says that the gateway is going down."""
        urls = await self.urls
        for _ in range(1000):
            response = await self.client.get(f"{urls.admin}/ready")
            if response.status_code == 503:
                assert "shutting down" in response.json()["reason"]
                return
        pytest.fail("the gateway did not begin to shut down")

    async def end(self) -> None:
        await asyncio.wait_for(self.task, PATIENCE_SECONDS)
        await self.client.aclose()


async def test_running_answers_may_finish_while_new_ones_are_sent_elsewhere() -> None:
    life = Life(grace_seconds=3600)
    pause = asyncio.Event()
    life.generator.script = [Started(prompt_tokens=1), pause, *answer("in time")[1:]]
    asked = await life.ask(stream=True)
    life.stop.set()
    await life.drained()
    refusal = await life.refused()
    assert (refusal.status_code, refusal.json()["error"]["code"]) == (503, "shutting_down")
    assert (refusal.headers["retry-after"], refusal.headers["connection"]) == ("5", "close")
    public = (await life.urls).public
    probes = [(await life.client.get(f"{public}/{path}")).status_code for path in ("health", "ready", "version")]
    assert probes == [200, 503, 200]
    assert (await life.client.get(f"{public}/health")).json()["draining"] is True
    models = await life.client.get(f"{public}/v1/models")
    assert (models.status_code, models.headers["connection"]) == (200, "close")
    pause.set()
    text = (await asked).text
    assert '"content":"in time"' in text
    assert text.endswith("data: [DONE]\n\n")
    await life.end()
    assert life.generator.closed_early == []
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*public.removeprefix("http://").split(":"))


async def test_a_large_request_that_is_refused_is_read_so_that_its_client_hears_why() -> None:
    life = Life(grace_seconds=3600)
    pause = asyncio.Event()
    life.generator.script = [Started(prompt_tokens=1), pause, *answer("in time")[1:]]
    asked = await life.ask(stream=True)
    life.stop.set()
    await life.drained()
    await life.refused()
    urls = await life.urls
    refusal = await life.client.post(f"{urls.public}/v1/messages", json={**BODIES["messages"], "system": "x" * 2**23})
    assert (refusal.status_code, refusal.json()["error"]["type"]) == (529, "overloaded_error")
    pause.set()
    await asked
    await life.end()


async def test_requests_are_served_until_load_balancers_have_noticed() -> None:
    life = Life(grace_seconds=3600, notice_seconds=600)
    urls = await life.urls
    os.kill(os.getpid(), signal.SIGTERM)
    await life.drained()
    assert (await life.client.get(f"{urls.public}/ready")).status_code == 503
    life.generator.script = answer("served")
    served = await life.client.post(f"{urls.public}/v1/chat/completions", json=CHAT)
    assert (served.status_code, served.headers["connection"]) == (200, "close")
    os.kill(os.getpid(), signal.SIGTERM)
    await life.end()


async def test_a_response_in_the_background_is_waited_for_and_can_be_fetched() -> None:
    life = Life(grace_seconds=3600)
    pause = asyncio.Event()
    life.generator.script = [Started(prompt_tokens=1), pause, *answer("in time")[1:]]
    urls = await life.urls
    body = {**BODIES["responses"], "background": True}
    begun = (await life.client.post(f"{urls.public}/v1/responses", json=body)).json()
    await asyncio.wait_for(life.generator.begun.wait(), PATIENCE_SECONDS)
    life.stop.set()
    await life.drained()
    assert (await life.refused()).status_code == 503
    assert not life.task.done()
    seen = await life.client.get(f"{urls.public}/v1/responses/{begun['id']}")
    assert seen.json()["status"] in {"queued", "in_progress"}
    pause.set()
    await life.end()
    assert life.generator.closed_early == []


LAST_WORDS: Mapping[str, tuple[str, str]] = {
    "chat/completions": ("", "cancelled"),
    "completions": ("", "cancelled"),
    "messages": ("error", "api_error"),
    "responses": ("response.failed", "server_error"),
}
"""Of a stream that the server ends: the name of its last event, and what its error is called."""


@pytest.mark.parametrize("wire", BODIES)
async def test_streams_that_take_too_long_end_with_an_error_that_says_so(wire: str) -> None:
    life = Life(grace_seconds=0)
    life.generator.script = [*answer("cut")[:2], asyncio.Event()]
    asked = await life.ask(stream=True, wire=wire)
    life.stop.set()
    response = await asked
    assert response.status_code == 200
    *_, last = response.text.strip().split("\n\n")
    name, _, data = last.rpartition("data: ")
    document = json.loads(data)
    error = document.get("error") or document["response"]["error"]
    assert (name.strip().removeprefix("event: "), error.get("code") or error["type"]) == LAST_WORDS[wire]
    assert "shutting down" in error["message"]
    await life.end()
    assert len(life.generator.closed_early) == 1


@pytest.mark.parametrize("wire", BODIES)
async def test_whole_answers_that_take_too_long_become_503(wire: str) -> None:
    life = Life(grace_seconds=0)
    life.generator.script = [Started(prompt_tokens=1), asyncio.Event()]
    asked = await life.ask(stream=False, wire=wire)
    life.stop.set()
    response = await asked
    assert response.status_code == 503
    assert "shutting down" in response.json()["error"]["message"]
    assert response.headers["retry-after"] == "1"
    await life.end()


@pytest.mark.parametrize(
    ("first", "second"), [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)]
)
async def test_a_second_signal_ends_at_once_and_still_says_so(first: signal.Signals, second: signal.Signals) -> None:
    life = Life(grace_seconds=3600)
    life.generator.script = [Started(prompt_tokens=1), asyncio.Event()]
    asked = await life.ask(stream=True)
    os.kill(os.getpid(), first)
    await life.drained()
    assert not life.task.done()
    os.kill(os.getpid(), second)
    await life.end()
    await asyncio.wait_for(life.generator.ended.wait(), PATIENCE_SECONDS)
    assert life.generator.running == 0
    assert "shutting down" in (await asked).text


async def test_a_second_signal_does_not_wait_for_those_who_do_not_read() -> None:
    life = Life(grace_seconds=3600)
    urls = await life.urls
    life.generator.script = answer(*["word " * 2000] * 2000)
    body = json.dumps({**CHAT, "stream": True}).encode()
    reader, writer = await asyncio.open_connection(*urls.public.removeprefix("http://").split(":"), limit=1024)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n")
    writer.write(b"content-length: %d\r\n\r\n%b" % (len(body), body))
    await reader.readline()
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
        await life.drained()
    await life.end()
    assert life.generator.running == 0
    writer.close()


async def test_one_interrupt_ends_an_idle_gateway() -> None:
    life = Life(grace_seconds=3600)
    await life.urls
    os.kill(os.getpid(), signal.SIGINT)
    await life.end()


def test_free_ports_are_picked_and_told() -> None:
    with running(Gateway()) as gateway:
        assert gateway.urls.public.startswith("http://127.0.0.1:")
        assert gateway.urls.public != gateway.urls.admin
        assert gateway.http().get("/version").status_code == 200
        assert gateway.admin().get("/metrics").status_code == 200


@pytest.mark.parametrize("setting", ["port", "admin_port"])
def test_a_taken_port_is_named_with_its_owner_and_the_way_out(setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError) as caught, running(Gateway(settings=settings_with(**{setting: port}))):
            pass
    message = caught.value.message
    assert f"Port {port} on 127.0.0.1 is taken" in message
    assert f"server.{setting}" in message
    assert f"POMONA_SERVER__{setting.upper()}" in message
    assert f"process {os.getpid()}" in message or "another Pomona" in message


def test_the_first_port_is_given_back_when_the_second_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, socket.create_server(("127.0.0.1", 0)) as probe:
        free = probe.getsockname()[1]
        probe.close()
        taken = other.getsockname()[1]
        with pytest.raises(ConfigurationError), running(Gateway(settings=settings_with(port=free, admin_port=taken))):
            pass
        with socket.create_server(("127.0.0.1", free)):
            pass


def test_two_gateways_on_one_port_are_refused_by_the_second() -> None:
    with running(Gateway()) as first:
        port = int(first.urls.public.rpartition(":")[2])
        with pytest.raises(ConfigurationError, match="is taken"), running(Gateway(settings=settings_with(port=port))):
            pass
        assert first.http().get("/version").status_code == 200


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host"])
def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"server\.host = .* is not an address of this machine"):
        listen(host, 0, "server.")


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:"), ("localhost", "http://localhost:")]
)
def test_urls_can_be_opened(host: str, shown: str) -> None:
    listener = listen(host, 0, "server.")
    with listener.socket:
        assert listener.url.startswith(shown)


def test_default_settings_are_those_of_the_documentation() -> None:
    server = Settings().server
    assert (server.host, server.port, server.admin_host, server.admin_port) == ("127.0.0.1", 11440, "127.0.0.1", 11441)
    assert isinstance(server, ServerSettings)
