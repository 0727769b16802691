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
PATIENCE_SECONDS = 20


class Life:
    """One gateway served in the test's own loop."""

    def __init__(self, grace_seconds: float) -> None:
        self.parts = Gateway(settings=settings_with(shutdown_grace_seconds=grace_seconds))
        self.generator: ScriptedGenerator = self.parts.generator
        self.urls: asyncio.Future[Urls] = asyncio.get_running_loop().create_future()
        self.stop = asyncio.Event()
        parts = self.parts
        public = create_public_app(parts.backend, parts.settings, parts.metrics)
        admin = create_admin_app(parts.backend, parts.settings, parts.metrics)
        serving = serve(public, admin, parts.settings.server, self.urls.set_result, stop=self.stop)
        self.task = asyncio.create_task(serving)
        self.client = httpx.AsyncClient(timeout=PATIENCE_SECONDS)

    async def ask(self, *, stream: bool) -> asyncio.Task[httpx.Response]:
        """Send a request and wait until the generator works on it."""
        urls = await self.urls
        post = self.client.post(f"{urls.public}/v1/chat/completions", json={**CHAT, "stream": stream})
        asked = asyncio.create_task(post)
        await asyncio.wait_for(self.generator.begun.wait(), PATIENCE_SECONDS)
        return asked

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


async def test_running_answers_may_finish_while_no_new_ones_are_taken() -> None:
    life = Life(grace_seconds=3600)
    pause = asyncio.Event()
    life.generator.script = [Started(prompt_tokens=1), pause, *answer("in time")[1:]]
    asked = await life.ask(stream=True)
    life.stop.set()
    await life.drained()
    public = (await life.urls).public
    async with httpx.AsyncClient() as newcomer:
        with pytest.raises(httpx.TransportError):  # a reset where the listening socket closed with this connection in its queue
            await knock(newcomer, public)
        with pytest.raises(httpx.ConnectError):
            await newcomer.get(f"{public}/version")
    pause.set()
    text = (await asked).text
    assert '"content":"in time"' in text
    assert text.endswith("data: [DONE]\n\n")
    await life.end()
    assert life.generator.closed_early == []


async def knock(client: httpx.AsyncClient, url: str) -> None:
    """Ask over new connections until one is refused: the listening socket closes a moment after the drain begins."""
    for _ in range(1000):
        await client.get(f"{url}/version", headers={"connection": "close"})


async def test_streams_that_take_too_long_end_with_an_error_that_says_so() -> None:
    life = Life(grace_seconds=0)
    life.generator.script = [Started(prompt_tokens=1), asyncio.Event()]
    asked = await life.ask(stream=True)
    life.stop.set()
    response = await asked
    last = response.text.strip().splitlines()[-1]
    error = json.loads(last.removeprefix("data: "))["error"]
    assert (error["code"], error["type"]) == ("cancelled", "server_error")
    assert "shutting down" in error["message"]
    await life.end()
    assert len(life.generator.closed_early) == 1


async def test_whole_answers_that_take_too_long_become_503() -> None:
    life = Life(grace_seconds=0)
    life.generator.script = [Started(prompt_tokens=1), asyncio.Event()]
    asked = await life.ask(stream=False)
    life.stop.set()
    response = await asked
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "cancelled"
    assert response.headers["retry-after"] == "1"
    await life.end()


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
async def test_a_second_interrupt_ends_at_once(first: signal.Signals) -> None:
    life = Life(grace_seconds=3600)
    life.generator.script = [Started(prompt_tokens=1), asyncio.Event()]
    asked = await life.ask(stream=True)
    os.kill(os.getpid(), first)
    await life.drained()
    assert not life.task.done()
    os.kill(os.getpid(), signal.SIGINT)
    await life.end()
    await asyncio.wait_for(life.generator.ended.wait(), PATIENCE_SECONDS)
    assert life.generator.running == 0
    with pytest.raises(httpx.HTTPError):
        await asked


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
