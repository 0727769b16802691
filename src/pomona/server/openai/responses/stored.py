"""GET and DELETE /v1/responses/{id}, POST /v1/responses/{id}/cancel, GET /v1/responses/{id}/input_items."""

from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any, Literal, cast

import msgspec
from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from pomona.core.errors import InvalidRequest, NotFound
from pomona.server.access.visits import caller_of
from pomona.server.openai.pages import page
from pomona.server.openai.responses.background import Jobs
from pomona.server.openai.responses.create import follow
from pomona.server.openai.responses.reading.context import to_json
from pomona.server.openai.responses.store import ResponseStore, StoredResponse
from pomona.server.services import Services


class Keeping:
    """The resource of responses that are kept or in the making. Each caller sees only its own."""

    def __init__(self, services: Services, store: ResponseStore, jobs: Jobs) -> None:
        self._services = services
        self._store = store
        self._jobs = jobs

    async def show_response(self, request: Request, response_id: str, stream: bool = False, starting_after: int = -1) -> Response:
        """The response as it stands, or the events of one made in the background."""
        caller = caller_of(request.scope).id
        job = self._jobs.find(caller, response_id)
        if job is not None:
            return follow(self._services, job.follow(starting_after)) if stream else _json(job.production.composer.document.encode())
        found = self._find(caller, response_id)
        if not stream:
            return _json(found.document)
        if found.events is None:
            raise InvalidRequest(
                f"The response {response_id!r} was not made in the background, so its events were not kept. Ask for it without stream.",
                param="stream",
            )
        return follow(self._services, _replay(found.events[max(starting_after + 1, 0) :]))

    async def delete_response(self, request: Request, response_id: str) -> Response:
        """Forget a response. One that is being made is stopped."""
        caller = caller_of(request.scope).id
        job = self._jobs.find(caller, response_id)
        if job is not None:
            await self._jobs.cancel(job)
        if not self._store.drop(caller, response_id) and job is None:
            raise _unknown(response_id)
        return _json(to_json({"id": response_id, "object": "response", "deleted": True}))

    async def cancel_response(self, request: Request, response_id: str) -> Response:
        """Stop a response that is being made in the background. One that has ended stays as it is."""
        caller = caller_of(request.scope).id
        job = self._jobs.find(caller, response_id)
        if job is not None:
            await self._jobs.cancel(job)
            return _json(job.production.composer.document.encode())
        found = self._find(caller, response_id)
        if found.events is None:
            raise InvalidRequest(f"The response {response_id!r} was not made in the background; only such ones can be cancelled.")
        return _json(found.document)

    async def list_input_items(
        self,
        request: Request,
        response_id: str,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
    ) -> Response:
        """What the response was made from, a page at a time."""
        caller = caller_of(request.scope).id
        job = self._jobs.find(caller, response_id)
        if job is not None:
            items = job.production.call.input
        else:
            items = cast("list[dict[str, Any]]", msgspec.json.decode(self._find(caller, response_id).input))
        ordered = items if order == "asc" else items[::-1]
        missing = InvalidRequest(f"after = {after!r} is not the id of an item of this response.", param="after")
        return _json(to_json(page(ordered, after=after, limit=limit, missing=missing)))

    def _find(self, caller: str, response_id: str) -> StoredResponse:
        found = self._store.find(caller, response_id)
        if found is None or found.id != response_id:
            raise _unknown(response_id)
        return found


def _unknown(response_id: str) -> NotFound:
    return NotFound(f"There is no response {response_id!r} here: it was not stored, deleted, or too old.", param="response_id")


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


async def _replay(events: Sequence[bytes]) -> AsyncGenerator[bytes]:
    for event in events:
        yield event
