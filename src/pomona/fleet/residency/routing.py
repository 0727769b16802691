"""Requests take a lease on their model and hand themselves to it."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

from pomona.core.errors import UnsupportedField
from pomona.core.generation import GenerateEvent, GenerateRequest, Priority, TokenText
from pomona.core.ports import RenderedPrompt, Tokenization
from pomona.core.vectors import Embeddings, EmbedRequest, Ranking, RerankRequest
from pomona.fleet.residency.pool import ResidentPool

Admit = Callable[[Priority], Awaitable[None]]
"""Lets a request in, keeps it waiting, or refuses it, as memory allows."""


class PooledGenerator:
    """A Generator that answers with whatever model a request names, loading it where needed."""

    def __init__(self, pool: ResidentPool, admit: Admit) -> None:
        self._pool = pool
        self._admit = admit

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateEvent]:
        """Answer `request`. Raises as `ResidentPool.lease` does, and what the model's own generator raises."""
        if request.trace:
            request.trace.enter("load")
        await self._admit(request.priority)
        async with (
            self._pool.lease(request.model, keep_alive_seconds=request.keep_alive_seconds) as resident,
            aclosing(resident.generator.generate(request)) as events,
        ):
            async for event in events:
                yield event


class PooledTokenization:
    """A Tokenization for every model of the directory. Nothing is loaded into an engine for it: words need none."""

    def __init__(self, words: Callable[[str], Awaitable[Tokenization]]) -> None:
        self._words = words

    async def render(self, request: GenerateRequest) -> RenderedPrompt:
        """As its model renders it."""
        return await (await self._words(request.model)).render(request)

    async def encode(self, model: str, text: str, *, special_tokens: bool = True) -> list[TokenText]:
        """As `model` reads it."""
        return await (await self._words(model)).encode(model, text, special_tokens=special_tokens)

    async def decode(self, model: str, token_ids: Sequence[int]) -> str:
        """As `model` writes it."""
        return await (await self._words(model)).decode(model, token_ids)


class PooledEmbedder:
    """An Embedder that loads the model which a request names."""

    def __init__(self, pool: ResidentPool, admit: Admit) -> None:
        self._pool = pool
        self._admit = admit

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """One vector per input. Raises UnsupportedField for a model that makes none."""
        await self._admit("normal")
        async with self._pool.lease(request.model, keep_alive_seconds=request.keep_alive_seconds) as resident:
            if resident.embedder is None:
                raise _other_task(request.model, "makes no embeddings")
            return await resident.embedder.embed(request)


class PooledReranker:
    """A Reranker that loads the model which a request names."""

    def __init__(self, pool: ResidentPool, admit: Admit) -> None:
        self._pool = pool
        self._admit = admit

    async def rerank(self, request: RerankRequest) -> Ranking:
        """One score per document. Raises UnsupportedField for a model that gives none."""
        await self._admit("normal")
        async with self._pool.lease(request.model, keep_alive_seconds=request.keep_alive_seconds) as resident:
            if resident.reranker is None:
                raise _other_task(request.model, "ranks no documents")
            return await resident.reranker.rerank(request)


def _other_task(model: str, what: str) -> UnsupportedField:
    return UnsupportedField(f"The model {model!r} {what}. GET /v1/models shows what each model does.", param="model")
