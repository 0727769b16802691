"""A real gateway on free ports of this machine, in a thread of its own, in front of doubles."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from typing import TypeVar

import httpx
from openai import AsyncOpenAI, OpenAI

from pomona.control.keys import KeyRing, Keys
from pomona.core.errors import PomonaError
from pomona.core.events import Event
from pomona.core.metrics import Metrics
from pomona.core.settings import FleetSettings, ServerSettings, Settings
from pomona.core.status import EngineCounters, EngineReport, ModelCard, ModelFacts
from pomona.server.application import create_admin_app, create_public_app, traffic_of
from pomona.server.services import Backend, HubPorts, Management
from pomona.server.serving import Urls, serve
from tests.doubles import (
    GB,
    FixedDirectory,
    FixedStatus,
    FixedTokenization,
    LengthEmbedder,
    ScriptedGenerator,
    ScriptedResidents,
    SharedWords,
    answer,
    model_status,
)
from tests.hub_doubles import HubDoubles

T = TypeVar("T")
MODEL = "acme/tiny-chat"
EMBEDDER, RERANKER = "acme/tiny-embed", "acme/tiny-rerank"
READY = EngineReport(
    model=MODEL,
    state="ready",
    seconds_since_step=0.2,
    restarts=0,
    counters=EngineCounters(steps=7, running=2, waiting=1, pages_used=5, pages_cached=3, pages_total=40, kv_bytes=4096, preemptions=1),
    facts=ModelFacts(
        architecture="llama", device="cpu", max_context=512, vocabulary=1000, weight_bytes=99, kv_budget_bytes=8192, load_seconds=0.5
    ),
)
CARDS = [
    ModelCard(id=MODEL, created=1_700_000_000, owned_by="acme", max_context=512, loaded=True),
    ModelCard(id="alias", created=1_700_000_001, owned_by="acme"),
]
STATUSES = [
    model_status(MODEL, source="folder", state="ready", aliases=("alias",), measured_bytes=2 * GB, last_used_at=1_700_000_100.0),
    model_status("acme/reader", task="embed", registered_by="hub-app"),
    model_status(f"{MODEL}+poet", source="adapter", parent=MODEL, vision=True),
]
VECTOR_CARDS = [
    ModelCard(id=EMBEDDER, created=1_700_000_002, owned_by="acme", max_context=256, task="embed"),
    ModelCard(id=RERANKER, created=1_700_000_003, owned_by="acme", max_context=512, task="rerank"),
]
"""For tests that add them to the directory."""


def settings_with(**server: object) -> Settings:
    """Settings with free ports."""
    return Settings(
        server=ServerSettings.model_validate({"port": 0, "admin_port": 0, "shutdown_grace_seconds": 0} | server),
        fleet=FleetSettings(hang_seconds=30),
    )


@dataclass(slots=True)
class Gateway:
    """What a test talks to, and what it looks into. `generator.script` may be changed between requests."""

    generator: ScriptedGenerator = field(default_factory=lambda: ScriptedGenerator(script=answer("Hello", " world")))
    directory: FixedDirectory = field(default_factory=lambda: FixedDirectory(list(CARDS)))
    tokenization: FixedTokenization = field(default_factory=FixedTokenization)
    status: FixedStatus = field(default_factory=lambda: FixedStatus((READY,)))
    residents: ScriptedResidents = field(default_factory=lambda: ScriptedResidents(list(STATUSES)))
    embedder: LengthEmbedder = field(default_factory=LengthEmbedder)
    reranker: SharedWords = field(default_factory=SharedWords)
    hub: HubPorts | None = None
    """In place of `catalog`."""
    catalog: HubDoubles = field(default_factory=HubDoubles)
    metrics: Metrics = field(default_factory=Metrics)
    settings: Settings = field(default_factory=settings_with)
    keys: Keys = field(default_factory=KeyRing)
    urls: Urls = field(default_factory=lambda: Urls(public="", admin=""))
    loop: asyncio.AbstractEventLoop | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    clients: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    async def serve(self, up: threading.Event) -> None:
        """Run both servers until `stop`; tell the URLs through `urls` and `up`."""
        self.loop = asyncio.get_running_loop()

        def on_ready(urls: Urls) -> None:
            self.urls = urls
            up.set()

        public = create_public_app(self.backend, self.settings, self.metrics, self.keys)
        admin = create_admin_app(self.backend, self.settings, self.metrics, self.keys, self.management, traffic_of(public))
        await serve(public, admin, self.settings.server, on_ready, limits=self.settings.limits, stop=self.stop)

    @property
    def backend(self) -> Backend:
        """The doubles as the gateway's backend."""
        return Backend(
            generator=self.generator,
            directory=self.directory,
            status=self.status,
            tokenization=self.tokenization,
            embedder=self.embedder,
            reranker=self.reranker,
            residents=self.residents,
        )

    @property
    def management(self) -> Management:
        """The doubles as what the admin address manages."""
        residents = self.residents
        return Management(
            residency=residents, residents=residents, events=residents.events, kept=residents, hub=self.hub or self.catalog.ports
        )

    @property
    def never(self) -> asyncio.Event:
        """An event that nobody sets."""
        return asyncio.Event()

    def reset(self) -> None:
        """Forget all that a test did. Raises AssertionError if work of it is left over."""
        self.clients.close()
        assert self.generator.running == 0
        self.generator.reset(answer("Hello", " world"))
        self.status.reports = (READY,)
        self.residents.reset(STATUSES)
        self.tokenization.known = {}
        self.catalog.reset()
        self.embedder.reset()
        self.reranker.seen.clear()
        self.directory.cards, self.directory.stands_in = list(CARDS), ""

    def call(self, work: Coroutine[object, object, T]) -> T:
        """Run `work` in the gateway's loop and wait for it."""
        assert self.loop is not None
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=60)

    def set(self, event: asyncio.Event) -> None:
        """Set an event that lives in the gateway's loop."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(event.set)

    def publish(self, *events: Event) -> None:
        """Publish events in the gateway's loop, one after another."""

        async def tell() -> None:
            for event in events:
                self.residents.events.publish(event)

        self.call(tell())

    def wait_for(self, event: asyncio.Event) -> None:
        """Wait for an event that lives in the gateway's loop."""
        self.call(asyncio.wait_for(event.wait(), timeout=60))

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait until `holds` is true, looking after every turn of the gateway's loop."""

        async def look() -> None:
            for _ in iter(holds, True):
                await asyncio.sleep(0)

        self.call(asyncio.wait_for(look(), timeout=60))

    def openai(self) -> OpenAI:
        """The official client, without retries."""
        return self.clients.enter_context(OpenAI(base_url=f"{self.urls.public}/v1", api_key="any", max_retries=0, timeout=60))

    def async_openai(self) -> AsyncOpenAI:
        """The official asynchronous client, without retries."""
        return AsyncOpenAI(base_url=f"{self.urls.public}/v1", api_key="any", max_retries=0, timeout=60)

    def http(self) -> httpx.Client:
        """A plain client of the public address."""
        return self.clients.enter_context(httpx.Client(base_url=self.urls.public, timeout=60))

    def admin(self) -> httpx.Client:
        """A plain client of the admin address."""
        return self.clients.enter_context(httpx.Client(base_url=self.urls.admin, timeout=60))


@contextlib.contextmanager
def running(gateway: Gateway) -> Generator[Gateway]:
    """Serve `gateway` while inside."""
    up = threading.Event()
    failures: list[PomonaError] = []

    def work() -> None:
        try:
            asyncio.run(gateway.serve(up))
        except PomonaError as error:
            failures.append(error)
        finally:
            up.set()

    thread = threading.Thread(target=work, name="gateway")
    thread.start()
    up.wait(timeout=60)
    try:
        if not failures:
            yield gateway
    finally:
        gateway.clients.close()
        if gateway.loop is not None and not gateway.loop.is_closed():
            with contextlib.suppress(RuntimeError):
                gateway.loop.call_soon_threadsafe(gateway.stop.set)
        thread.join(timeout=60)
    assert not thread.is_alive()
    if failures:
        raise failures[0]
