"""GET /admin/events: what happens to models and answers, as server-sent events.

Ids are LIFE-NUMBER: the life is that of the server. A client that comes back with the last id it saw gets what it missed, as far as that
is still kept; with one of another life, all that is kept of this one.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from pomona.core.errors import Cancelled
from pomona.core.events import Event, Numbered
from pomona.server.admin.services import AdminServices
from pomona.server.describing import described, only_events
from pomona.server.errors import error_document
from pomona.server.sse import EventStream, StreamStyle

RETRY_MILLISECONDS = 2000


def event_routes(services: AdminServices) -> APIRouter:
    """The routes of this resource."""
    routes, life = APIRouter(tags=["events"]), f"{time.time_ns():x}"

    @routes.get(
        "/admin/events",
        summary="Watch models and answers",
        response_class=Response,
        openapi_extra=only_events(described(streams=True)),
    )
    async def watch_events(
        tokens: Annotated[bool, Query(description="Those of single tokens too: there are many.")] = False,
        model: Annotated[str | None, Query(min_length=1, description="Only those of this model, by any of its names.")] = None,
        last_event_id: Annotated[str | None, Header(description="The id that was seen last.")] = None,
    ) -> EventStream:
        status = services.find(model) if model else None
        names = (status.id, *status.aliases) if status else ()
        after = None if last_event_id is None else _number(last_event_id, life)
        return EventStream(
            _chunks(services, names, life, after=after, tokens=tokens),
            keepalive_seconds=services.settings.server.keepalive_seconds,
            drain=services.drain,
            style=_STYLE,
        )

    del watch_events
    return routes


async def _chunks(services: AdminServices, names: Sequence[str], life: str, *, after: int | None, tokens: bool) -> AsyncGenerator[bytes]:
    with services.management.events.following(tokens=tokens, after=after) as events:
        yield f": connected\nretry: {RETRY_MILLISECONDS}\n\n".encode()  # from here on nothing is missed
        async for numbered in events:
            if not names or getattr(numbered.event, "model", None) in names:
                yield _chunk(numbered, life)


def _chunk(numbered: Numbered, life: str) -> bytes:
    place = b"" if numbered.number is None else f"id: {life}-{numbered.number}\n".encode()
    return place + f"event: {numbered.event.name}\ndata: ".encode() + msgspec.json.encode(event_document(numbered.event)) + b"\n\n"


def event_document(event: Event) -> dict[str, object]:
    """An event as JSON: its name as `event`, and its fields."""
    return {"event": event.name, **asdict(event)}


def _number(text: str, life: str) -> int:
    its_life, _, number = text.strip().rpartition("-")
    return int(number) if its_life == life and number.isdecimal() and len(number) < 19 else 0


def _tell_end(error: Exception) -> bytes:
    """The end of the server is the end of the stream: clients come back by themselves."""
    return b"" if isinstance(error, Cancelled) else b"event: error\ndata: " + error_document(error) + b"\n\n"


_STYLE = StreamStyle(keepalive=b": keepalive\n\n", error=_tell_end)
