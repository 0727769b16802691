"""Which server is meant, and a client of its admin address."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from pomona.cli.options import Invocation

if TYPE_CHECKING:
    from pomona.ops.admin_client import AdminClient

Decorated = TypeVar("Decorated", bound=Callable[..., object])


def server_options(function: Decorated) -> Decorated:
    """`--url` and `--api-key`."""
    url = click.option("--url", metavar="URL", help="Admin address of the server. Unset: server.admin_host and server.admin_port.")
    key = click.option("--api-key", metavar="KEY", envvar="POMONA_API_KEY", help="Admin key, where it asks for one (or: POMONA_API_KEY).")
    return cast("Decorated", url(key(cast("Any", function))))


@asynccontextmanager
async def connect(invocation: Invocation, url: str | None, api_key: str | None) -> "AsyncGenerator[AdminClient]":
    """A client of the server at `url`, else of the one that the settings name."""
    import httpx

    from pomona.ops.admin_client import AdminClient, admin_url

    if url and not url.startswith(("http://", "https://")):
        raise click.BadParameter(f"{url!r} is no address. Addresses begin with http:// or https://.", param_hint="--url")
    settings = invocation.settings(log_level="warning").settings
    key = api_key or settings.access.key
    async with httpx.AsyncClient(trust_env=False, headers={"authorization": f"Bearer {key}"} if key else None) as client:
        yield AdminClient(url or admin_url(settings.server), client)
