"""The composition root: settings in, a running Pomona out. The only place that wires concrete classes together.

Also the only place that reads the environment. Packages are imported when they are used, so that a command which needs only
the settings does not wait for a web server.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pomona.core.errors import Conflict
from pomona.core.ports import Generator
from pomona.core.settings import LoadedSettings, Settings, load_settings
from pomona.core.status import ModelFacts, Task
from pomona.core.telemetry import configure_logging

if TYPE_CHECKING:
    from pomona.control.key_usage import UsageBook
    from pomona.fleet.assembly import Fleet
    from pomona.hub.assembly import HubParts
    from pomona.hub.registry.registry import LocalRegistry
    from pomona.models.references import Names
    from pomona.server.services import HubPorts
    from pomona.server.serving import Urls

PROMPT_THREADS = 4
ENGINE_COMMAND = (sys.executable, "-P", "-m", "pomona.engine.process")
"""-P: files in the working folder must not pass for modules."""

NO_LIMIT_OF_MISSES = ("MLX_ENABLE_CACHE_THRASHING_CHECK", "0")
"""For engines. On CUDA, MLX counts what its caches of graphs and of plans for attention ever missed, and ends the process at twice their
size, 800 and 512 shapes, however seldom they come: a server meets so many in time.
"""


def read_settings(command_line: dict[str, object], profile: str | None = None) -> LoadedSettings:
    """All settings from all sources; `command_line` maps dotted names to values. Raises ConfigurationError."""
    return load_settings(
        command_line=command_line,
        environment=os.environ,
        project_folder=Path.cwd(),
        user_file=user_file(),
        profile=profile,
    )


def environment_with(changes: Mapping[str, str | None]) -> dict[str, str]:
    """This process's environment for a child, with `changes`: None takes a variable away."""
    changed = {**os.environ, **changes}
    return {name: value for name, value in changed.items() if value is not None}


def user_file() -> Path:
    """The settings file of this user, whether or not it exists."""
    return _user_folder("XDG_CONFIG_HOME", "Application Support", ".config") / "config.toml"


def cache_folder() -> Path:
    """Where Pomona keeps what it can make again."""
    return _user_folder("XDG_CACHE_HOME", "Caches", ".cache")


def keys_path(settings: Settings) -> Path:
    """The file of API keys, whether or not it exists."""
    return settings.access.keys_file or data_folder() / "keys.json"


def data_folder() -> Path:
    """Where Pomona keeps what it cannot make again: keys, the registry of models, converted models."""
    return _user_folder("XDG_DATA_HOME", "Application Support", ".local/share")


def model_registry(settings: Settings) -> "LocalRegistry":
    """Registered models, aliases and pins. Raises ConfigurationError where their file cannot be read."""
    from pomona.hub.registry.opening import open_registry

    return open_registry(settings, data_folder())


def model_names(settings: Settings) -> "Names":
    """The names of the registry, for whoever looks up a model once. Raises as `model_registry`."""
    return model_registry(settings).names()


def hub_parts(settings: Settings, *, loaded: "Callable[[], Iterable[Path]]" = tuple) -> "HubParts":
    """The hub, pulls and the registry. `loaded` tells the folders of models in memory, which must not be deleted."""
    from pomona.hub.assembly import assemble

    return assemble(settings, data_folder(), loaded=loaded)


def _user_folder(variable: str, on_macos: str, elsewhere: str) -> Path:
    """$XDG_… where it is set (it must be absolute, says the standard), else what the system's users expect."""
    chosen = Path(os.environ.get(variable, ""))
    if chosen.is_absolute():
        return chosen / "pomona"
    return Path.home() / (f"Library/{on_macos}" if sys.platform == "darwin" else elsewhere) / "pomona"


def load_app(settings: Settings, *, in_process: bool = False) -> "App":
    """A Pomona with `settings`, not running yet. Logs go to standard error from now on. Raises ModelNotFound.

    `in_process`: one model at a time, in a thread of this process.
    """
    configure_logging(settings.logging.level, settings.logging.format)
    os.environ.setdefault(*NO_LIMIT_OF_MISSES)
    return App(settings, in_process=in_process)


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A Pomona that answers over HTTP."""

    public_url: str
    admin_url: str
    model: str
    facts: ModelFacts
    task: Task = "generate"
    """Of the default model."""
    loaded: tuple[str, ...] = ()
    """All models that were loaded at the start."""
    others: tuple[str, ...] = ()
    """Models that are loaded when they are asked for."""


class App:
    """One Pomona: models in engine processes, with HTTP (`serve`) or without (`open`)."""

    def __init__(self, settings: Settings, *, in_process: bool = False) -> None:
        from pomona.models.references import resolve

        if in_process:
            settings = settings.model_copy(update={"residency": settings.residency.model_copy(update={"max_models": 1})})
        self.settings = settings
        self._command = None if in_process else ENGINE_COMMAND
        self._registry = model_registry(settings)
        self._folders: dict[str, Path] = {}
        self._found = resolve(settings.models.default, settings.models, names=self._registry.names())
        self.model = self._found.id
        """The name of the default model, for `GenerateRequest.model`."""

    def names(self) -> "Names":
        """Names of models beside those of the settings, as they are now."""
        names = self._registry.names()
        return replace(names, folders={**self._folders, **names.folders})

    def add_folder(self, folder: Path, name: str | None = None) -> str:
        """Let the model in `folder` be asked for while this App lives; its name, which is the folder's where none is given.

        Raises ModelUnusable for what is no model, and Conflict where the name means another folder already.
        """
        from pomona.models.validation import inspect_folder

        place = folder.expanduser().resolve()
        inspect_folder(place)
        chosen = name or place.name
        taken = self.names().folders.get(chosen)
        if taken is not None and taken.resolve() != place:
            raise Conflict(f"{chosen!r} is the name of {str(taken)!r} already. Give another name for {str(place)!r}.")
        self._folders[chosen] = place
        return chosen

    @asynccontextmanager
    async def open(self, *, spare: bool = True) -> "AsyncGenerator[Fleet]":
        """All ports, without HTTP. Models are loaded when they are asked for; `Fleet.preload` loads those of the settings at once.

        `spare`: keep a process ready for the next load, where the settings do; not worth it for a program that asks once.
        """
        from pomona.engine.protocol import Prepare
        from pomona.fleet.assembly import open_fleet
        from pomona.fleet.process.endpoint import sweep_endpoints
        from pomona.fleet.process.starting import Starter
        from pomona.fleet.residency.supply import Surroundings
        from pomona.fleet.resident import Workshop
        from pomona.fleet.words import WordsCache
        from pomona.pictures.preparing import Preparation

        sweep_endpoints()
        with ThreadPoolExecutor(PROMPT_THREADS, thread_name_prefix="prompt") as pool, Preparation(self.settings.pictures) as pictures:
            words_cache = WordsCache(pool, pictures=pictures)
            starter = Starter(
                self._command,
                Prepare(cache_folder=cache_folder(), models=self.settings.models),
                spares=spare and self.settings.residency.spare_process,
            )
            workshop = Workshop(starter=starter, cache_folder=cache_folder(), settings=self.settings, pool=pool, words_cache=words_cache)
            registry = self._registry
            around = Surroundings(pinned=registry.pins(), remember_pin=registry.set_pin, names=self.names)
            async with open_fleet(self._found, workshop, around) as fleet:
                yield fleet

    @asynccontextmanager
    async def generator(self) -> AsyncGenerator[Generator]:
        """The models, the default one loaded, without HTTP. Raises ModelUnusable, DoesNotFit or EngineFailed."""
        async with self.open(spare=False) as fleet:
            await fleet.residency.load(self.model)
            yield fleet.generator

    async def serve(self, on_ready: Callable[[Serving], None], *, stop: asyncio.Event | None = None) -> None:
        """Serve until SIGINT, SIGTERM or `stop`. HTTP answers while models load; `/ready` and `on_ready` tell when they are there.

        Raises ConfigurationError when a port cannot be had or would be open to other machines without a key, and why a model that is
        to be there from the start cannot be loaded.
        """
        from pomona.control.key_file import KeyFile, WatchedKeys
        from pomona.core.metrics import Metrics
        from pomona.server.access.door import check_exposure
        from pomona.server.application import create_admin_app, create_public_app, traffic_of
        from pomona.server.services import Backend, Management
        from pomona.server.serving import Urls, serve

        settings, metrics, halt = self.settings, Metrics(), stop or asyncio.Event()
        keys = WatchedKeys(KeyFile(keys_path(settings)), time.monotonic)
        check_exposure(settings, lambda scope: keys.open(scope, time.time()))
        async with self.open() as fleet, _usage_book(settings) as book, _open_hub(settings, fleet) as hub:
            backend = Backend(
                generator=fleet.generator,
                directory=fleet.directory,
                status=fleet.status,
                tokenization=fleet.tokenization,
                embedder=fleet.embedder,
                reranker=fleet.reranker,
                residents=fleet.residents,
            )
            management = Management(residency=fleet.residency, residents=fleet.residents, events=fleet.events, kept=fleet.kept, hub=hub)
            public = create_public_app(backend, settings, metrics, keys, (book,))
            admin = create_admin_app(backend, settings, metrics, keys, management, traffic_of(public))
            up: asyncio.Future[Urls] = asyncio.get_running_loop().create_future()
            announcing = asyncio.ensure_future(self._announce(fleet, up, on_ready))
            announcing.add_done_callback(lambda done: halt.set() if not done.cancelled() and done.exception() else None)
            try:
                await serve(public, admin, settings.server, up.set_result, limits=settings.limits, stop=halt)
            finally:
                announcing.cancel()
                await asyncio.wait([announcing])
            if not announcing.cancelled():
                announcing.result()

    async def _announce(self, fleet: "Fleet", up: "asyncio.Future[Urls]", on_ready: Callable[[Serving], None]) -> None:
        facts = await fleet.preload()
        urls = await up
        cards = [card for card in fleet.directory.models() if card.parent is None]
        on_ready(
            Serving(
                public_url=urls.public,
                admin_url=urls.admin,
                model=self.model,
                facts=facts,
                task=fleet.directory.find(self.model).task,
                loaded=tuple(card.id for card in cards if card.loaded),
                others=tuple(card.id for card in cards if not card.loaded),
            )
        )


@asynccontextmanager
async def _open_hub(settings: Settings, fleet: "Fleet") -> "AsyncGenerator[HubPorts]":
    """The hub beside a fleet: what is loaded there is not deleted. Pulls that run at the end are stopped; what they have is kept."""
    from pomona.server.services import HubPorts

    parts = hub_parts(settings, loaded=fleet.loaded_folders)
    try:
        yield HubPorts(hub=parts.hub, pulls=parts.pulls, registry=parts.registry, aliases=parts.registry, scanner=parts.scanner)
    finally:
        await asyncio.to_thread(parts.pulls.close)


@asynccontextmanager
async def _usage_book(settings: Settings) -> "AsyncGenerator[UsageBook]":
    """What the keys are used for, written down now and then and at the end."""
    from pomona.control.key_usage import UsageBook, usage_path

    with ThreadPoolExecutor(1, thread_name_prefix="usage") as writer:
        book = UsageBook(usage_path(keys_path(settings)), time.time, writer)
        try:
            yield book
        finally:
            book.close()
