"""The server that a client is to use: one that runs, or one of our own for as long as the client does."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import httpx

from pomona.core.errors import ModelNotFound, NotReady, PomonaError, Unauthenticated
from pomona.ops.launch.plan import Target
from pomona.ops.own_server import own_server
from pomona.ops.remote_answer import error_from

LOOK_SECONDS = 5.0
ANY_KEY = "pomona"
"""Servers without keys take whatever clients send, and clients insist on sending one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Where to look for a server and what it must serve. `url` None: the local server, or a new one with `options` if it will not do."""

    url: str | None
    local_url: str
    model: str | None
    api_key: str | None
    options: Sequence[str] = ()


@asynccontextmanager
async def find_target(wish: Wish) -> AsyncGenerator[Target]:
    """A server that serves what is wished for. Raises NotReady, ModelNotFound or Unauthenticated where `url` names one that does not."""
    target = await ask_server(wish)
    if target is not None:
        yield target
        return
    async with own_server(wish.options) as server:
        own = await _ask(server.url, wish)
        if own is None:
            raise NotReady(f"The server that was started at {server.url} does not answer.")
        yield own


async def ask_server(wish: Wish) -> Target | None:
    """The server that runs already; None where there is none that will do. Raises as `find_target`."""
    return await _ask(wish.url or wish.local_url, wish)


async def _ask(url: str, wish: Wish) -> Target | None:
    """What `url` serves; None where nobody answers there, or not with the wished model, and another server may be tried."""
    key = wish.api_key or ANY_KEY
    try:
        listed = await _list(url, key)
    except Unauthenticated:
        raise Unauthenticated(
            f"The server at {url} asks for an API key. Give one with --api-key or POMONA_API_KEY; `pomona keys:create` makes one."
        ) from None
    except PomonaError:
        if wish.url:
            raise
        return None
    models = cast("list[dict[str, Any]]", listed["data"])
    found = next((model for model in models if wish.model in (None, model["id"])), None)
    if found is None and wish.url:
        names = ", ".join(repr(model["id"]) for model in models) or "none"
        raise ModelNotFound(f"The server at {url} does not serve {wish.model!r}. It serves: {names}.", param="model")
    if found is None:
        return None
    entries = cast("list[dict[str, object]]", listed.get("models", []))
    entry = next((each for each in entries if each.get("slug") == found["id"]), None)
    return Target(
        url=url,
        model=str(found["id"]),
        max_context=found.get("max_context"),
        api_key=key,
        codex_entry=entry,
        vision=bool(found.get("vision")),
    )


async def _list(url: str, key: str) -> dict[str, Any]:
    async with httpx.AsyncClient(trust_env=False, timeout=LOOK_SECONDS) as client:
        try:
            response = await client.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"})
        except httpx.HTTPError:
            raise NotReady(f"No server answers at {url}. Start one with `pomona serve`, or leave --url out.") from None
    if response.status_code != 200:
        raise error_from(response.content, response.status_code)
    return cast("dict[str, Any]", response.json())
