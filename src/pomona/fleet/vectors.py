"""Texts to vectors and documents to scores: the text side before an engine that makes them."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import ContextOverflow, EngineFailed, InvalidRequest, UnsupportedField
from pomona.core.generation import GenerateEvent, GenerateRequest
from pomona.core.status import ModelFacts, Task
from pomona.core.vectors import Embeddings, EmbedRequest, Ranking, RerankRequest, VectorKind
from pomona.engine.protocol import Encoded, TextInput
from pomona.models.encoders.layout import VectorLayout, read_layout
from pomona.models.validation import inspect_folder
from pomona.text.pairs.inputs import Input, Inputs
from pomona.text.tokenizer_loading import load_fast_tokenizer

Floats = NDArray[np.floating]
PROMPT_NAMES: dict[VectorKind, tuple[str, ...]] = {
    "query": ("query", "search_query"),
    "document": ("document", "passage", "corpus", "search_document"),
}
"""What models call their instructions for each kind, first those that sentence-transformers looks for."""
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
JUDGE_OPENING = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
JUDGE_CLOSING = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
"""The prompt of Qwen3-Reranker, from its model card."""


class VectorSource(Protocol):
    """An engine that makes vectors: `pomona.fleet.survival.supervisor.Supervisor`."""

    def place(self) -> AbstractAsyncContextManager[ModelFacts]:
        """A place for one request, once the model is loaded."""
        ...

    async def encode(self, texts: Sequence[TextInput]) -> Encoded:
        """A vector or score of each text."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a model for vectors reads its inputs."""

    inputs: Inputs
    layout: VectorLayout
    instructed: bool
    """Documents are put into the prompt of Qwen3-Reranker."""


def load_reading(folder: Path, task: Task) -> Reading:
    """Read the tokenizer and layout of `folder`. Raises ModelUnusable."""
    facts = inspect_folder(folder)
    layout = read_layout(folder, facts.config, task)
    fast = load_fast_tokenizer(folder)
    closing = None
    if layout.causal and "lasttoken" in layout.pooling and not fast.num_special_tokens_to_add(False) and facts.model_type == "qwen3":
        end = facts.config.get("eos_token_id")  # Qwen3-Embedding pools it; early and converted tokenizers leave it out
        closing = end if isinstance(end, int) else None
    inputs = Inputs(fast, lower_case=layout.lower_case, closing=closing)
    return Reading(inputs=inputs, layout=layout, instructed=task == "rerank" and layout.causal)


class ModelEmbedder:
    """An Embedder for one model. Texts are tokenised in `pool`."""

    def __init__(self, reading: Reading, engine: VectorSource, pool: Executor) -> None:
        self._reading = reading
        self._engine = engine
        self._pool = pool

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """One vector per input. Raises ContextOverflow and InvalidRequest naming the input, EngineFailed where no numbers came out."""
        async with self._engine.place() as facts:
            check_dimensions(request, facts.dimensions)
            loop = asyncio.get_running_loop()
            texts = await loop.run_in_executor(self._pool, partial(self._read, request, facts))
            encoded = await self._engine.encode(texts)
            dimensions = request.dimensions or encoded.width
            data = await loop.run_in_executor(self._pool, partial(shortened, encoded, dimensions, request.model))
        return Embeddings(data=data, dimensions=dimensions, prompt_tokens=sum(len(text.token_ids) for text in texts))

    def _read(self, request: EmbedRequest, facts: ModelFacts) -> list[TextInput]:
        layout, inputs = self._reading.layout, self._reading.inputs
        prompt = self._prompt(request.kind)
        leading = inputs.leading(prompt) if prompt and not layout.include_prompt else 0
        texts = [prompt + each for each in request.inputs if isinstance(each, str)]
        read = iter(inputs.texts(texts, facts.max_context))
        found = [next(read) if isinstance(each, str) else _given(each, index, facts) for index, each in enumerate(request.inputs)]
        return [
            _checked(each, f"input[{index}]", facts.max_context, truncate=request.truncate, prompt=leading)
            for index, each in enumerate(found)
        ]

    def _prompt(self, kind: VectorKind | None) -> str:
        layout = self._reading.layout
        names = PROMPT_NAMES[kind] if kind else (layout.default_prompt or "",)
        return next((layout.prompts[name] for name in names if name in layout.prompts), "")


class ModelReranker:
    """A Reranker for one model. Pairs are tokenised in `pool`."""

    def __init__(self, reading: Reading, engine: VectorSource, pool: Executor) -> None:
        self._reading = reading
        self._engine = engine
        self._pool = pool

    async def rerank(self, request: RerankRequest) -> Ranking:
        """One score per document. Raises ContextOverflow naming the document, EngineFailed where no numbers came out."""
        async with self._engine.place() as facts:
            read = partial(self._read, request, facts.max_context)
            texts = await asyncio.get_running_loop().run_in_executor(self._pool, read)
            encoded = await self._engine.encode(texts)
        scores = relevance(numbers_of(encoded, "documents", request.model)[:, 0])
        return Ranking(scores=tuple(scores.tolist()), prompt_tokens=sum(len(text.token_ids) for text in texts))

    def _read(self, request: RerankRequest, limit: int) -> list[TextInput]:
        if request.instruction and not self._reading.instructed:
            raise UnsupportedField(
                f"instruction = {request.instruction!r}: the model {request.model!r} takes none. Leave it out.", param="instruction"
            )
        if self._reading.instructed:
            found = self._judged(request, limit)
        else:
            found = self._reading.inputs.pairs(request.query, request.documents, limit, request.max_document_tokens)
        return [
            _checked(each, f"documents[{index}]", limit, truncate=request.truncate, why=", the query included")
            for index, each in enumerate(found)
        ]

    def _judged(self, request: RerankRequest, limit: int) -> list[Input]:
        """Documents in the prompt of Qwen3-Reranker; what is too long is cut before the prompt's end."""
        plain = self._reading.inputs.plain
        opening, closing = plain(JUDGE_OPENING), plain(JUDGE_CLOSING)
        room, most = max(limit - len(opening) - len(closing), 0), request.max_document_tokens
        before = f"<Instruct>: {request.instruction or INSTRUCTION}\n<Query>: {request.query}\n<Document>: "
        found: list[Input] = []
        for document in request.documents:
            ids = plain(before + document)
            kept = ids if most is None else ids[: len(plain(before)) + most]
            whole = len(opening) + len(kept) + len(closing)
            found.append(Input(ids=[*opening, *kept[:room], *closing], whole_tokens=whole))
        return found


class NoWords:
    """The Generator of a model that writes no text."""

    def __init__(self, model: str, task: Task) -> None:
        self._model = model
        self._task = task

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateEvent]:
        """Raises UnsupportedField."""
        does = (
            "makes embeddings; ask for them at /v1/embeddings" if self._task == "embed" else "ranks documents; ask for that at /v1/rerank"
        )
        raise UnsupportedField(
            f"The model {self._model!r} writes no text: it {does}. GET /v1/models shows what each model does.", param="model"
        )
        yield  # pyright: ignore[reportUnreachable] # makes this an iterator


def check_dimensions(request: EmbedRequest, available: int) -> None:
    """Raise InvalidRequest for more dimensions than the vectors have."""
    if request.dimensions is not None and not 0 < request.dimensions <= available:
        raise InvalidRequest(
            f"dimensions = {request.dimensions}: the vectors of {request.model!r} have {available}. Ask for 1 to {available}, or for none.",
            param="dimensions",
        )


def numbers_of(encoded: Encoded, field: str, model: str) -> Floats:
    """(texts, width). Raises EngineFailed for infinite numbers and those that are none, naming the text by its place in `field`."""
    numbers = np.frombuffer(encoded.data, "<f4").reshape(-1, encoded.width)
    sound = np.isfinite(numbers).all(axis=1)
    if not sound.all():
        place = f"{field}[{int(sound.argmin())}]"
        raise EngineFailed(f"{model!r} made no finite numbers of {place}: its weights are damaged, or too large for their type.")
    return numbers


def relevance(logits: Floats) -> Floats:
    """The sigmoid, in float64: in float32 all logits above 17 would be as relevant as each other."""
    return np.exp(-np.logaddexp(0.0, -logits.astype(np.float64)))


def shortened(encoded: Encoded, dimensions: int, model: str) -> bytes:
    """The first `dimensions` numbers of each vector, of length 1 again; as it came where that is all of them. Raises EngineFailed."""
    numbers = numbers_of(encoded, "input", model)
    if dimensions == encoded.width:
        return encoded.data
    cut = numbers[:, :dimensions]
    lengths = np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), np.float32(1e-12))
    return (cut / lengths).astype("<f4").tobytes()


def _given(ids: tuple[int, ...], index: int, facts: ModelFacts) -> Input:
    """Ids as they came, special tokens or not."""
    if not ids:
        raise InvalidRequest(f"input[{index}] has no tokens. Give at least one.", param=f"input[{index}]")
    wrong = next((each for each in ids if not 0 <= each < facts.vocabulary), None)
    if wrong is not None:
        raise InvalidRequest(
            f"input[{index}] holds the id {wrong!r}; this model's ids go from 0 to {facts.vocabulary - 1}. Clients that tokenise "
            "for OpenAI's models must be told to send text (LangChain: check_embedding_ctx_length=False).",
            param=f"input[{index}]",
        )
    return Input(ids=list(ids[: facts.max_context]), whole_tokens=len(ids))


def _checked(read: Input, place: str, limit: int, *, truncate: bool, prompt: int = 0, why: str = "") -> TextInput:
    if read.whole_tokens > limit and not truncate:
        raise ContextOverflow(
            f"{place} has {read.whole_tokens} tokens{why}; this model takes {limit}. Shorten it, or set truncate to true.",
            param=place,
            tokens=read.whole_tokens,
            limit=limit,
        )
    return TextInput(read.ids, read.second, min(prompt, len(read.ids) - 1))
