"""A model that makes vectors or scores, in memory: one call is one pass over a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pomona.core.status import Task
from pomona.models.encoders.batch import Batch, TextIds
from pomona.models.encoders.pooling import Pooling

Floats = np.ndarray[tuple[int, int], np.dtype[np.float32]]


class Encoder(Protocol):
    """What all architectures offer."""

    def __call__(self, batch: Batch) -> mx.array:
        """The last hidden states, (tokens, width)."""
        ...

    def score(self, hidden: mx.array, batch: Batch) -> mx.array:
        """(texts,): the logit of each text; only of models with a head."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorModel:
    """Made by `loading.load_vector_model`. `width` is that of its vectors, 1 for a reranker; `max_context` and `vocabulary` in tokens."""

    task: Task
    encoder: Encoder
    pooling: Pooling | None
    architecture: str
    width: int
    max_context: int
    vocabulary: int
    weight_bytes: int
    warnings: tuple[str, ...] = ()

    def encode(self, texts: Sequence[TextIds]) -> Floats:
        """(texts, width): a vector of each text, or the logit of its relevance."""
        batch = Batch(texts)
        hidden = self.encoder(batch)
        if self.pooling is not None:
            return _floats(self.pooling(hidden, batch))
        return _floats(self.encoder.score(hidden, batch).astype(mx.float32)[:, None])


def _floats(x: mx.array) -> Floats:
    return cast("Floats", np.array(x, np.float32))


def modules_of(encoder: Any, pooling: Pooling | None) -> nn.Module:
    """Both as one module, for what is done to all weights."""
    both = nn.Module()
    both.encoder = encoder
    if pooling is not None:
        both.pooling = pooling
    return both
