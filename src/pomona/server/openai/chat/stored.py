"""Chat completions that are kept: list, retrieve, update, delete, and the messages that they answer."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from pomona.core.errors import NotFound
from pomona.server.access.visits import caller_of
from pomona.server.bodies import WireBody, read_body
from pomona.server.describing import described
from pomona.server.openai.chat.store import ChatStore, Kept
from pomona.server.openai.pages import page
from pomona.server.openai.wire import ChatCompletion, ChatCompletionRequest, MessageBody

PATH = "/v1/chat/completions"
Limit = Annotated[int, Query(ge=1, le=100)]
Order = Literal["asc", "desc"]
_METADATA = "metadata["


class UpdateRequest(WireBody):
    """The body of POST /v1/chat/completions/{id}: new metadata in place of the old."""

    metadata: dict[str, str] | None


class Page(WireBody):
    """Part of a list."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(WireBody):
    """What was deleted."""

    id: str
    object: Literal["chat.completion.deleted"]
    deleted: bool


def stored_routes(store: ChatStore) -> APIRouter:
    """The routes of this resource."""
    routes = APIRouter(tags=["chat"])

    @routes.get(PATH, summary="List the answers that are kept", response_model=None, openapi_extra=described(answer=Page))
    async def list_kept(
        request: Request, after: str | None = None, limit: Limit = 20, order: Order = "asc", model: str | None = None
    ) -> Response:
        wanted = {
            name.removeprefix(_METADATA).removesuffix("]"): value
            for name, value in request.query_params.items()
            if name.startswith(_METADATA)
        }
        found = [kept for kept in store.all(account_of(request)) if model in (None, kept.model) and kept.metadata.items() >= wanted.items()]
        return _json(_page([kept.document for kept in found], after, limit, order))

    one = PATH + "/{completion_id}"

    @routes.get(one, summary="Show an answer that is kept", response_model=None, openapi_extra=described(answer=ChatCompletion))
    async def show_kept(request: Request, completion_id: str) -> Response:
        return _json(store.find(account_of(request), completion_id).document)

    update = described(body=UpdateRequest, answer=ChatCompletion)

    @routes.post(one, summary="Give an answer that is kept other metadata", response_model=None, openapi_extra=update)
    async def update_kept(request: Request, completion_id: str) -> Response:
        body = await read_body(request, UpdateRequest)
        return _json(store.relabel(account_of(request), completion_id, body.metadata or {}).document)

    @routes.delete(one, summary="Forget an answer", response_model=None, openapi_extra=described(answer=Deleted))
    async def delete_kept(request: Request, completion_id: str) -> Response:
        store.drop(account_of(request), completion_id)
        return _json({"id": completion_id, "object": "chat.completion.deleted", "deleted": True})

    @routes.get(one + "/messages", summary="List what an answer answers", response_model=None, openapi_extra=described(answer=Page))
    async def list_messages(
        request: Request, completion_id: str, after: str | None = None, limit: Limit = 20, order: Order = "asc"
    ) -> Response:
        return _json(_page(store.find(account_of(request), completion_id).messages, after, limit, order))

    del list_kept, show_kept, update_kept, delete_kept, list_messages
    return routes


def account_of(request: Request) -> str:
    """Whose answers a request may see."""
    return caller_of(request.scope).account


def kept_of(request: Request, body: ChatCompletionRequest, document: Mapping[str, object]) -> Kept:
    """What is kept of an answer to `body`."""
    answer_id = str(document["id"])
    messages = [_message(message, f"{answer_id}-{index}") for index, message in enumerate(body.messages)]
    metadata = {key: value for key, value in (body.metadata or {}).items() if isinstance(value, str)}
    size_bytes = len(msgspec.json.encode([document, messages]))
    return Kept(
        id=answer_id,
        account=account_of(request),
        model=body.model,
        document={**document, "metadata": metadata},
        messages=messages,
        size_bytes=size_bytes,
        metadata=metadata,
    )


def _message(message: MessageBody, message_id: str) -> dict[str, object]:
    parts = None if message.content is None or isinstance(message.content, str) else message.content
    text = message.content if parts is None else "".join(part.text or part.refusal or "" for part in parts)
    known = message.model_dump(
        include={"role", "name", "reasoning_content", "tool_calls", "tool_call_id", "function_call"}, exclude_none=True
    )
    shown = None if parts is None else [part.model_dump(exclude_none=True) for part in parts]
    return {"id": message_id, **known, "content": text, "content_parts": shown}


def _page(documents: Sequence[Mapping[str, object]], after: str | None, limit: int, order: Order) -> dict[str, object]:
    ordered = documents if order == "asc" else documents[::-1]
    missing = NotFound(f"after = {after!r} is not in this list. Use the last_id of the page before.", param="after")
    return page(ordered, after=after, limit=limit, missing=missing)


def _json(document: object) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json")
