"""From the hidden states of tokens to one vector per text, as sentence-transformers' modules do it."""

from typing import cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from pomona.core.errors import ModelUnusable
from pomona.models.encoders.batch import Batch
from pomona.models.encoders.layout import DenseStep, PoolingMode, VectorLayout
from pomona.models.encoders.nodes import Block
from pomona.models.encoders.operations import Operations

LEAST = 1e-9
"""Where nothing is left to average, divide by this (sentence-transformers)."""


class Pooling(Block):
    """The steps behind the encoder: `modes` side by side, linear layers, length 1."""

    def __init__(self, layout: VectorLayout, width: int) -> None:
        super().__init__()
        self._modes = layout.pooling
        self._include_prompt = layout.include_prompt
        self._normalize = layout.normalize
        self.dense = [nn.Linear(step.inputs, step.outputs, bias=step.bias) for step in layout.dense]
        self._activations = [Operations().activation(step.activation) for step in layout.dense]
        self.width = layout.dense[-1].outputs if layout.dense else width * len(layout.pooling)
        expected = width * len(layout.pooling)
        for step in layout.dense:
            if step.inputs != expected:
                raise ModelUnusable(f"The file {str(step.folder / 'config.json')!r} takes in {step.inputs} numbers, and gets {expected}.")
            expected = step.outputs

    def __call__(self, hidden: mx.array, batch: Batch) -> mx.array:
        """(tokens, width) to (texts, width of the vectors), float32."""
        hidden = hidden.astype(mx.float32)
        x = mx.concatenate([self._pool(mode, hidden, batch) for mode in self._modes], axis=-1)
        for dense, activate in zip(self.dense, self._activations, strict=True):
            x = activate(dense(x))
        return normalized(x) if self._normalize else x

    def load(self, step: int, folder: DenseStep) -> None:
        """Read the weights of a linear layer. Raises ModelUnusable."""
        path = folder.folder / "model.safetensors"
        try:
            weights = cast("dict[str, mx.array]", mx.load(str(path)))
            named = [(name.removeprefix("linear."), value.astype(mx.float32)) for name, value in weights.items()]
            self.dense[step].load_weights(named)
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelUnusable(f"The file {str(path)!r} does not hold the layer that its config.json describes: {error}.") from None

    def _pool(self, mode: PoolingMode, hidden: mx.array, batch: Batch) -> mx.array:
        match mode:
            case "cls":
                return hidden[batch.first]
            case "lasttoken":
                return hidden[batch.last]
            case "max":
                held = self._held(batch)[..., None]
                return mx.where(held, hidden[batch.grid], -1e9).max(axis=1)
            case _:
                return self._average(mode, hidden, batch)

    def _average(self, mode: PoolingMode, hidden: mx.array, batch: Batch) -> mx.array:
        weights = self._held(batch).astype(mx.float32)
        if mode == "weightedmean":
            weights = weights * mx.arange(1, batch.longest + 1)
        total = (hidden[batch.grid] * weights[..., None]).sum(axis=1)
        share = mx.maximum(weights.sum(axis=1, keepdims=True), LEAST)
        return total / (mx.sqrt(share) if mode == "mean_sqrt_len_tokens" else share)

    def _held(self, batch: Batch) -> mx.array:
        """(texts, longest): the tokens that count."""
        if self._include_prompt or not any(text.prompt for text in batch.texts):
            return batch.held
        begins = mx.array(np.array([text.prompt for text in batch.texts], np.int32))
        return batch.held & (mx.arange(batch.longest)[None] >= begins[:, None])


def normalized(x: mx.array) -> mx.array:
    """Rows of length 1; one that is nothing but zeros stays so."""
    return x / mx.maximum(mx.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def mean(hidden: mx.array, batch: Batch) -> mx.array:
    """(texts, width): the mean over the tokens of each text."""
    held = batch.held.astype(hidden.dtype)[..., None]
    return (hidden[batch.grid] * held).sum(axis=1) / held.sum(axis=1)
