"""The admin address of a running server, from the outside: what is in memory, in and out, and what happens."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote

import httpx

from pomona.core.errors import EngineFailed, Forbidden, NotReady, PomonaError, Unauthenticated
from pomona.core.settings import ServerSettings
from pomona.ops.remote_answer import error_from

Json = dict[str, Any]
# Loading and unloading take as long as they take; a server that does not even accept is not there.
TIMEOUT = httpx.Timeout(connect=5.0, read=None, write=30.0, pool=5.0)
RETURN_SECONDS = 2.0
_MOST_PER_PAGE = 1000


def admin_url(settings: ServerSettings) -> str:
    """Where a server with these settings has its admin address, as this machine reaches it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(settings.admin_host, settings.admin_host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.admin_port}"


@dataclass(slots=True)
class _Place:
    """How far a stream of events has come."""

    id: str | None = None


class AdminClient:
    """Talks to the admin address `url`. Raises PomonaError of the class that the server named, NotReady where there is none."""

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self._url = url.rstrip("/")
        self._client = client

    async def models(self, **filters: str) -> list[Json]:
        """All models that fit the filters of GET /admin/models, the default one first."""
        found: list[Json] = []
        page = 1
        while True:
            query = {**filters, "page": page, "page_size": _MOST_PER_PAGE}
            answer = await self._ask("GET", "/admin/models", query=query)
            found += cast("dict[str, Json]", answer["models"]).values()
            if page * _MOST_PER_PAGE >= answer["total_models"]:
                return found
            page += 1

    async def memory(self) -> Json:
        """GET /admin/memory."""
        return await self._ask("GET", "/admin/memory")

    async def model(self, name: str) -> Json:
        """One model."""
        return await self._ask("GET", self._path(name, ""))

    async def load(self, name: str, *, keep_alive: str | None = None, pin: bool = False) -> Json:
        """Load a model and wait until it is there."""
        body = {"pin": pin} | ({} if keep_alive is None else {"keep_alive": keep_alive})
        return await self._ask("POST", self._path(name, "/load"), body=body)

    async def unload(self, name: str, *, force: bool = False) -> Json:
        """Unload a model once its answers have ended, or at once."""
        return await self._ask("POST", self._path(name, "/unload"), body={"force": force})

    async def pin(self, name: str, *, pinned: bool) -> Json:
        """Keep a model in memory, or let go of it."""
        return await self._ask("POST", self._path(name, "/pin"), body={"pinned": pinned})

    async def requests(self, **filters: str | float) -> Json:
        """GET /admin/requests."""
        return await self._ask("GET", "/admin/requests", query=filters)

    async def explain(self, id: str) -> Json:
        """Where the time of the request `id` went. Raises NotFound where it is not kept."""
        return await self._ask("GET", f"/admin/requests/{quote(id, safe='')}/explain")

    async def events(self, *, tokens: bool = False, model: str | None = None) -> AsyncGenerator[Json]:
        """Events as they come. A connection that breaks is made again, and what happened meanwhile comes first."""
        place, query = _Place(), {"tokens": str(tokens).lower()} | ({"model": model} if model else {})
        while True:
            try:
                async with aclosing(self._events_once(query, place)) as events:
                    async for event in events:
                        yield event
            except httpx.ConnectError:
                raise self._absent() from None
            except httpx.HTTPError:
                pass  # it broke: the next round makes it again, or finds nobody
            await asyncio.sleep(RETURN_SECONDS)

    async def _events_once(self, query: Mapping[str, str], place: _Place) -> AsyncGenerator[Json]:
        headers = {} if place.id is None else {"last-event-id": place.id}
        async with self._client.stream("GET", f"{self._url}/admin/events", params=query, headers=headers, timeout=TIMEOUT) as response:
            if response.status_code != 200:
                raise self._error(await response.aread(), response.status_code)
            async for line in response.aiter_lines():
                if line.startswith("id: "):
                    place.id = line[4:]
                elif line.startswith("data: "):
                    yield json.loads(line[6:])

    @staticmethod
    def _path(name: str, verb: str) -> str:
        return f"/admin/models/{quote(name, safe='/+@:')}{verb}"

    async def _ask(self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: object = None) -> Json:
        try:
            response = await self._client.request(method, self._url + path, params=query, json=body, timeout=TIMEOUT)
        except httpx.ConnectError:
            raise self._absent() from None
        except httpx.HTTPError as error:
            raise EngineFailed(f"The connection to {self._url} broke: {error or type(error).__name__}. Try again.") from None
        if response.status_code != 200:
            raise self._error(response.content, response.status_code)
        return cast("Json", response.json())

    def _absent(self) -> NotReady:
        return NotReady(
            f"No server answers at {self._url}. Start one with `pomona serve`; where it is looked for is the settings "
            "server.admin_host and server.admin_port, or --url."
        )

    def _error(self, document: bytes, status: int) -> PomonaError:
        error = error_from(document, status)
        if isinstance(error, Unauthenticated | Forbidden):
            advice = "Give an admin key with --api-key, POMONA_API_KEY or the setting access.key"
            return type(error)(f"{error.message}\n{advice}; `pomona keys:create NAME --scope admin` makes one.")
        return error
