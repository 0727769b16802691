"""Who answers `chat` and `generate`: a running server where there is one, else a model that is loaded for this call."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pomona.cli.options import Invocation
from pomona.core.errors import NotReady, PomonaError
from pomona.core.ports import Generator

if TYPE_CHECKING:
    import httpx

    from pomona.core.settings import LoadedSettings

# Settings that the person may give and that a running server answers just as well.
_SHARED = {"models.default", "logging.level", "logging.format", "server.host", "server.port", "access.key"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Someone who answers, the name of the model to ask for, and where it runs, in words."""

    generator: Generator
    model: str
    place: str
    url: str = ""
    """Its address, if it is a server."""


@asynccontextmanager
async def open_source(invocation: Invocation, *, url: str | None, alone: bool) -> AsyncGenerator[Source]:
    """The server at `url`, else the local one if it serves what is asked for, else a model of our own. `alone` never asks a server.

    Raises PomonaError.
    """
    loaded = invocation.settings(log_level="warning")
    async with open_client(loaded) as client:
        remote = await find_server(client, invocation, loaded, url=url, alone=alone)
        if remote:
            yield remote
            return
    async with _load_model(loaded, quiet=invocation.verbosity < 0) as source:
        yield source


async def find_server(
    client: "httpx.AsyncClient", invocation: Invocation, loaded: "LoadedSettings", *, url: str | None, alone: bool
) -> Source | None:
    """The server to ask, or None where there is none that serves what is wanted. Raises PomonaError if the one at `url` cannot be used."""
    from pomona.ops.remote import RemoteGenerator

    asked = invocation.overrides.get("models.default")
    address = server_address(invocation, loaded, url=url, alone=alone)
    if address is None:
        return None
    remote = RemoteGenerator(address, client=client)
    try:
        names = await remote.models()
    except PomonaError:
        if url:
            raise
        return None
    if not names:
        raise NotReady(f"The server at {address} has no model.")
    wanted = str(asked or (names[0] if url else loaded.settings.models.default))
    if url is None and wanted not in names:
        return None
    return Source(generator=remote, model=wanted, place=f"at {address}", url=address)


def open_client(loaded: "LoadedSettings") -> "httpx.AsyncClient":
    """A client with the key of the settings, to be closed."""
    import httpx

    key = loaded.settings.access.key
    return httpx.AsyncClient(trust_env=False, headers={"authorization": f"Bearer {key}"} if key else None)


def server_address(invocation: Invocation, loaded: "LoadedSettings", *, url: str | None, alone: bool) -> str | None:
    """Where a server may be asked: at `url`, else the local one, unless that could not answer as the person wants it."""
    if url is None and (alone or not set(invocation.overrides) <= _SHARED or loaded.settings.server.port == 0):
        return None
    return url or f"http://{loaded.settings.server.host}:{loaded.settings.server.port}"


@asynccontextmanager
async def _load_model(loaded: "LoadedSettings", *, quiet: bool) -> AsyncGenerator[Source]:
    from contextlib import AsyncExitStack

    from pomona.app import load_app
    from pomona.cli.output import waiting

    app = load_app(loaded.settings)
    async with AsyncExitStack() as stack:
        with waiting(f"Loading {app.model}", quiet=quiet):
            generator = await stack.enter_async_context(app.generator())
        yield Source(generator=generator, model=app.model, place="in this process")
