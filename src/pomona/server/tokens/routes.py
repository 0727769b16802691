"""POST /tokenize, /detokenize and /apply-template, also under /v1."""

from collections.abc import Mapping, Sequence

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from pomona.core.errors import ModelNotFound
from pomona.core.generation import GenerateRequest, TokenText
from pomona.core.ports import RenderedPrompt
from pomona.core.status import ModelCard
from pomona.server.answering import count_request
from pomona.server.bodies import read_body
from pomona.server.describing import described
from pomona.server.openai.call import new_id
from pomona.server.openai.chat.decode import decode_chat
from pomona.server.openai.wire import ChatCompletionRequest, MessageBody
from pomona.server.services import Services
from pomona.server.tokens.wire import (
    ApplyTemplateRequest,
    Detokenized,
    DetokenizeRequest,
    TemplateApplied,
    TemplateBody,
    Tokenized,
    TokenizeRequest,
)

MESSAGES = {"messages": [{"role": "user", "content": "Say hello."}]}


def token_routes(services: Services) -> APIRouter:
    """The routes of this resource."""
    routes = APIRouter(tags=["tokens"])
    resource = _Tokens(services)
    table: tuple[tuple[str, object, str, type[BaseModel], type[BaseModel], Mapping[str, object]], ...] = (
        ("/tokenize", resource.tokenize, "Turn text or a conversation into tokens", TokenizeRequest, Tokenized, {"prompt": "hello"}),
        ("/detokenize", resource.detokenize, "Turn tokens into text", DetokenizeRequest, Detokenized, {"tokens": [1, 2]}),
        ("/apply-template", resource.apply_template, "Show the prompt of a conversation", ApplyTemplateRequest, TemplateApplied, MESSAGES),
    )
    for path, endpoint, summary, body, answer, example in table:
        for prefix in ("", "/v1"):
            routes.add_api_route(
                prefix + path,
                endpoint,  # pyright: ignore[reportArgumentType]
                methods=["POST"],
                response_model=None,
                summary=summary,
                openapi_extra=described(body=body, answer=answer, example={"model": "", **example}),
            )
    return routes


class _Tokens:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._directory = services.directory
        self._tokenization = services.tokenization

    async def tokenize(self, request: Request) -> Response:
        count_request(self._services, request)
        body = await read_body(request, TokenizeRequest)
        card = self._card(body.model)
        ids, tokens = await self._tokens(body, card)
        if body.with_pieces:
            shown: object = [{"id": token.token_id, "piece": _piece(token)} for token in tokens]
        else:
            shown = ids
        strings = [token.text for token in tokens] if body.return_token_strs else None
        return _json({"count": len(ids), "max_model_len": card.max_context, "tokens": shown, "token_strs": strings})

    async def detokenize(self, request: Request) -> Response:
        count_request(self._services, request)
        body = await read_body(request, DetokenizeRequest)
        text = await self._tokenization.decode(self._card(body.model).id, body.tokens)
        return _json({"prompt": text, "content": text})

    async def apply_template(self, request: Request) -> Response:
        count_request(self._services, request)
        body = await read_body(request, ApplyTemplateRequest)
        card = self._card(body.model)
        rendered = await self._render(body, body.messages, card)
        return _json({"prompt": rendered.text or "", "count": len(rendered.token_ids), "max_model_len": card.max_context})

    def _card(self, name: str | None) -> ModelCard:
        if name is not None:
            return self._directory.find(name)
        cards = self._directory.models()
        if not cards:
            raise ModelNotFound("There is no model here. Start the server with one.", param="model")
        return cards[0]

    async def _tokens(self, body: TokenizeRequest, card: ModelCard) -> tuple[list[int], Sequence[TokenText]]:
        """The ids, and the tokens where their texts are wanted."""
        if body.messages is None:
            if body.tools:
                _request(body, [MessageBody.model_validate({"role": "user", "content": ""})], card)  # checks them
            asked = body.add_special_tokens if body.add_special_tokens is not None else body.add_special
            special = body.prompt is not None if asked is None else asked
            tokens = await self._tokenization.encode(card.id, body.prompt or body.content or "", special_tokens=special)
            return [token.token_id for token in tokens], tokens
        rendered = await self._render(body, body.messages, card)
        texts = await self._texts(card.id, rendered) if body.with_pieces or body.return_token_strs else ()
        return list(rendered.token_ids), texts

    async def _texts(self, model: str, rendered: RenderedPrompt) -> Sequence[TokenText]:
        """The texts of a prompt's tokens: from the prompt as a whole, or one by one where that splits it differently."""
        tokens = await self._tokenization.encode(model, rendered.text or "", special_tokens=False)
        if [token.token_id for token in tokens] == list(rendered.token_ids):
            return tokens
        texts = [await self._tokenization.decode(model, [each]) for each in rendered.token_ids]
        return [
            TokenText(token_id=each, text=text, bytes=text.encode(), logprob=0.0)
            for each, text in zip(rendered.token_ids, texts, strict=True)
        ]

    async def _render(self, body: TemplateBody, messages: list[MessageBody], card: ModelCard) -> RenderedPrompt:
        return await self._tokenization.render(_request(body, messages, card))


def _request(body: TemplateBody, messages: list[MessageBody], card: ModelCard) -> GenerateRequest:
    """The request that a chat completion with the same fields would be."""
    fields = {name: getattr(body, name) for name in TemplateBody.model_fields if name not in {"model", "add_generation_prompt"}}
    chat = ChatCompletionRequest.model_validate({**fields, "model": card.id, "messages": messages})
    return decode_chat(chat, new_id("tokens"), card).requests[0]


def _piece(token: TokenText) -> str | list[int]:
    try:
        return token.bytes.decode()
    except UnicodeDecodeError:
        return list(token.bytes)


def _json(document: object) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json")
