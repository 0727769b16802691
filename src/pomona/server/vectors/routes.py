"""POST /v1/embeddings; POST /v1/rerank, also under /rerank and /v2/rerank."""

import asyncio
from functools import partial
from typing import cast

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from pomona.core.errors import InvalidRequest
from pomona.core.generation import GenerateRequest
from pomona.core.ports import Embedder, Reranker
from pomona.core.settings import VectorsSettings
from pomona.core.vectors import Embeddings, EmbedRequest, Ranking, RerankRequest, VectorKind
from pomona.server.bodies import keep_alive_seconds, read_body
from pomona.server.describing import described
from pomona.server.openai.call import new_id
from pomona.server.services import Services, find_for
from pomona.server.vectors.answers import embeddings_document, rerank_document
from pomona.server.vectors.calling import call
from pomona.server.vectors.wire import EmbeddingList, EmbeddingRequest, RerankBody, Reranked

EMBEDDINGS, RERANK = "embeddings", "rerank"
_KINDS: dict[str, VectorKind] = {
    "query": "query",
    "search_query": "query",
    "document": "document",
    "search_document": "document",
    "passage": "document",
}
_EMBED_EXAMPLE = {"model": "embed", "input": ["The sky is blue."]}
_RERANK_EXAMPLE = {"model": "rerank", "query": "What colour is the sky?", "documents": ["The sky is blue.", "Grass is green."]}


def vector_routes(services: Services, embedder: Embedder, reranker: Reranker) -> APIRouter:
    """The routes of both resources."""
    routes = APIRouter(tags=["vectors"])
    resource = _Vectors(services, embedder, reranker)
    routes.add_api_route(
        "/v1/embeddings",
        resource.embed,
        methods=["POST"],
        response_model=None,
        summary="Turn texts into vectors",
        openapi_extra=described(body=EmbeddingRequest, answer=EmbeddingList, errors=(422,), example=_EMBED_EXAMPLE),
    )
    for path in ("/v1/rerank", "/v2/rerank", "/rerank"):
        routes.add_api_route(
            path,
            resource.rerank,
            methods=["POST"],
            response_model=None,
            summary="Order documents by their relevance to a query",
            openapi_extra=described(body=RerankBody, answer=Reranked, errors=(422,), example=_RERANK_EXAMPLE),
        )
    return routes


class _Vectors:
    def __init__(self, services: Services, embedder: Embedder, reranker: Reranker) -> None:
        self._services = services
        self._embedder = embedder
        self._reranker = reranker

    async def embed(self, request: Request) -> Response:
        call_id = new_id("embd")
        with self._services.recorder.refusals(EMBEDDINGS, call_id):
            body = await read_body(request, EmbeddingRequest)
            card = find_for(self._services.directory, body.model, "embed")
            asked = _embed_request(body, call_id, card.id, self._services.settings.vectors)

        async def work(caller: str) -> tuple[Embeddings, int]:
            made = await self._embedder.embed(asked(caller=caller))
            return made, made.prompt_tokens

        made = await call(self._services, request, EMBEDDINGS, _standing_in(call_id, card.id, asked().inputs), work)
        return await _answered(partial(embeddings_document, made, body.model, body.encoding_format or "float"))

    async def rerank(self, request: Request) -> Response:
        call_id = new_id("rerank")
        with self._services.recorder.refusals(RERANK, call_id):
            body = await read_body(request, RerankBody)
            card = find_for(self._services.directory, body.model, "rerank")
            asked = _rerank_request(body, call_id, card.id, self._services.settings.vectors)

        async def work(caller: str) -> tuple[Ranking, int]:
            ranking = await self._reranker.rerank(asked(caller=caller))
            return ranking, ranking.prompt_tokens

        documents = asked().documents
        read = _standing_in(call_id, card.id, tuple(text for document in documents for text in (body.query, document)))
        ranking = await call(self._services, request, RERANK, read, work)
        given_back = documents if body.return_documents else None
        return await _answered(partial(rerank_document, ranking, call_id, body.model, body.top_n, given_back))


def _embed_request(body: EmbeddingRequest, call_id: str, model: str, settings: VectorsSettings) -> "partial[EmbedRequest]":
    """The request, but for its caller. Raises InvalidRequest."""
    inputs = _inputs_of(body)
    if len(inputs) > settings.max_inputs:
        raise InvalidRequest(
            f"input holds {len(inputs)} texts; one request takes {settings.max_inputs} (vectors.max_inputs). Send several.", param="input"
        )
    return partial(
        EmbedRequest,
        id=call_id,
        model=model,
        inputs=inputs,
        kind=_KINDS[body.input_type] if body.input_type else None,
        dimensions=body.dimensions,
        truncate=bool(body.truncate),
        keep_alive_seconds=keep_alive_seconds(body.keep_alive),
    )


def _inputs_of(body: EmbeddingRequest) -> tuple[str | tuple[int, ...], ...]:
    """The inputs, in whichever of the four forms they came."""
    if isinstance(body.input, str):
        return (body.input,)
    if isinstance(body.input[0], int):
        return (tuple(cast("list[int]", body.input)),)
    return tuple(each if isinstance(each, str) else tuple(cast("list[int]", each)) for each in body.input)


def _rerank_request(body: RerankBody, call_id: str, model: str, settings: VectorsSettings) -> "partial[RerankRequest]":
    """The request, but for its caller. Raises InvalidRequest."""
    if len(body.documents) > settings.max_documents:
        raise InvalidRequest(
            f"documents holds {len(body.documents)}; one request takes {settings.max_documents} (vectors.max_documents). Send several.",
            param="documents",
        )
    return partial(
        RerankRequest,
        id=call_id,
        model=model,
        query=body.query,
        documents=tuple(each if isinstance(each, str) else each.text for each in body.documents),
        instruction=body.instruction or None,
        truncate=body.truncate is not False,
        max_document_tokens=body.max_tokens_per_doc,
        keep_alive_seconds=keep_alive_seconds(body.keep_alive),
    )


def _standing_in(call_id: str, model: str, inputs: tuple[str | tuple[int, ...], ...]) -> GenerateRequest:
    """What limits and records know requests by: as long as all inputs together, with nothing to write."""
    ids = tuple(token for each in inputs if not isinstance(each, str) for token in each)
    text = None if ids else "".join(each for each in inputs if isinstance(each, str))
    return GenerateRequest(id=call_id, model=model, text=text, token_ids=ids or None, max_tokens=0)


async def _answered(document: "partial[bytes]") -> Response:
    """Encoded in a thread: two thousand vectors are tens of megabytes of JSON."""
    body = await asyncio.to_thread(document)
    return Response(body, media_type="application/json")
