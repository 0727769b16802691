"""Texts to vectors, and documents to scores."""

from dataclasses import dataclass
from typing import Literal

VectorKind = Literal["query", "document"]
CPU_PASS_TOKENS = 1024
"""On CPUs larger passes are not faster per token, and whoever comes meanwhile waits longer."""


def pass_tokens(batch_tokens: int, *, cpu: bool) -> int:
    """Most tokens of one pass, where the setting is `batch_tokens`; a single longer text is one all the same."""
    return min(batch_tokens, CPU_PASS_TOKENS) if cpu else batch_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedRequest:
    """Texts, or ids, to be turned into one vector each."""

    id: str
    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    kind: VectorKind | None = None
    """Models that were trained with an instruction for queries or documents get it; None: the text as it is."""
    dimensions: int | None = None
    """Keep only the first so many dimensions, normalised again (Matryoshka); None: all."""
    truncate: bool = False
    """Cut inputs that are longer than the model's context instead of refusing them."""
    caller: str = ""
    keep_alive_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """One vector per input, in order. `data` is (inputs, dimensions), float32, little-endian, row by row."""

    data: bytes
    dimensions: int
    prompt_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankRequest:
    """Documents to be scored against a query."""

    id: str
    model: str
    query: str
    documents: tuple[str, ...]
    instruction: str | None = None
    """What relevance means, for models that take it in words."""
    truncate: bool = True
    """Cut documents that are longer than the model's context instead of refusing them."""
    max_document_tokens: int | None = None
    """Cut every document behind so many of its tokens; None: none for that."""
    caller: str = ""
    keep_alive_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """`scores[i]` is the relevance of document i, between 0 and 1."""

    scores: tuple[float, ...]
    prompt_tokens: int

    def order(self) -> list[int]:
        """Documents by index, the most relevant first; equal ones as they came."""
        return sorted(range(len(self.scores)), key=lambda index: -self.scores[index])
